"""The transcript in a job's summary: folded, bounded, and nothing in it but text."""

from __future__ import annotations

import json
from pathlib import Path

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from flue_ci.report.folder import TRANSCRIPT, load_timeline
from flue_ci.report.transcript import transcript_section
from flue_ci.safety.redact import Redactor


def transcript(path: Path, *events: tuple[str, dict[str, object]]) -> Path:
    lines = [json.dumps({"v": 1, "t": 1.0, "event": name, "data": data}) for name, data in events]
    (path / TRANSCRIPT).write_text("\n".join(lines) + "\n")
    return path


def turn(number: int, text: str, command: str = "") -> tuple[str, dict[str, object]]:
    calls = [{"id": f"{number}", "name": "bash", "input": {"command": command}}] if command else []
    usage = {"input_tokens": 1_200, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0}
    reply = {"text": text, "calls": calls, "usage": usage}
    return "turn_ended", {"turn": number, "reply": reply, "total": {"cost_usd": 0.01 * number}}


def result(number: int, content: str, *, is_error: bool = False) -> tuple[str, dict[str, object]]:
    note = f"exit code {int(is_error)}"
    answer = {"content": f"{content}\n[{note}]", "note": note, "is_error": is_error, "seconds": 1.24}
    return "tool_ended", {"call": {"id": f"{number}"}, "result": answer}


def section(path: Path, limit: int = 100_000) -> str:
    return transcript_section(load_timeline(path, Redactor(["s3cret-value"])), limit)


def test_each_turn_is_a_fold_with_its_words_calls_and_the_end_of_their_output(tmp_path: Path) -> None:
    numbers = "\n".join(map(str, range(1, 13)))
    check = {"kind": "check", "name": "tests", "exit_code": 0, "timed_out": False, "seconds": 2.0, "known": True}
    events = [
        turn(1, "I look.", "pytest -q # s3cret-value"),
        result(1, f"{numbers}\nFAILED", is_error=True),
        ("notice", {"text": "a retry"}),
        turn(2, "Done."),
        ("command_started", {"kind": "check", "name": "tests", "command": "pytest"}),
        ("command_ended", check),
    ]
    assert section(transcript(tmp_path, *events)) == (
        "<details><summary>Transcript · 2 turns</summary>\n\n"
        "<details><summary>Turn 1 · <code>bash pytest -q # ***</code> · 1.2K tokens · $0.010 so far · 1 failed"
        "</summary>\n\n"
        "```\nI look.\n✗ bash pytest -q # *** → exit code 1 (1.2s)\n    …\n"
        + "".join(f"    {number}\n" for number in range(4, 13))
        + "    FAILED\n```\n\n</details>\n\n"
        "- ! `a retry`\n\n"
        "<details><summary>Turn 2 · last words · 1.2K tokens · $0.020 so far</summary>\n\n"
        "```\nDone.\n```\n\n</details>\n\n"
        "- ✓ `tests`: exit code 0 (2.0s)\n\n</details>"
    )


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_it_keeps_within_its_bound_and_keeps_the_beginning_and_the_end(tmp_path: Path, limit: int) -> None:
    events = [event for number in range(1, 201) for event in (turn(number, "日" * 40, "ls"), result(number, "x" * 60))]
    text = section(transcript(tmp_path, *events), limit)
    assert len(text.encode()) <= limit
    assert "Turn 1 ·" in text
    assert "Turn 200 ·" in text
    assert " more stand in `transcript.jsonl` …" in text
    assert text.count("<details>") == text.count("</details>")


def test_without_turns_or_a_file_there_is_no_section(tmp_path: Path) -> None:
    assert section(tmp_path) == ""
    assert section(transcript(tmp_path, ("notice", {"text": "x"}))) == ""
    (tmp_path / TRANSCRIPT).write_bytes(b"\xff\n[1]\n{}")
    assert section(tmp_path) == ""


def test_what_strangers_wrote_is_text(tmp_path: Path) -> None:
    hostile = (
        "</details><img src=x>\n```\n@ada #12 ![x](https://h.example/x) [l](https://h.example)\n````\n~~~\n<script>"
    )
    check = {"kind": "check", "name": hostile, "exit_code": 1}
    events = [
        turn(1, hostile, hostile),
        result(1, hostile),
        ("notice", {"text": hostile}),
        ("command_started", {"kind": "check", "name": hostile, "command": hostile}),
        ("command_ended", check),
    ]
    page = cmarkgfm.github_flavored_markdown_to_html(section(transcript(tmp_path, *events)), Options.CMARK_OPT_UNSAFE)
    assert not any(tag in page for tag in ("<img", "<a ", "<script"))
    assert page.count("<details>") == page.count("</details>") == 2
    outside = [part.partition("</code>")[2] for part in f"</code>{page}".split("<code")]
    assert not any("@ada" in part or "#12" in part for part in outside)
