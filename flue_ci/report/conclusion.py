"""Conclusion, reason and exit code of a run, from the facts of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from signal import SIGINT

from flue_ci import __version__
from flue_ci.core.errors import EXIT_BUG, EXIT_DONE, EXIT_FAILED, EXIT_LIMIT, FlueError, SpecError
from flue_ci.core.messages import Outcome
from flue_ci.core.text import human_seconds, one_line, plural
from flue_ci.report.report import CommandResult, Conclusion, Failure, Report, SandboxUsed, Verification

# Of a run that another job did, and of which only the conclusion can be believed.
EXIT_CODES: Mapping[Conclusion, int] = {
    "success": EXIT_DONE,
    "no-op": EXIT_DONE,
    "skipped": EXIT_DONE,
    "partial": EXIT_LIMIT,
    "failed": EXIT_FAILED,
    "cancelled": 128 + SIGINT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`reason` is one line for people; `exit_code` that of the process."""

    conclusion: Conclusion
    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The facts of a run. `failure_code` is the exit code of the error that ended it, 0 for none; `signal` its signal,
    or 0. `place` is where the checks ran, for people.

    `wants_changes` is false for specs that publish no changes: such a run has a success without changed files.
    """

    outcome: Outcome | None
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    changed_files: int = 0
    wants_changes: bool = True
    place: str = ""
    failure: str = ""
    failure_code: int = 0
    signal: int = 0


def conclude(record: RunRecord) -> Verdict:
    """Never a success after a failure: the first of signal, error, setup, model, limit and checks that went wrong
    decides."""
    if record.signal:
        return Verdict(conclusion="cancelled", reason="interrupted", exit_code=128 + record.signal)
    if record.failure_code:
        return Verdict(conclusion="failed", reason=record.failure, exit_code=record.failure_code)
    for result in record.setup:
        if not result.passed:
            return _failure(f"setup command `{one_line(result.command, 60)}` {describe_ending(result)}")
    outcome = record.outcome
    if outcome is None:
        return Verdict(conclusion="failed", reason="the run ended without an outcome", exit_code=EXIT_BUG)
    if outcome.status == "failed":
        return _failure(outcome.reason)
    if outcome.status == "gave-up":
        return _failure(f"the agent gave up: {one_line(outcome.reason, 200)}")
    failures = [f"check `{result.name}` {describe_ending(result)}" for result in record.checks if not result.passed]
    if outcome.status == "limit":
        limit = {"cost_usd": "dollars"}.get(outcome.reason, outcome.reason)
        reason = "; ".join([f"stopped by the limit of {limit}", *failures])
        return Verdict(conclusion="partial", reason=reason, exit_code=EXIT_LIMIT)
    if failures:
        return _failure("; ".join(failures))
    if not record.changed_files and record.wants_changes and outcome.result is None:
        return Verdict(conclusion="no-op", reason="the agent changed nothing", exit_code=EXIT_DONE)
    reason = f"{plural(record.changed_files, 'file')} changed" if record.changed_files else "nothing changed"
    if record.checks:
        reason += f", {plural(len(record.checks), 'check')} passed"
        if record.place:
            reason += f" in {record.place}"
    return Verdict(conclusion="success", reason=reason, exit_code=EXIT_DONE)


def never_started(agent: str, instruction: str, provider: str, error: FlueError, exit_code: int = 0) -> Report:
    """The report of a run that failed, or was interrupted, before there was anything to record. `exit_code`: another
    than the error's."""
    exit_code = exit_code or error.exit_code
    stage = "spec" if isinstance(error, SpecError) else "start"
    return Report(
        conclusion="failed" if exit_code < 128 else "cancelled",
        reason=str(error).splitlines()[0],
        exit_code=exit_code,
        agent=agent,
        instruction=instruction,
        sandbox=SandboxUsed(provider=provider),
        failure=Failure(stage=stage, message=str(error), hint=error.hint),
        started=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        flue_ci=__version__,
    )


def describe_ending(result: CommandResult) -> str:
    """`failed with exit code 1`, `timed out after 300s`, `was not run`."""
    if result.state == "not-run":
        return "was not run"
    if result.state == "unknown":
        return "ended, and its exit code is not known"
    if result.timed_out:
        return f"timed out after {result.seconds:.0f}s"
    return f"failed with exit code {result.exit_code}"


def exit_words(exit_code: int | None, *, timed_out: bool, known: bool) -> str:
    """`exit code 1`, `timed out`, `exit code not known`."""
    if timed_out:
        return "timed out"
    return f"exit code {exit_code}" if known else "exit code not known"


_PLACES = {
    ("fresh", True): "a clean sandbox",
    ("fresh", False): "a second folder on the same machine",
    ("same", True): "the agent's own sandbox",
    ("same", False): "the agent's own folder",
}


def describe_place(verification: Verification | None) -> str:
    """Where the checks run: `a clean sandbox`; empty when there are none."""
    if verification is None:
        return ""
    return _PLACES[verification.where, verification.isolated]


def describe_verification(verification: Verification) -> list[str]:
    """What the checks rest on, in plain sentences, and never more than is true."""
    is_fresh, sentences = verification.where == "fresh", []
    if is_fresh and verification.isolated and verification.ready:
        sentences.append("Verified in a clean sandbox: the base and the changes, and nothing else of the agent's.")
    elif verification.ready:
        where = describe_place(verification)
        sentences.append(f"Run in {where}: what the agent left on the machine could speak for the checks.")
    if verification.setup_again:
        sentences.append("Setup ran once more after the changes.")
    if verification.ready and verification.isolated and verification.root:
        speakers = "setup" if is_fresh else "setup and the agent"
        sentences.append(f"Root in this template: {speakers} could speak for checks.")
    if verification.beside:
        sentences.append(f"Beside the changes the checks saw: {', '.join(verification.beside)}.")
    if not verification.ready and verification.sandbox:
        duration = human_seconds(verification.sandbox.seconds)
        sentences.append(f"A clean sandbox ran for {duration} and was not used.")
    return sentences


def _failure(reason: str) -> Verdict:
    return Verdict(conclusion="failed", reason=reason, exit_code=EXIT_FAILED)
