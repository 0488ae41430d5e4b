"""Combinations of which each two values meet in at least one: all pairs by far fewer tests than all combinations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product
from typing import Any


def pairwise(*factors: Iterable[Any], allowed: Callable[..., bool] = lambda *_: True) -> list[tuple[Any, ...]]:
    """Combinations of one value of each factor that `allowed` accepts, so that each pair of values of two factors that
    is in an allowed combination is in one of these. Greedy, and the same for the same arguments."""
    candidates = [combination for combination in product(*factors) if allowed(*combination)]
    missing = {pair: None for candidate in candidates for pair in _pairs(candidate)}
    chosen = []
    while missing:
        best = max(candidates, key=lambda candidate: sum(pair in missing for pair in _pairs(candidate)))
        chosen.append(best)
        for pair in _pairs(best):
            missing.pop(pair, None)
    return sorted(chosen, key=candidates.index)


def _pairs(combination: tuple[Any, ...]) -> list[tuple[tuple[int, Any], ...]]:
    return list(combinations(enumerate(combination), 2))
