"""A job of GitHub Actions as one value: its inputs, its log, the files that the runner reads, and how it ends.

Everything that a job says leaves through here, and has lost its secrets by then.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.errors import EXIT_DONE, EXIT_FAILED, FlueError, SpecError, UsageError
from flue_ci.core.text import one_line
from flue_ci.gate.workflow_commands import (
    WorkflowLog,
    append_summary,
    error_annotation,
    mask,
    workflow_command,
    write_output,
)
from flue_ci.publish.comment import summary_page
from flue_ci.report.folder import PATCH
from flue_ci.report.report import CONCLUSIONS, Report
from flue_ci.safety import log_handler as sdklog
from flue_ci.safety.markdown import escape
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings

SUMMARY_CHARS = 20_000  # of the agent's last words, as an output


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInputs:
    """The inputs of action.yml, as the environment carries them (docs/action.md). Empty: not given."""

    agent: str = ""
    instruction: str = ""
    model: str = ""
    template: str = ""
    fail_on: frozenset[str] = frozenset(("failed", "cancelled", "partial"))
    dry_run: bool = False
    comment: bool = True
    out: Path | None = None
    rate_limit: int = 20
    run_token: str = field(default_factory=lambda: secrets.token_hex(16))
    has_reacted: bool = False
    report: Path | None = None


def read_inputs(environ: Mapping[str, str]) -> ActionInputs:
    """Raises `UsageError` for what an input cannot be."""

    def given(name: str) -> str:
        return environ.get(f"FLUE_CI_{name}", "").strip()

    fail_on = frozenset(word for word in given("FAIL_ON").replace(",", " ").split() if word)
    if unknown := sorted(fail_on - {*CONCLUSIONS, "none"}):
        raise UsageError(
            f"input `fail-on`: there is no conclusion `{one_line(unknown[0], 40)}`",
            hint=f"known: {', '.join(CONCLUSIONS)}; `none` to fail on nothing",
        )
    rate = given("RATE_LIMIT") or "20"
    if not rate.isdecimal():
        raise UsageError(
            f"input `rate-limit` is {one_line(rate, 40)!r}, not a number",
            hint="requests an hour and person; 0 for no limit",
        )
    return ActionInputs(
        agent=given("AGENT"),
        instruction=environ.get("FLUE_CI_INSTRUCTION", ""),
        model=given("MODEL"),
        template=given("TEMPLATE"),
        fail_on=fail_on or ActionInputs().fail_on,
        dry_run=_flag("dry-run", given("DRY_RUN")),
        comment=_publishes(given("PUBLISH")),
        out=Path(given("OUT")) if given("OUT") else None,
        rate_limit=int(rate),
        run_token=given("RUN_TOKEN") or secrets.token_hex(16),
        has_reacted=_flag("reacted", given("REACTED")),
        report=Path(given("REPORT")) if given("REPORT") else None,
    )


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("", "true", "false"):
        raise UsageError(f"input `{name}` is {one_line(text, 40)!r}", hint="write true or false")
    return text.lower() == "true"


def _publishes(text: str) -> bool:
    if text not in ("", "comment", "none"):
        raise UsageError(f"input `publish` is {one_line(text, 40)!r}", hint="write comment or none")
    return text != "none"


def fail_step(environ: Mapping[str, str], error: FlueError) -> int:
    """Ends a step that came to nothing: its error as an annotation, its outputs, its exit code. Outside of GitHub
    Actions the error goes on, to be told on the terminal."""
    if environ.get("GITHUB_ACTIONS") != "true":
        raise error
    told = Redactor(secrets_of(environ))(f"{error}\n→ {error.hint}" if error.hint else str(error))
    print(workflow_command("error", told, title="flue-ci"), flush=True)
    if path := environ.get("GITHUB_OUTPUT"):
        write_output(path, "conclusion", "failed")
        write_output(path, "reason", one_line(told, 1_000))
    return error.exit_code


class ActionJob:
    """`say` is for our own words, whoever's names are in them; the log guard for everybody else's lines."""

    def __init__(self, environ: Mapping[str, str], settings: Settings, inputs: ActionInputs) -> None:
        self.environ, self.settings, self.inputs = environ, settings, inputs
        self.redact = Redactor([*secrets_of(environ), settings.github.token])
        self.log = WorkflowLog(sys.stdout)
        self.fallback_folder = Path(environ.get("RUNNER_TEMP") or settings.state_dir) / "flue-ci-report"
        self.out = inputs.out or self.fallback_folder

    @property
    def run_url(self) -> str:
        """The page of this job's run; empty outside of GitHub Actions."""
        run, attempt = self.environ.get("GITHUB_RUN_ID", ""), self.environ.get("GITHUB_RUN_ATTEMPT", "1")
        where = self.settings.github
        tail = f"/attempts/{attempt}" if attempt not in ("", "1") else ""
        return f"{where.server_url}/{where.repo}/actions/runs/{run}{tail}" if run and where.repo else ""

    def begin(self) -> None:
        """Before anything is said: what the SDKs log comes here too, and the runner learns what to hide."""
        sdklog.install_log_handler(self.say)
        self._mask_secrets()

    def _mask_secrets(self) -> None:
        """Has the runner hide what it cannot know: keys that are no secrets of the workflow, and the token as git sends
        it. Anywhere else the lines that ask for it would only show them."""
        if self.environ.get("GITHUB_ACTIONS") != "true":
            return
        settings = self.settings
        basic = base64.b64encode(f"x-access-token:{settings.github.token}".encode()).decode()
        for value in (settings.anthropic_api_key, settings.e2b_api_key, basic if settings.github.token else ""):
            mask(sys.stdout, value)

    def say(self, text: str) -> None:
        """One line in the log."""
        self.log.line(one_line(self.redact(text), 1_000))

    def notice(self, text: str) -> None:
        self.log.command(workflow_command("notice", one_line(self.redact(text), 1_000), title="flue-ci"))

    def error(self, text: str, hint: str = "") -> None:
        told = self.redact(f"{text}\n→ {hint}" if hint else text)
        self.log.command(workflow_command("error", told, title="flue-ci"))

    def spec_errors(self, error: SpecError) -> None:
        """An annotation a problem, at its line."""
        for problem in error.diagnostics[:10]:
            told = self.redact(f"{problem.key}: {problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
            self.log.command(error_annotation(problem.file, problem.line, problem.column, told))

    def skip(self, reason: str) -> int:
        """Nothing to do: a notice, outputs, green."""
        self.notice(reason)
        self._outputs({"conclusion": "skipped", "reason": one_line(self.redact(reason), 1_000)})
        return EXIT_DONE

    def finish(self, report: Report, patch: bytes, folder: Path | None, comment_url: str) -> int:
        """Summary, outputs and the exit code. `report` is without secrets; `folder` is where its files are, None for
        nowhere."""
        patch = self.redact.redact_value(patch)
        if trouble := self._summarise(summary_page(report, patch, server_url=self.settings.github.server_url)):
            self.notice(f"the job summary cannot be written: {trouble}")
        self._outputs(
            {
                "conclusion": report.conclusion,
                "reason": one_line(report.reason, 1_000),
                "agent": report.agent,
                "comment-url": comment_url,
                "patch-path": str(folder / PATCH) if folder and report.changes.patch else "",
                "report-path": str(folder / "report.json") if folder else "",
                "summary": report.summary[:SUMMARY_CHARS],
                "result": "" if report.result is None else json.dumps(report.result),
                "turns": str(report.usage.turns),
                "tokens": str(report.usage.total_tokens),
                "cost-usd": "" if report.usage.cost_usd is None else f"{report.usage.cost_usd:.4f}",
                "changed-files": json.dumps([file.path for file in report.changes.files][:1_000]),
            }
        )
        if report.conclusion in self.inputs.fail_on:
            return report.exit_code or EXIT_FAILED
        return EXIT_DONE

    def write_dry_run(self, shown: Mapping[str, str], notes: Sequence[str]) -> int:
        """A dry run: what would happen, in the log and in the summary; green."""
        rows = {name.replace("_", " "): self.redact(value) for name, value in shown.items()}
        for name, value in rows.items():
            self.log.line(f"{name:<16} {one_line(value, 1_000)}")
        for note in notes:
            self.say(f"note: {note}")
        table = "\n".join(f"| {name} | {escape(one_line(value, 500))} |" for name, value in rows.items())
        head = "### What a run would do\n\nNothing was started and nothing was spent.\n\n| | |\n|:--|:--|\n"
        self._summarise(head + table)
        self._outputs({"conclusion": "skipped", "reason": "a dry run"})
        return EXIT_DONE

    def _summarise(self, markdown: str) -> str:
        """The reason why the summary could not be written; empty when it was."""
        path = self.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            return ""
        try:
            if not append_summary(path, markdown):
                return "the step's summary is full"
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _outputs(self, values: Mapping[str, str]) -> None:
        path = self.environ.get("GITHUB_OUTPUT")
        for name, value in values.items() if path else ():
            try:
                write_output(path or os.devnull, name, value)
            except OSError as error:
                self.notice(f"the output {name} cannot be written: {error.strerror}")
                return
