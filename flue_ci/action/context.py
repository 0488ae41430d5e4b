"""What a job works with, from the event to its end: the log, GitHub, git, and a place for files."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.action.job import ActionJob, fail_step, start_job
from flue_ci.action.target import Target, find_target, matches_branch
from flue_ci.assembly import make_forge, make_push_forge
from flue_ci.core.commits import ChangesForge
from flue_ci.core.errors import FlueError
from flue_ci.core.ports import Forge
from flue_ci.core.text import plural
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import AFTER_CHECKS, Event, parse_event
from flue_ci.gate.policy import is_person
from flue_ci.gate.workflow_commands import workflow_command
from flue_ci.git.fetch import RETRY, Remote, open_remote
from flue_ci.git.source import Source
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.report import Publishing, Trigger
from flue_ci.run.session import Signals

# GitHub names the branch of the pull request for these, whatever the workflow's own commit is.
_OF_THE_HEAD = ("pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment")
_QUICK_SECONDS = 3.0  # for what is a courtesy: reactions and progress


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """One job. `forge` retries for as long as the settings say, `quick_forge` gives up soon; `trusted_folder` is where
    the files of the trusted commit lie, once they are read."""

    job: ActionJob
    event: Event
    forge: Forge
    quick_forge: Forge
    remote: Remote
    trusted_folder: Path
    signals: Signals
    push_forges: list[Forge] = field(default_factory=list)

    def publish_target(
        self, trigger: Trigger, publishing: Publishing, folder: Path, target: Target, depth: int = 1
    ) -> PublishTarget:
        """The pull request or issue of `trigger`, or the thread in it. `trigger` is this job's own, never one of a
        file; `depth` is how much history the commit of `target` was fetched with."""
        event, branch = self.event, ""
        if target.pull and not target.from_fork and target.pull.head_ref != event.default_branch:
            branch = target.pull.head_ref
        is_asked = event.name not in AFTER_CHECKS and is_person(event.actor_kind)

        async def open_source() -> Source:
            name = trigger.repo.rpartition("/")[2]
            return await open_remote(
                self.remote, name=name, head=target.head, ref=target.fetch_ref, base=None, base_ref="", depth=depth
            )

        push_forge = self._open_push_forge(publishing)
        return PublishTarget(
            publishing=publishing,
            repository=trigger.repo,
            server_url=self.job.settings.github.server_url,
            number=trigger.number,
            thread=trigger.in_thread,
            forge=self.forge,
            quick_forge=self.quick_forge,
            folder=folder,
            notify=self.job.say,
            show_error=self.job.problem,
            redact=self.job.redact,
            branch=branch,
            base_branch=branch or _base_branch(event, target),
            open_source=open_source,
            actor=event.actor if is_asked else "",
            actor_id=event.actor_id if is_asked else 0,
            push_forge=push_forge if isinstance(push_forge, ChangesForge) else None,
            ask_refusal=self._ask_refusal(trigger),
        )

    async def find_target(self, command: CommentCommand | None = None, saved_head: str = "") -> Target:
        """What the event is about, see `action.target.find_target`."""
        branches = self.job.inputs.trusted_branches
        return await find_target(
            self.event, self.forge, self.remote, trusted_branches=branches, command=command, saved_head=saved_head
        )

    def is_trusted_branch(self, branch: str) -> bool:
        """Whether specs of that branch count."""
        is_listed = any(matches_branch(branch, pattern) for pattern in self.job.inputs.trusted_branches)
        return bool(branch) and (branch == self.event.default_branch or is_listed)

    def _open_push_forge(self, publishing: Publishing) -> Forge | None:
        """The one that moves branches so that workflows start; nothing is asked of GitHub yet."""
        forge = None
        if publishing.changes not in ("patch", "none"):
            job, opens = self.job, publishing.changes == "pull-request"
            forge = make_push_forge(job.settings, job.say, job.learn_secret, pull_requests=opens)
        if forge:
            self.push_forges.append(forge)
        return forge

    def _ask_refusal(self, trigger: Trigger) -> str:
        """Why no box can be offered: what is ticked later has to be of a run that `action.saved_change` believes."""
        if trigger.number is None or trigger.in_thread:
            return "there is no conversation of a pull request or issue that could show it"
        if self.event.name in _OF_THE_HEAD or not self.is_trusted_branch(self.event.ref.removeprefix("refs/heads/")):
            return "GitHub ran this for another branch than the default one, and only runs of that are believed later"
        return ""

    async def close(self) -> None:
        """Ends the connections to GitHub, and logs how often it was asked, for a workflow that is debugged."""
        forges = (self.forge, self.quick_forge, *self.push_forges)
        for forge in forges:
            await forge.close()
        count = sum(forge.requests for forge in forges)
        self.job.log.command(workflow_command("debug", f"GitHub was asked {plural(count, 'time')}"))


def _base_branch(event: Event, target: Target) -> str:
    """The branch that changes on top of the target are to be merged into; "" for the default branch."""
    if target.pull:
        return target.base_ref
    if event.base_ref:  # of a merge group, whose own branch is temporary
        return event.base_ref
    return target.ref if target.fetch_ref.startswith("refs/heads/") else ""


def run_step(
    environ: Mapping[str, str],
    work: Callable[[ActionJob, Signals], int],
    answer: Callable[[Mapping[str, str], FlueError], None] = lambda *_: None,
) -> int:
    """The exit code of the step that does `work`. For a `FlueError` see `fail_step`; `answer` tells who asked."""
    try:
        signals = Signals()
        signals.interrupt()
        job = start_job(environ)
        code = work(job, signals)
        job.end_log()
        return code
    except FlueError as error:
        if environ.get("GITHUB_ACTIONS") == "true":
            answer(environ, error)
        return fail_step(environ, error)


@contextmanager
def open_context(job: ActionJob, event: Event, signals: Signals) -> Iterator[JobContext]:
    """Its files end with the block. Nothing is asked of GitHub yet."""
    settings = job.settings
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        remote = Remote(
            url=f"{settings.github.server_url}/{settings.github.repo}.git",
            token=settings.github.token,
            scratch=scratch,
            notify=job.say,
            retry=replace(RETRY, timeout=settings.retry_timeout_seconds or RETRY.timeout),
        )
        yield JobContext(
            job=job,
            event=event,
            forge=make_forge(settings, job.say),
            quick_forge=make_forge(settings, job.say, retry_timeout=_QUICK_SECONDS),
            remote=remote,
            trusted_folder=scratch / "trusted",
            signals=signals,
        )


def read_event(environ: Mapping[str, str]) -> Event:
    """The event of this job. Raises `FlueError` when there is none."""
    name, path = environ.get("GITHUB_EVENT_NAME", ""), environ.get("GITHUB_EVENT_PATH", "")
    try:
        payload = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FlueError(
            f"there is no event to act on: GITHUB_EVENT_PATH is {path!r} ({type(error).__name__})",
            hint="`flue-ci action` runs in GitHub Actions; in a checkout it is `flue-ci run AGENT`",
        ) from None
    return parse_event(name, payload, environ)
