"""The report survives its file, and what is no report is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.core.changes import ChangedFile
from flue_ci.core.conversation import conversation_from_json
from flue_ci.core.errors import FlueError, UsageError
from flue_ci.core.events import ConversationEnded, Notice, TextDelta, ToolStarted
from flue_ci.core.messages import Conversation, Prompt, ToolCall, Usage
from flue_ci.report.folder import RunFolder, load
from flue_ci.report.markdown import markdown
from flue_ci.report.report import Changes, CommandResult, Published, Report, from_json, to_json
from flue_ci.safety.redact import Redactor
from tests.support.reports import FAILED, FULL, PATCH, report

PROMISED = """version conclusion reason agent instruction summary result base changes setup checks usage sandbox model
timings failure"""


@pytest.mark.parametrize("saved", [FULL, FAILED, report(result=None, failure=None, usage=Usage(cost_usd=None))])
def test_it_comes_back_as_it_was(saved: Report) -> None:
    assert from_json(to_json(saved)) == saved


def test_a_check_that_did_not_run_comes_back_and_has_no_other_exit_code_than_none() -> None:
    check = CommandResult(name="tests", command="true", exit_code=-1, state="not-run")
    saved = report(checks=(check,))
    assert from_json(to_json(saved)) == saved
    with pytest.raises(UsageError, match=r"damaged at checks\.0\.exit_code"):
        from_json(to_json(saved).replace('"not-run"', '"ended"'))


def test_a_file_from_before_publishers_is_read() -> None:
    saved = json.loads(to_json(FULL))
    del saved["published"]
    assert from_json(json.dumps(saved)) == FULL


def test_what_was_published_comes_back() -> None:
    saved = report(
        published=(Published(publisher="comment", url="https://github.com/a/b/issues/1", detail="one line"),)
    )
    assert from_json(to_json(saved)) == saved


@settings(max_examples=settings().max_examples // 4)
@given(st.text(), st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_any_text_comes_back(summary: str, reason: str, paths: list[str]) -> None:
    files = tuple(ChangedFile(path=path, kind="added", added=1) for path in paths)
    saved = report(summary=summary, reason=reason, changes=Changes(files=files))
    assert from_json(to_json(saved)) == saved


def test_it_has_the_promised_fields() -> None:
    written = json.loads(to_json(FULL))
    assert set(PROMISED.split()) <= set(written)
    assert set(written["base"]) >= {"ref", "sha"}
    assert set(written["changes"]["files"][0]) == {
        "path",
        "old_path",
        "kind",
        "added",
        "deleted",
        "binary",
        "generated",
    }
    assert set(written["checks"][0]) >= {"name", "command", "exit_code", "timed_out", "seconds", "output"}
    assert set(written["usage"]) == {
        "turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd",
        "has_counts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a report"),
        ("[]", "not a report"),
        ("{}", "version None"),
        ('{"version": 2}', "version 2"),
        ('{"version": 1}', "damaged"),
        (to_json(FULL).replace('"exit_code": 0', '"exit_code": "no"', 1), "damaged at exit_code"),
        (to_json(FULL).replace('"success"', '"great"'), "damaged at conclusion"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(FlueError, match=words):
        from_json(text)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("NaN", "no finite number"),
        ("Infinity", "no finite number"),
        ("-Infinity", "no finite number"),
        ("1e400", "no finite number"),
        ("-1", "damaged at PLACE"),
        ("-0.5", "damaged at PLACE"),
        ("1e300", "damaged at PLACE"),
        ("9" * 400, "damaged at PLACE"),
        ("true", "damaged at PLACE"),
        ('"1"', "damaged at PLACE"),
        ("null", "damaged at PLACE"),
    ],
)
@pytest.mark.parametrize(
    "place",
    ["exit_code", "checks.0.exit_code", "checks.0.seconds", "usage.turns", "usage.input_tokens", "changes.added",
     "changes.files.0.deleted", "timings.total", "version"],
)  # fmt: skip
def test_numbers_of_a_saved_report_are_finite_and_bounded(number: str, words: str, place: str) -> None:
    text = _with_number(place, number)
    if place == "version":
        words = "has version|no finite|damaged"
    with pytest.raises(UsageError, match=words.replace("PLACE", place.replace(".", r"\."))):
        from_json(text)


def _with_number(place: str, number: str) -> str:
    saved = json.loads(to_json(FULL))
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    target = saved
    for part in path:
        target = target[part]
    target[last] = "NUMBER"
    return json.dumps(saved).replace('"NUMBER"', number)


@pytest.mark.parametrize("number", ["NaN", "[1e400]", '{"a": -Infinity}'])
def test_also_an_answer_of_the_agent_has_only_numbers_that_json_knows(number: str) -> None:
    with pytest.raises(UsageError, match="no finite number"):
        from_json(_with_number("result", number))
    assert from_json(_with_number("result", "-1.5e300")).result == -1.5e300


@pytest.mark.parametrize("code", [256, 512, 300])
def test_an_exit_code_that_no_process_can_have_is_refused(code: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 255"):
        from_json(_with_number("exit_code", str(code)))


def test_a_saved_run_is_loaded_with_its_patch(tmp_path: Path) -> None:
    RunFolder(tmp_path, Redactor()).save(FULL, PATCH)
    assert load(tmp_path) == (FULL, PATCH)
    assert (tmp_path / "report.md").read_text() == markdown(FULL, PATCH)


def test_a_refused_patch_has_a_name_of_its_own(tmp_path: Path) -> None:
    refused = report(changes=Changes(refused="it leaves the tree"))
    RunFolder(tmp_path, Redactor()).save(refused, PATCH)
    assert not (tmp_path / "changes.patch").exists()
    assert (tmp_path / "changes.refused.patch").read_bytes() == PATCH


def test_a_former_runs_files_do_not_pass_for_this_ones(tmp_path: Path) -> None:
    RunFolder(tmp_path, Redactor()).save(FULL, PATCH)
    RunFolder(tmp_path, Redactor())
    assert [path.name for path in tmp_path.iterdir()] == ["transcript.jsonl"]


def test_the_transcript_is_written_as_it_happens(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor())
    folder.observe(Notice(text="first"))
    folder.observe(TextDelta(text="streamed"))
    folder.observe(ToolStarted(call=ToolCall(id="1", name="bash", input={"command": "echo hi"})))
    lines = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert [(line["v"], line["event"]) for line in lines] == [(1, "notice"), (1, "tool_started")]
    assert lines[0]["data"] == {"text": "first"}
    assert lines[1]["data"]["call"]["input"] == {"command": "echo hi"}
    assert all(line["t"] >= 0 for line in lines)


CONVERSATION = Conversation(system="s", tools=(), messages=(Prompt(text="do it"),))


def test_a_conversation_is_a_file_of_its_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", Redactor())
    folder.observe(ConversationEnded(conversation=CONVERSATION))
    path = tmp_path / "out" / "conversation.json"
    assert conversation_from_json(path.read_text()) == CONVERSATION
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "transcript.jsonl").read_bytes() == b""
    folder.save(report(), b"")
    RunFolder(tmp_path / "out", Redactor())
    assert not path.exists()


def test_a_conversation_that_cannot_be_written_is_told_and_no_success(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", Redactor())
    (tmp_path / "out" / "conversation.json").mkdir()
    folder.observe(ConversationEnded(conversation=CONVERSATION))
    assert folder.trouble.startswith("conversation.json cannot be written: ")
    assert folder.save(FULL, PATCH).exit_code == 1


def test_a_report_that_is_saved_twice_says_its_trouble_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor())
    folder.trouble = "the transcript ends early"
    saved = folder.save(FULL, PATCH)
    assert folder.save(saved, PATCH) == saved


def test_no_secret_reaches_the_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor(["hunter2hunter2"]))
    given = report(summary='say "hunter2hunter2"', result={"hunter2hunter2": ["hunter2hunter2"]})
    saved = folder.save(given, PATCH)
    assert all(b"hunter2" not in path.read_bytes() for path in tmp_path.iterdir())
    assert saved == load(tmp_path)[0]
    assert load(tmp_path)[0].summary == 'say "***"'


def test_a_secret_is_found_before_markdown_escapes_or_cuts_it(tmp_path: Path) -> None:
    secret = "canary_en*with_under_scores"
    folder = RunFolder(tmp_path, Redactor([secret]))
    folder.save(report(reason=f"it is {secret}", instruction="y" * 290 + secret), PATCH)
    text = (tmp_path / "report.md").read_text()
    assert "under" not in text
    assert "canary" not in text


def test_a_secret_that_cleaning_puts_together_is_in_no_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor(["hunter2hunter2\n"]))
    folder.save(report(summary="hunter2\u200bhunter2", reason="hunter2\x1b[0mhunter2"), PATCH)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != "changes.patch"}
    assert all("hunter" not in text for text in texts.values())


@pytest.mark.parametrize("name", ["transcript.jsonl", "report.md.part", "report.json", "changes.patch.part"])
def test_no_link_in_the_folder_is_followed(tmp_path: Path, name: str) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    out.mkdir()
    (out / name).symlink_to(victim)
    folder = RunFolder(out, Redactor())
    folder.observe(Notice(text="hello"))
    folder.save(FULL, PATCH)
    assert victim.read_text() == "precious"
    assert folder.trouble == ""
    assert not any(path.is_symlink() for path in out.iterdir())


def test_only_the_owner_reads_a_folder_that_is_made(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        RunFolder(tmp_path / "a" / "out", Redactor()).save(FULL, PATCH)
    finally:
        os.umask(before)
    out = tmp_path / "a" / "out"
    assert out.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


@pytest.mark.parametrize("path", ["../victim", "/proc/self/environ", "changes.refused.patch"])
def test_a_report_cannot_name_another_file_as_its_patch(tmp_path: Path, path: str) -> None:
    text = to_json(FULL).replace('"patch": "changes.patch"', f'"patch": "{path}"')
    with pytest.raises(FlueError, match=r"damaged at changes\.patch"):
        from_json(text)


@pytest.mark.parametrize("name", ["report.json", "changes.patch"])
@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "giant"])
def test_only_ordinary_files_are_read_back(tmp_path: Path, name: str, kind: str) -> None:
    out = tmp_path / "out"
    RunFolder(out, Redactor()).save(FULL, PATCH)
    path = out / name
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "giant":
        os.truncate(path, 200_000_001)
    else:
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(FlueError):
        load(out)


def test_half_characters_survive_saving(tmp_path: Path) -> None:
    RunFolder(tmp_path, Redactor()).save(report(summary="x \ud800 y", notes=("bad\udcff",)), PATCH)
    loaded = load(tmp_path)[0]
    assert (loaded.summary, loaded.notes) == ("x \\ud800 y", ("bad\\udcff",))
