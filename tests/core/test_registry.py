"""Adapters by name: from the table, from other packages, and what is said about those that are not there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from flue_ci.core.errors import UsageError
from flue_ci.core.registry import Registry

SHAPES = Registry(kind="shape", group="flue_ci.test_shapes", built_in={"circle": "math:pi", "lost": "no_such_module:x"})


def test_a_built_in_name_is_imported_when_it_is_loaded() -> None:
    assert SHAPES.load("circle") == pytest.approx(3.14159, abs=1e-5)


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="there is no shape 'circel'") as refusal:
        SHAPES.load("circel")
    assert "did you mean `circle`" in refusal.value.hint
    assert not SHAPES.knows("circel")


def test_an_adapter_that_cannot_be_imported_says_from_where() -> None:
    with pytest.raises(UsageError, match="cannot be loaded from no_such_module:x"):
        SHAPES.load("lost")


def test_another_package_brings_an_adapter_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "square_shape.py").write_text("SIDES = 4\n")
    info = tmp_path / "square_shape-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: square-shape\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flue_ci.test_shapes]\nsquare = square_shape:SIDES\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert SHAPES.knows("square")
    assert SHAPES.load("square") == 4
    monkeypatch.delitem(sys.modules, "square_shape")


def test_hundreds_of_unknown_names_cost_one_look_at_the_packages() -> None:
    start = time.process_time()
    assert not any(SHAPES.knows(f"shape-{number}") for number in range(1_000))
    assert time.process_time() - start < 5  # 1,000 looks took more than a minute
