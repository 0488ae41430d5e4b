"""The inputs of a run on GitHub: the fetched commit, the files of the trusted commit, and the discussion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flue_ci.action.context import JobContext
from flue_ci.action.discussion import discussion_variables, render_discussion
from flue_ci.action.target import Target
from flue_ci.git.fetch import open_remote
from flue_ci.git.source import Source
from flue_ci.report.report import Trigger
from flue_ci.spec.load import AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestInputs:
    """`RunInputs` of an event: a pull request, an issue, or neither. `request_notes` are about the request itself; the
    discussion is read while the sandbox starts."""

    context: JobContext
    target: Target
    spec: AgentSpec
    trigger: Trigger
    request_notes: tuple[str, ...] = ()

    @property
    def trusted_folder(self) -> Path:
        return self.context.trusted_folder

    @property
    def name(self) -> str:
        return self.context.event.repo

    @property
    def run_id(self) -> str:
        return self.context.job.inputs.run_token

    @property
    def variables(self) -> Mapping[str, object]:
        event, target = self.context.event, self.target
        return {
            "event": {"name": event.signature, "actor": event.actor},
            "repo": {"name": event.repo, "ref": target.ref, "sha": target.head},
            **discussion_variables(target.pull, target.issue),
        }

    async def source(self) -> Source:
        target = self.target
        base = None
        if target.base_ref:
            base = target.trusted_sha
        return await open_remote(
            self.context.remote,
            name=self.context.event.repo.rpartition("/")[2],
            head=target.head,
            ref=target.fetch_ref,
            base=base,
            base_ref=target.base_ref,
            depth=self.spec.workspace.history,
        )

    async def discussion(self) -> tuple[str, tuple[str, ...]]:
        if self.target.number is None:
            return "", self.request_notes
        event, rules = self.context.event, self.spec.context
        discussion = await self.context.forge.discussion(self.target.number, self.target.pull)
        before = ""
        if event.is_comment:
            before = event.asked_at
        rendered = render_discussion(discussion, before=before, include=rules.include, exclude=rules.exclude)
        return rendered.text, (*self.request_notes, *rendered.notes)
