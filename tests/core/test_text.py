"""Clipping, durations and the like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.text import (
    HeadTail,
    clip,
    closest_match,
    did_you_mean,
    human_bytes,
    human_cost,
    human_count,
    human_seconds,
    matches_host,
    one_line,
    parse_duration,
    plain,
)


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("a.b", True),
        ("x.example.com", True),
        ("a.x.example.com", True),
        ("example.com", False),
        ("xexample.com", False),
    ],
)
def test_a_pattern_of_hosts_matches_those_below(host: str, matches: bool) -> None:
    assert matches_host(host, ("a.b", "*.example.com")) is matches


def test_a_clipped_text_says_so() -> None:
    assert clip("abc", 3) == "abc"
    assert clip("abcd", 3) == "abc…"
    assert clip("abcd", 0, " (cut)") == " (cut)"


@given(st.lists(st.binary(max_size=50)), st.integers(2, 60))
def test_head_and_tail_are_the_ends_of_what_came_whatever_the_pieces(pieces: list[bytes], limit: int) -> None:
    kept, whole = HeadTail(limit), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    half = limit // 2
    assert kept.omitted_bytes == max(len(whole) - 2 * half, 0)
    if kept.omitted_bytes:
        assert kept.value().startswith(whole[:half])
        assert kept.value().endswith(whole[-half:])
        assert f"{kept.omitted_bytes:,} bytes left out".encode() in kept.value()
    else:
        assert kept.value() == whole


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1.5m", 90), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "5 m", "0s", "10min", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|nothing"):
        parse_duration(text)


def test_terminal_sequences_and_invisible_characters_go() -> None:
    assert plain("a\x1b[31mred\x1b[0m\x1b]0;title\x07 b\u200b\u202ec\r\nd\te") == "ared bc\nd\te"


def test_figures_for_people() -> None:
    assert [human_seconds(s) for s in (0.03, 0.42, 12, 185, 3720)] == ["30ms", "0.4s", "12s", "3m 05s", "1h 02m"]
    assert [human_bytes(b) for b in (812, 4_100, 390_000_000)] == ["812 B", "4.1 KB", "390 MB"]
    assert [human_count(n) for n in (812, 4_100, 2_300_000)] == ["812", "4.1K", "2.3M"]
    assert [human_cost(c) for c in (None, 0.0, 0.0421, 1.2)] == ["cost unknown", "$0.00", "$0.042", "$1.20"]


def test_the_nearest_word_and_one_line() -> None:
    assert closest_match("promt", ["prompt", "publish"]) == "prompt"
    assert closest_match("zzz", ["prompt"]) is None
    assert did_you_mean("promt", ["prompt", "publish"], "look again") == "did you mean `prompt`?"
    assert did_you_mean("zzz", ["prompt"], "look again") == "look again"
    assert one_line("a\n b\t c" + "x" * 200, 10) == "a b cxxxx…"
