"""How a run is judged: conclusion, reason and exit code from what was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flue_ci import __version__
from flue_ci.core.errors import EXIT_BUG, EXIT_DONE, EXIT_FAILED, EXIT_LIMIT
from flue_ci.core.messages import Outcome
from flue_ci.core.text import one_line, plural
from flue_ci.report.report import CommandResult, Conclusion, Failure, Report, SandboxUsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    conclusion: Conclusion
    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run left behind. `failure_code` is the exit code of the error that ended it, 0 for none; `signal` its
    signal, or 0.

    `wants_changes` is false for specs that publish no changes: doing nothing to the files is then no sign of having
    done nothing.
    """

    outcome: Outcome | None
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    changed_files: int = 0
    wants_changes: bool = True
    failure: str = ""
    failure_code: int = 0
    signal: int = 0


def conclude(found: RunRecord) -> Verdict:
    """Never green on a failure: the first of signal, error, setup, model, limit, checks that went wrong decides."""
    if found.signal:
        return Verdict(conclusion="cancelled", reason="interrupted", exit_code=128 + found.signal)
    if found.failure_code:
        return Verdict(conclusion="failed", reason=found.failure, exit_code=found.failure_code)
    broken_setup = [result for result in found.setup if not result.passed]
    if broken_setup:
        return _failed(f"setup command `{one_line(broken_setup[0].command, 60)}` {describe_ending(broken_setup[0])}")
    outcome = found.outcome
    if outcome is None:
        return Verdict(conclusion="failed", reason="the run ended without an outcome", exit_code=EXIT_BUG)
    if outcome.status == "failed":
        return _failed(outcome.reason)
    if outcome.status == "gave-up":
        return _failed(f"the agent gave up: {one_line(outcome.reason, 200)}")
    broken_checks = [result for result in found.checks if not result.passed]
    checks = "; ".join(f"check `{result.name}` {describe_ending(result)}" for result in broken_checks)
    if outcome.status == "limit":
        reason = f"stopped by the limit of {'dollars' if outcome.reason == 'cost_usd' else outcome.reason}" + (
            f"; {checks}" if checks else ""
        )
        return Verdict(conclusion="partial", reason=reason, exit_code=EXIT_LIMIT)
    if broken_checks:
        return _failed(checks)
    if not found.changed_files and found.wants_changes and outcome.result is None:
        return Verdict(conclusion="no-op", reason="the agent changed nothing", exit_code=EXIT_DONE)
    passed = f", {plural(len(found.checks), 'check')} passed" if found.checks else ""
    changed = f"{plural(found.changed_files, 'file')} changed" if found.changed_files else "nothing changed"
    return Verdict(conclusion="success", reason=changed + passed, exit_code=EXIT_DONE)


def never_started(agent: str, instruction: str, provider: str, failure: Failure, exit_code: int) -> Report:
    """The report of a run that failed, or was interrupted, before there was anything to record."""
    return Report(
        conclusion="failed" if exit_code < 128 else "cancelled",
        reason=failure.message.splitlines()[0],
        exit_code=exit_code,
        agent=agent,
        instruction=instruction,
        sandbox=SandboxUsed(provider=provider),
        failure=failure,
        started=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        flue_ci=__version__,
    )


def describe_ending(result: CommandResult) -> str:
    """`failed with exit code 1`, `timed out after 300s`."""
    return f"timed out after {result.seconds:.0f}s" if result.timed_out else f"failed with exit code {result.exit_code}"


def _failed(reason: str) -> Verdict:
    return Verdict(conclusion="failed", reason=reason, exit_code=EXIT_FAILED)
