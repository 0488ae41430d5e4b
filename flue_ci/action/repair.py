"""CI that failed, and is to be repaired: what the end of a run of CI leads to, before anything is prepared.

The first failure of a run is answered by a re-run of its failed jobs, and this job ends: nothing waits. The end of that
attempt is the next event: a success makes the failure a flake, another failure starts the agent with the logs. What the
event says of the run is not enough; the run is read from GitHub, and whatever is unclear repairs nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from flue_ci.action.authorize import AgentRequest, Rejection
from flue_ci.action.context import JobContext
from flue_ci.action.target import Target
from flue_ci.core.commits import ChangesForge, CommitRecord
from flue_ci.core.concurrency import together
from flue_ci.core.discussion import JobLog
from flue_ci.core.errors import ForgeError
from flue_ci.core.screen_text import screen_text
from flue_ci.core.text import clip_middle, first_few, one_line, plural
from flue_ci.core.workflow_runs import ActionsForge, WorkflowJob, WorkflowRun, WorkflowStep
from flue_ci.gate.event import Event
from flue_ci.publish.comment import error_reply
from flue_ci.publish.commit_message import run_of
from flue_ci.publish.progress_comment import own_comments

MAX_LOGS, LOG_CHARS = 5, 15_000  # logs of one run, and characters of each
_FAILURES = ("failure", "timed_out")
_LOG_BYTES = 30_000_000
_READ_CHARS = 200_000  # of the failed steps' output, its end
_LINE = re.compile(r"(?m)^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[\d.]*Z ?(.*)$")
_LAST = "9999"


def repairs(event: Event, request: AgentRequest) -> bool:
    """Whether the agent was started by CI, to repair it."""
    spec = request.agent.spec
    return spec is not None and spec.repair is not None and event.name == "workflow_run"


async def plan_repair(context: JobContext, target: Target, request: AgentRequest) -> AgentRequest | Rejection:
    """The request with the logs of the failed jobs; else why no agent is started. Raises `ForgeError`."""
    event, forge = context.event, context.forge
    if event.signature != "workflow_run.completed" or not isinstance(forge, ActionsForge):
        return Rejection(reason="CI is repaired when a run of it has completed")
    run = await forge.workflow_run(event.run_id)
    if refusal := refuse_run(event, target, run):
        return Rejection(reason=refusal)
    if run.conclusion not in _FAILURES:
        return Rejection(reason=await _praise(forge, run))
    if refusal := refuse_target(target, run):
        return Rejection(reason=refusal)
    if run.attempt == 1:
        if context.job.inputs.dry_run:
            return Rejection(reason="a dry run: GitHub would be asked to run the failed jobs again")
        await forge.rerun_failed_jobs(run.id)
        return Rejection(reason="the failed jobs run once more; an agent starts when they fail again")
    if refusal := await _refuse_attempt(context, target, request):
        await _announce_end(context, target, refusal)
        return Rejection(reason=refusal)
    jobs = [job for job in await forge.jobs(run.id, run.attempt) if job.conclusion in _FAILURES]
    logs = await together(*(_read_log(context, forge, job) for job in jobs[:MAX_LOGS]))
    notes = [log for log in logs if isinstance(log, str)]
    if len(jobs) > MAX_LOGS:
        notes.append(f"only the logs of {MAX_LOGS} of {plural(len(jobs), 'failed job')} were read")
    return replace(request, logs=tuple(log for log in logs if isinstance(log, JobLog)), notes=tuple(notes))


def refuse_run(event: Event, target: Target, run: WorkflowRun) -> str:
    """Why a run is none that this job is to look after; "" for no reason. What is not known for sure is one."""
    if not event.repo_id or {run.repo_id, run.head_repo_id, event.checked_repo_id} != {event.repo_id}:
        return (
            "CI is repaired on branches of this very repository only, and the run was for a fork's, or one that is gone"
        )
    if target.from_fork:
        return "CI is repaired on branches of this very repository only, and the pull request comes from a fork"
    if not run.workflow or not event.workflow:
        return "it is not known which workflow has run, so nothing is repaired"
    if run.workflow.rpartition("/")[2].lower() == event.workflow.lower():
        return f"a run of {one_line(event.workflow, 100)} itself repairs nothing: `workflows:` is to name those of CI"
    if run.attempt != event.run_attempt or run.status != "completed":
        return "the run has another attempt by now, whose end is an event of its own"
    if not run.head_sha or run.head_sha != target.head:
        return "the run was for another commit"
    return ""


def refuse_target(target: Target, run: WorkflowRun) -> str:
    """Why there is nothing to commit a repair to; "" for no reason. The pull request was found by its commit."""
    pull = target.pull
    if pull is None or (pull.head_ref, pull.head_sha) != (run.branch, run.head_sha) or target.head_has_moved:
        branch = one_line(run.branch, 100) or "its branch"
        return f"no open pull request has {branch} at {run.head_sha[:7]} as its head: only those are repaired"
    return ""


def count_attempts(commits: Sequence[CommitRecord], *, keep: bool) -> int:
    """The agents' commits on top of the last one of a person; with `keep` each run's commits are one. `commits` are
    oldest first. Commits of other bots count for neither."""
    runs = []
    for commit in reversed(commits):
        run = run_of(commit.message)
        if run and not (keep and run in runs):
            runs.append(run)
        elif not run and not commit.author.endswith("[bot]"):
            break
    return len(runs)


def failed_part(log: str, steps: Sequence[WorkflowStep]) -> str:
    """What failed steps have printed: the lines of their times, or where those are not known, the section of the log
    that ends with an error. Without the times that stand before each line."""
    lines, time = [], ""
    for line in log.removeprefix("\ufeff").splitlines():
        match = _LINE.match(line)
        if match:
            time = match[1]
        lines.append((time, line[match.start(2) :] if match else line))
    spans = [(step.started_at[:19], step.completed_at[:19] or _LAST) for step in steps if step.started_at]
    part = [text for time, text in lines if any(start <= time <= end for start, end in spans)]
    if part:
        return "\n".join(part)
    texts = [text for _, text in lines]
    errors = [index for index, text in enumerate(texts) if text.startswith("##[error]")]
    if not errors:
        return "\n".join(texts)
    groups = [index for index in range(errors[0]) if texts[index].startswith("##[group]Run ")]
    return "\n".join(texts[max(groups, default=0) : errors[-1] + 1])


async def _praise(forge: ActionsForge, run: WorkflowRun) -> str:
    """What is to be said of a run that did not fail."""
    if run.conclusion != "success":
        return f"the run of CI ended as {one_line(run.conclusion, 40) or 'nothing known'}: only failures are repaired"
    if run.attempt > 1:
        jobs = [job for job in await forge.jobs(run.id, run.attempt - 1) if job.conclusion in _FAILURES]
        if jobs:
            names = first_few([one_line(job.name, 60) for job in jobs], 3)
            return f"a flake: {names} failed, and passed when run again on the same commit; there is nothing to repair"
    return "CI has passed: there is nothing to repair"


async def _refuse_attempt(context: JobContext, target: Target, request: AgentRequest) -> str:
    """Why no further repair is tried; "" for no reason."""
    spec, forge = request.agent.spec, context.forge
    assert spec and spec.repair
    if not isinstance(forge, ChangesForge) or target.base_sha is None:
        return "the branch's commits cannot be read, so it is not known how often a repair was tried"
    commits = await forge.commits_ahead(target.base_sha, target.head)
    if not commits or commits[-1].sha != target.head:
        return "the branch has too many commits, so it is not known how often a repair was tried"
    count = count_attempts(commits, keep=spec.publish.commits == "keep")
    if count < spec.repair.attempts:
        return ""
    return (
        f"{plural(count, 'commit')} of an agent since a person's last one, and CI still fails at {target.head[:7]} "
        f"(repair.attempts: {spec.repair.attempts}): no further repair is tried until a person has pushed a commit"
    )


async def _announce_end(context: JobContext, target: Target, reason: str) -> None:
    """A comment in the pull request, once for a commit, however many runs of CI fail on it."""
    job, forge = context.job, context.forge
    if target.number is None or not job.inputs.comment or job.inputs.dry_run:
        return
    text = job.redact(error_reply(reason, ""))
    if not any(each.body.strip() == text.strip() for each in await own_comments(forge, target.number)):
        await forge.comment(target.number, text)


async def _read_log(context: JobContext, forge: ActionsForge, job: WorkflowJob) -> JobLog | str:
    """The log of a failed job, without secrets; or why there is none."""
    name = one_line(job.name, 100)
    try:
        data = await forge.job_log(job.id, _LOG_BYTES)
    except ForgeError as error:
        return f"the log of the failed job {name} could not be read: {error}"
    part = failed_part(data.decode(errors="replace"), job.failed_steps)
    if len(part) > _READ_CHARS:  # whole lines, so that no secret is cut in two
        part = part[-_READ_CHARS:].partition("\n")[2]
    text = context.job.redact(screen_text(part)).strip()
    text = clip_middle(text, LOG_CHARS, head=LOG_CHARS // 5)
    return JobLog(name=name, text=text, steps=tuple(one_line(step.name, 100) for step in job.failed_steps))
