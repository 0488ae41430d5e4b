from __future__ import annotations

from itertools import product

from tests.support.pairwise import pairwise

COLOURS, SIZES, SHAPES, LETTERS = ("red", "green", "blue"), (1, 2, 3, 4), ("round", "square"), "abc"


def test_each_two_values_meet_in_fewer_tests_than_there_are_combinations() -> None:
    chosen = pairwise(COLOURS, SIZES, SHAPES, LETTERS)
    for one, other in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        factors = (COLOURS, SIZES, SHAPES, LETTERS)
        assert {(row[one], row[other]) for row in chosen} == set(product(factors[one], factors[other]))
    assert len(chosen) <= 16  # of 72; fewer than 12 are impossible
    assert pairwise(COLOURS, SIZES, SHAPES, LETTERS) == chosen


def test_what_is_not_allowed_is_left_out_and_its_other_pairs_still_meet() -> None:
    chosen = pairwise(COLOURS, SIZES, SHAPES, allowed=lambda colour, size, shape: (colour, size) != ("red", 1))
    assert all(row[:2] != ("red", 1) for row in chosen)
    assert {row[:2] for row in chosen} == set(product(COLOURS, SIZES)) - {("red", 1)}
    assert {row[1:] for row in chosen} == set(product(SIZES, SHAPES))
    assert {row[::2] for row in chosen} == set(product(COLOURS, SHAPES))
