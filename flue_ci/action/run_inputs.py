"""The inputs of a run on GitHub: the fetched commit, the files of the trusted commit, and the discussion."""

from __future__ import annotations

from dataclasses import dataclass

from flue_ci.action.context import JobContext
from flue_ci.action.discussion import discussion_variables, render_discussion
from flue_ci.action.target import Target
from flue_ci.git.fetch import open_remote
from flue_ci.git.source import Source
from flue_ci.report.report import Trigger
from flue_ci.run.inputs import RunInputs
from flue_ci.spec.schema import AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestInputs(RunInputs):
    """The inputs of an event: a pull request, an issue, or neither. `request_notes` are about the request itself."""

    context: JobContext
    target: Target
    spec: AgentSpec
    request_notes: tuple[str, ...] = ()

    async def source(self) -> Source:
        target, base = self.target, None
        if target.base_ref:
            base = target.trusted_sha
        return await open_remote(
            self.context.remote,
            name=self.name.rpartition("/")[2],
            head=target.head,
            ref=target.fetch_ref,
            base=base,
            base_ref=target.base_ref,
            depth=self.spec.workspace.history,
        )

    async def discussion(self) -> tuple[str, tuple[str, ...]]:
        if self.target.number is None:
            return "", self.request_notes
        event, rules, before = self.context.event, self.spec.context, ""
        if event.is_comment:
            before = event.asked_at
        discussion = await self.context.forge.discussion(self.target.number, self.target.pull)
        text = render_discussion(discussion, before=before, include=rules.include, exclude=rules.exclude)
        return text.text, (*self.request_notes, *text.notes)


def pull_request_inputs(
    context: JobContext, target: Target, spec: AgentSpec, trigger: Trigger, request_notes: tuple[str, ...]
) -> PullRequestInputs:
    """The inputs of the run that `context`'s event asks for."""
    event = context.event
    return PullRequestInputs(
        trusted_folder=context.trusted_folder,
        name=event.repo,
        variables={
            "event": {"name": event.signature, "actor": event.actor},
            "repo": {"name": event.repo, "ref": target.ref, "sha": target.head},
            **discussion_variables(target.pull, target.issue),
        },
        trigger=trigger,
        run_id=context.job.inputs.run_token,
        context=context,
        target=target,
        spec=spec,
        request_notes=request_notes,
    )
