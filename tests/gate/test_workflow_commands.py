"""Nothing untrusted is ever a command of the runner's."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.gate.workflow_commands import (
    WorkflowLog,
    append_summary,
    error_annotation,
    mask,
    workflow_command,
    write_output,
)
from tests.e2e.job import outputs

HOSTILE = ("::error::x", "  ::set-output name=a::b", "##[error]x", "a ##[group]b", "\r::error::x", "x\n::debug::y")
LINES = st.lists(st.sampled_from([*HOSTILE, "plain", "::stop-commands::abc", "::abc::", ""]) | st.text(max_size=30))


def executed(log: str) -> list[str]:
    """The commands that a runner takes from a log: at the beginning of a line, or `##[…]` anywhere, unless stopped."""
    found, token = [], ""
    for line in re.split(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", log):
        command = re.match(r"\s*::([A-Za-z-]+)[^:]*::(.*)", line)
        if token:
            token = "" if line.strip() == f"::{token}::" else token
        elif command and command[1].lower() == "stop-commands":
            token = command[2]
        elif command:
            found.append(command[1])
        if not token and "##[" in line:
            found.append("##")
    return found


@given(LINES)
def test_only_our_own_commands_are_executed(lines: list[str]) -> None:
    out = io.StringIO()
    log = WorkflowLog(out)
    log.group("one")
    for line in lines:
        log.line(line)
        log.end_group()
        log.line(line)
    log.command(workflow_command("notice", "the end"))
    assert executed(out.getvalue()) == ["group", *["endgroup"] * len(lines), "notice"]


@given(LINES)
def test_what_is_not_a_command_is_inert_even_when_commands_are_not_stopped(lines: list[str]) -> None:
    out = io.StringIO()
    log = WorkflowLog(out)
    log._token = "never stopped"
    for line in lines:
        log.line(line)
    assert executed(out.getvalue()) == []


@given(name=st.sampled_from(["summary", "result"]), value=st.text())
def test_an_output_is_read_back_and_adds_no_other(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    path = tmp_path_factory.mktemp("output") / "output"
    value = value.replace("\r", "").encode("utf-8", "replace").decode()
    write_output(path, name, value)
    write_output(path, "last", "x")
    assert outputs(path.read_bytes().decode()) == {name: value, "last": "x"}


def test_commands_are_escaped() -> None:
    assert workflow_command("error", "50%\r\nmore", title="a:b,c") == "::error title=a%3Ab%2Cc::50%25%0D%0Amore"
    assert error_annotation("a.yml", 3, 4, "x") == "::error file=a.yml,line=3,col=4::x"
    assert error_annotation("a.yml", 0, 0, "x") == "::error file=a.yml::x"


def test_every_line_of_a_secret_is_masked() -> None:
    out = io.StringIO()
    mask(out, "one\ntwo\n\n")
    assert out.getvalue() == "::add-mask::one\n::add-mask::two\n"


def test_a_summary_stays_within_its_room(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    assert append_summary(path, "x" * 1_000_000)
    assert not append_summary(path, "y" * 100_000)
    assert path.stat().st_size == 1_000_001
