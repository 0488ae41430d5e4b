"""What a terminal would leave of progress bars, colours, cursor movements and repeated lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.screen_text import screen_text

BAR = "".join(f"\r\x1b[32m{n:3}%\x1b[0m {'#' * (n // 10)}" for n in range(101))


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (f"begin{BAR}\nend\n", ["100% ##########", "end", ""]),
        ("one\r\ntwo\r\n", ["one", "two", ""]),
        ("abcdef\rxy\n", ["xycdef", ""]),
        ("downloading 50%\r\x1b[Kdone\n", ["done", ""]),
        ("a\x1b[1;31mb\x1b[mc \x1b]8;;https://example.com\x07link\x1b]8;;\x07", ["abc link"]),
        ("spin |\b/\b-\b\\\b \ndone", ["spin  ", "done"]),
        ("a\nb\n\x1b[2A\x1b[2KA\n\x1b[2KB\n", ["A", "B", ""]),
        ("x\n" + "".join(f"\x1b[H\x1b[2Jstate {n}\nmore\n" for n in range(300)), ["x", "state 299", "more", ""]),
        ("log\n\x1b[?1049hfull\nscreen\x1b[?1049lafter\n", ["log", "after", ""]),
        ("abc\x1b[2Dx\x1b[10Gy", ["axc      y"]),
        ("a\x1b7bcd\x1b8X", ["aXcd"]),
        ("one\ntwo\nthree\x1b[2A\r\x1b[Jx", ["x"]),
        ("w\n" * 300, ["w", "[the line above 299 more times]", ""]),
        ("w\nw\nv\n", ["w", "w", "v", ""]),
        ("\r50%\r100%\n" * 5, ["100%", "[the line above 4 more times]", ""]),
        ("\x1b", [""]),
        ("tab\tstays \N{LATIN SMALL LETTER E WITH ACUTE}\x00", ["tab\tstays \N{LATIN SMALL LETTER E WITH ACUTE}\x00"]),
    ],
)
def test_output_is_what_a_terminal_would_leave(output: str, lines: list[str]) -> None:
    assert screen_text(output).split("\n") == lines


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "\n",
                "\r",
                "\b",
                "\x1b[9999999A",
                "\x1b[99999B",
                "\x1b[5C",
                "\x1b[999999999G",
                "\x1b[H",
                "\x1b[2J",
                "\x1b[9;9H",
                "\x1b[1K",
                "\x1b[J",
                "\x1b[",
                "\x1bc",
                "\x1bM",
                "\x1b[?1049h",
                "\x1b[?1049l",
                "\x1b7",
                "\x1b8",
            ]
        )
    )
)
def test_any_output_is_readable_and_small(pieces: list[str]) -> None:
    text = screen_text("".join(pieces))
    assert not {"\x1b", "\r", "\b"} & set(text)
    assert len(text) <= 2_100 * (len(pieces) + 1)
