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
from tests.support.actions_runner import CarelessRunner, Runner, command_lines

LINES = st.lists(command_lines() | st.sampled_from(["plain", "::t::", ""]) | st.text(max_size=30), max_size=6)


def write_log(lines: list[str]) -> str:
    out = io.StringIO()
    log = WorkflowLog(out)
    log.group("one ##[group]two")
    for line in lines:
        log.line(line)
        log.end_group()
        log.line(line)
    log.command(workflow_command("notice", "the end"))
    return out.getvalue().encode().decode()


@given(LINES)
def test_only_our_own_commands_are_executed(lines: list[str]) -> None:
    ours = [("group", "one ##\\[group]two"), *[("endgroup", "")] * len(lines), ("notice", "the end")]
    assert Runner().read(write_log(lines)).executed == ours


@given(LINES)
def test_nor_does_a_runner_that_knows_every_command_and_passes_over_what_is_not_seen(lines: list[str]) -> None:
    out = io.StringIO()
    log = WorkflowLog(out)
    for line in lines:
        log.line(line)
    assert CarelessRunner().read(out.getvalue()).executed == []


@given(LINES)
def test_nothing_is_shown_but_the_lines_and_honest_ones_as_they_are(lines: list[str]) -> None:
    runner = Runner().read(write_log(lines))
    ours = [part for line in lines for part in [*WORDS.split(line.encode("utf-8", "replace").decode())] * 2]
    assert len(runner.shown) == len([part for line in lines for part in WORDS.split(line)]) * 2
    assert sorted(line.replace("\\", "") for line in runner.shown) == sorted(part.replace("\\", "") for part in ours)


WORDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
HONEST = [
    "std::vector<int> a;",
    "  - b ::c",
    "# ## [x]",
    "## [link](x)",
    "\\::x",
    "a: : b",
    "##",
    "tests/a.py::test_b FAILED",
]


@pytest.mark.parametrize("line", HONEST)
def test_an_honest_line_stays_as_it_was(line: str) -> None:
    out = io.StringIO()
    WorkflowLog(out).line(line)
    assert out.getvalue() == f"{line}\n"


def test_a_line_that_would_be_a_command_has_a_backslash() -> None:
    out = io.StringIO()
    WorkflowLog(out).line("  ::error::x\na ##[group]b")
    assert out.getvalue() == "  \\::error::x\na ##\\[group]b\n"


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
