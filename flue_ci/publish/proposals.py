"""Publishers of what an agent proposed beside its changes: labels, triage of an issue, check runs, replies."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from flue_ci.agent.tools.outputs import MAX_ANNOTATIONS
from flue_ci.core.errors import ForgeError
from flue_ci.core.outputs import CheckRun, OutputsForge
from flue_ci.core.proposals import Annotation, CheckRunProposal, LabelProposal, Proposal, ReplyProposal, TriageProposal
from flue_ci.core.text import one_line, plain
from flue_ci.gate.policy import MARKER
from flue_ci.publish.commit_message import run_name
from flue_ci.publish.progress_comment import own_comments, write_comment
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.links import link_policy
from flue_ci.report.report import Published, Report
from flue_ci.safety.markdown import escape, untrusted_markdown_within

_NOTHING = "the agent proposed nothing"
_ENDINGS = ("failed", "cancelled", "skipped")  # of runs whose proposals are not acted on
_REFUSALS = (403, 404, 410, 422)  # of a forge that is there and does not want it
_MAX_WORDS = 60_000  # characters
P = TypeVar("P", bound=Proposal)


class _ProposalPublisher(ABC, Generic[P]):
    """A `Publisher` of one kind of proposals."""

    needs_forge = True
    name: str
    kind: type[P]

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """What became of the proposals that were accepted: `detail` says it, and `url` is the page of the first one. A
        forge that does not want them is a refusal, not a failure of the run. Raises `ForgeError` when it is out of
        reach."""
        proposals: list[P] = [each for each in report.proposals if isinstance(each, self.kind) and each.accepted]
        if not proposals:
            return Published(publisher=self.name, state="nothing", detail=_NOTHING)
        if report.conclusion in _ENDINGS:
            return self._refusal(f"the run ended as {report.conclusion}")
        try:
            return await self._write(proposals, report, target)
        except ForgeError as error:
            if error.status not in _REFUSALS:
                raise
            return self._refusal(one_line(f"{error}. {error.hint}", 500))

    @abstractmethod
    async def _write(self, proposals: list[P], report: Report, target: PublishTarget) -> Published:
        """Carries out the proposals, one at least."""

    def _refusal(self, detail: str) -> Published:
        return Published(publisher=self.name, state="refused", detail=detail)


def _outputs(target: PublishTarget) -> OutputsForge:
    if not isinstance(target.forge, OutputsForge):
        raise ForgeError("this forge takes no labels, assignees and check runs", status=404)
    return target.forge


def _key(report: Report, index: int) -> str:
    """The same for the same proposal of the same run, also when it is published again."""
    return hashlib.sha256(f"{run_name(report)} {report.agent} {index}".encode()).hexdigest()[:24]


class LabelsPublisher(_ProposalPublisher[LabelProposal]):
    """Adds the labels that the agent chose from `publish.labels`."""

    name, kind = "labels", LabelProposal

    async def _write(self, proposals: list[LabelProposal], report: Report, target: PublishTarget) -> Published:
        choices = target.publishing.rules.labels
        names = list(dict.fromkeys(label.name for label in proposals if label.name in choices))
        if not names:
            return self._refusal("none of them is in `publish.labels`")
        await _outputs(target).add_labels(_number(target), names)
        return Published(publisher=self.name, detail=", ".join(names))


class TriagePublisher(_ProposalPublisher[TriageProposal]):
    """Labels and assigns an issue, and links the issue that it repeats."""

    name, kind = "triage", TriageProposal

    async def _write(self, proposals: list[TriageProposal], report: Report, target: PublishTarget) -> Published:
        if report.trigger is None or report.trigger.is_pull_request:
            return self._refusal("this is no issue")
        steps: list[str] = []
        for index, triage in enumerate(proposals[: target.publishing.rules.triages]):
            steps += await _triage(triage, report, target, index)
        return Published(publisher=self.name, detail=", ".join(steps) or "nothing was to be done")


async def _triage(triage: TriageProposal, report: Report, target: PublishTarget, index: int) -> list[str]:
    """What was done, in words."""
    assert target.forge
    rules, number, steps = target.publishing.rules, _number(target), []
    if labels := [name for name in triage.labels if name in rules.labels]:
        await _outputs(target).add_labels(number, labels)
        steps.append(", ".join(labels))
    if logins := [login for login in triage.assignees if login in rules.assignees]:
        present = await _outputs(target).assign(number, logins)
        steps += [f"assigned to {login}" for login in present]
        steps += [f"{login} cannot be assigned" for login in logins if login not in present]
    if (duplicate := triage.duplicate_of) and duplicate != number:
        await target.forge.issue(duplicate)  # one that is not there is refused
        words = f"This looks like a duplicate of #{duplicate}."
        if triage.explanation.strip():
            words += f"\n\n{_words(triage.explanation, report, target)}"
        await _write_once(words, target, _key(report, 1_000 + index))
        steps.append(f"duplicate of issue {duplicate}")
    return steps


class CheckRunPublisher(_ProposalPublisher[CheckRunProposal]):
    """Writes check runs with annotations at the head commit."""

    name, kind = "check-run", CheckRunProposal

    async def _write(self, proposals: list[CheckRunProposal], report: Report, target: PublishTarget) -> Published:
        if report.trigger is None or not report.trigger.head_sha:
            return self._refusal("there is no commit to write it for")
        urls, proposals = [], proposals[: target.publishing.rules.check_runs]
        for index, check in enumerate(proposals):
            urls.append(await _outputs(target).write_check_run(_check_run(check, report, target, index)))
        titles = ", ".join(one_line(check.title, 80) for check in proposals)
        return Published(publisher=self.name, url=urls[0], detail=titles)


def _check_run(check: CheckRunProposal, report: Report, target: PublishTarget, index: int) -> CheckRun:
    assert report.trigger
    name = f"flue-ci: {report.agent}"
    if index:
        name += f" ({index + 1})"
    return CheckRun(
        sha=report.trigger.head_sha,
        name=name,
        key=_key(report, index),
        conclusion=check.conclusion,
        title=target.redact(one_line(plain(check.title), 200)),
        summary=target.redact(_words(check.summary, report, target)),
        annotations=tuple(_clean(note, target.redact) for note in check.annotations[:MAX_ANNOTATIONS]),
    )


def _clean(note: Annotation, redact: Callable[[str], str]) -> Annotation:
    return replace(note, title=redact(one_line(plain(note.title), 200)), message=redact(plain(note.message)))


class ReplyPublisher(_ProposalPublisher[ReplyProposal]):
    """Writes the agent's replies as comments of their own; in a thread, when the run was asked for there."""

    name, kind = "reply", ReplyProposal

    async def _write(self, proposals: list[ReplyProposal], report: Report, target: PublishTarget) -> Published:
        urls = []
        for index, reply in enumerate(proposals[: target.publishing.rules.replies]):
            words = _words(reply.body, report, target)
            signature = f"<sub>Written by the agent {escape(report.agent)}.</sub>"
            urls.append(await _write_once(f"{words}\n\n{signature}", target, _key(report, index)))
        return Published(publisher=self.name, url=urls[0], detail=f"{len(urls)} written")


def _words(text: str, report: Report, target: PublishTarget) -> str:
    return untrusted_markdown_within(_MAX_WORDS, text, link_policy(report, target.server_url))


def _number(target: PublishTarget) -> int:
    if target.number is None:
        raise ForgeError("the run is about no issue and no pull request", status=404)
    return target.number


async def _write_once(words: str, target: PublishTarget, key: str) -> str:
    """A comment with our marker and `key`, unless there is one; its page."""
    assert target.forge
    number, line = _number(target), f"{MARKER} note={key} -->"
    for comment in await own_comments(target.forge, number, in_thread=bool(target.thread)):
        if comment.body.startswith(line):
            return comment.url
    return (await write_comment(target.forge, number, target.thread, target.redact(f"{line}\n{words}"))).url
