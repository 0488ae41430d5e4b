"""What an agent proposed beside its changes, also by a report that another job wrote: within the rules, and harmless
where it has to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flue_ci.core.outputs import CheckRun
from flue_ci.core.proposals import (
    Annotation,
    ChangeDescription,
    CheckRunProposal,
    LabelProposal,
    ProposalRules,
    ReplyProposal,
)
from flue_ci.publish.proposals import CheckRunPublisher, LabelsPublisher, ReplyPublisher
from flue_ci.publish.pull_request_text import pull_text
from flue_ci.report.report import CommandResult, Publishing, Trigger
from flue_ci.safety.markdown import untrusted_markdown
from tests.publish.memory_forge import MemoryForge, make_target
from tests.support.reports import FULL

TRIGGER = Trigger(event="issues.opened", repo="ada/tools", number=7, head_sha="a" * 40, run_url="https://x.example/1")
# At the place of the cut stands a mention in code.
LONG = ["a" * 59_990 + " `xx @acme/team fixes #1`", "x " * 29_994 + "\n\n```\n@acme/team\n```", "@a " * 20_000]
NOTE = Annotation(path="a.txt", start_line=1, end_line=1, message="say more")


class OutputsMemory(MemoryForge):
    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.checks: list[CheckRun] = []

    async def add_labels(self, number: int, labels: Sequence[str]) -> None:
        self.labels += labels

    async def assign(self, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        return tuple(logins)

    async def write_check_run(self, check: CheckRun) -> str:
        self.checks.append(check)
        return "https://forge.example/check"


@pytest.mark.family(1)
@pytest.mark.parametrize("body", LONG)
async def test_a_long_reply_is_cut_before_its_mentions_become_code(body: str) -> None:
    forge, report = MemoryForge(), replace(FULL, trigger=TRIGGER, proposals=(ReplyProposal(body=body),))
    target = replace(make_target(forge), number=7, publishing=Publishing(rules=ProposalRules(replies=1)))
    await ReplyPublisher().publish(report, b"", target)
    words = forge.bodies()[0].partition("\n")[2].rpartition("\n\n<sub>")[0]
    assert len(words) <= 60_000
    assert untrusted_markdown(words) == words


async def test_a_report_of_another_job_gets_no_more_than_the_rules_say() -> None:
    checks = [CheckRunProposal(title=f"Check {number}", annotations=(NOTE,) * 1_000) for number in range(3)]
    labels = [LabelProposal(name=name) for name in ("bug", "admin", "Bug")]
    forge, report = OutputsMemory(), replace(FULL, trigger=TRIGGER, proposals=(*checks, *labels))
    rules = ProposalRules(check_runs=1, labels=("bug",))
    target = replace(make_target(forge), number=7, publishing=Publishing(rules=rules))
    check = await CheckRunPublisher().publish(report, b"", target)
    assert (await LabelsPublisher().publish(report, b"", target)).detail == "bug"
    assert forge.labels == ["bug"]
    assert ([len(each.annotations) for each in forge.checks], check.detail) == ([200], "Check 0")


@pytest.mark.family(2)
@pytest.mark.parametrize("words", LONG)
@pytest.mark.parametrize("output", ["", "x" * 50_000])
def test_a_long_text_of_a_pull_request_is_cut_where_nothing_opens(words: str, output: str) -> None:
    checks = (CommandResult(name="tests", command="pytest", exit_code=int(bool(output)), output=output),)
    report = replace(FULL, trigger=TRIGGER, checks=checks, proposals=(ChangeDescription(title="T", body=words),))
    text = pull_text(report, "#7", server_url="https://github.com")
    ours, _, rest = text.body.partition("\n\nFor #7.\n\n")
    assert untrusted_markdown(ours) == ours
    assert "tests" in rest
    assert len(text.with_marker()) <= 65_400
