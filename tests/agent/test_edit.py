"""The edit tool's decision."""

from __future__ import annotations

import random
import time

import pytest

from flue_ci.agent.tools.files import replace_text
from flue_ci.agent.tools.tool import ToolError


def test_one_occurrence_is_replaced() -> None:
    assert replace_text("a b c", "b", "x") == ("a x c", 1)


def test_an_empty_search_text_is_refused_with_the_way_out() -> None:
    with pytest.raises(ToolError, match="use `write`"):
        replace_text("abc", "", "x")


def test_several_occurrences_are_refused_with_their_lines() -> None:
    with pytest.raises(ToolError, match=r"3 times \(lines 1, 2, 4\)"):
        replace_text("x\nx\n\nx\n", "x", "y")


def test_all_replaces_every_one() -> None:
    assert replace_text("x x", "x", "y", everywhere=True) == ("y y", 2)


def test_no_change_is_refused() -> None:
    with pytest.raises(ToolError, match="nothing would change"):
        replace_text("x", "x", "x")


def test_other_indentation_is_pointed_at() -> None:
    with pytest.raises(ToolError, match="line 2"):
        replace_text("a\n    return x\nb\n", "\treturn x", "y")


def test_the_nearest_line_is_pointed_at() -> None:
    with pytest.raises(ToolError, match=r"nearest is line 2.*return total"):
        replace_text("def f():\n    return total_of(x)\n", "return total_off(x)", "y")


def test_a_file_with_crlf_keeps_its_line_ends() -> None:
    assert replace_text("a\r\nb\r\nc\r\n", "a\nb", "x\ny") == ("x\r\ny\r\nc\r\n", 1)
    assert replace_text("a\r\nb\r\n", "a", "x\ny") == ("x\r\ny\r\nb\r\n", 1)
    assert replace_text("a\r\nb\r\n", "a\r\n", "x\r\ny\n") == ("x\r\ny\r\nb\r\n", 1)


def test_in_a_file_with_both_line_ends_the_ones_around_stay() -> None:
    assert replace_text("a\r\nb\nc\n", "b\n", "x\ny\n") == ("a\r\nx\ny\nc\n", 1)
    assert replace_text("a\r\nb\r\nc\n", "a\nb", "x") == ("x\r\nc\n", 1)


@pytest.mark.parametrize("text", ["", "   \n"])
def test_nothing_similar_is_said_plainly(text: str) -> None:
    with pytest.raises(ToolError, match="does not occur"):
        replace_text(text, "something", "else")


@pytest.mark.parametrize("alphabet", ["abcdefghijklmnopqrstuvwxyz", "ab", "0123456789 "])
def test_looking_for_the_nearest_of_many_long_lines_takes_a_moment(alphabet: str) -> None:
    """The model chooses both sides. Computing how much 5,000 pairs of long lines are alike took half a minute."""
    odd = random.Random(1)
    lines = ["".join(odd.choices(alphabet, k=600)) for _ in range(5_000)]
    start = time.thread_time()
    with pytest.raises(ToolError, match="does not occur"):
        replace_text("\n".join(lines), lines[4_000] + "x", "y")
    with pytest.raises(ToolError, match="does not occur"):
        replace_text("a\n\n" * 20_000, "a\n" * 20_000 + "b", "y")
    assert time.thread_time() - start < 6
