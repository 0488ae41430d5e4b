"""A job of GitHub Actions: its log, the files that the runner reads, and how its step ends.

Everything that a job says leaves through here, and has lost its secrets by then.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

from flue_ci.action.inputs import ActionInputs, read_inputs
from flue_ci.core.errors import EXIT_DONE, EXIT_FAILED, FlueError
from flue_ci.core.text import one_line
from flue_ci.gate.event import run_page
from flue_ci.gate.workflow_commands import (
    SUMMARY_BYTES,
    WorkflowLog,
    append_summary,
    error_annotation,
    mask,
    workflow_command,
    write_output,
)
from flue_ci.publish.comment import summary_page
from flue_ci.publish.publisher import Publisher, PublishTarget, publish_report
from flue_ci.report.delivery import plan_artifact
from flue_ci.report.diffs import cut_long_files
from flue_ci.report.folder import PATCH, RunFolder, copy_public_files, load_timeline
from flue_ci.report.markdown import MARKS
from flue_ci.report.publication import publication_rows
from flue_ci.report.report import Artifact, Report
from flue_ci.report.transcript import LONGEST, transcript_section
from flue_ci.safety.log_handler import install_log_handler
from flue_ci.safety.markdown import escape
from flue_ci.safety.redact import Redactor, secrets_of

SUMMARY_CHARS = 20_000  # of the agent's summary, as an output
LINE_CHARS = 1_000  # of a line in the log, and of the output `reason`
_PLACE = re.compile(r"([^:\n]+):(?:(\d+):(\d+):)?")  # at the beginning of a spec's problem
_MAX_CHARS = 3_000  # GitHub cuts an annotation at 4 KB
_LAST_WORDS = 300


def fail_step(environ: Mapping[str, str], error: FlueError) -> int:
    """Ends a step that came to nothing: its error as an annotation, its outputs, its exit code. Outside of GitHub
    Actions the error is raised again, for the terminal."""
    if environ.get("GITHUB_ACTIONS") != "true":
        raise error
    text = Redactor(secrets_of(environ))(with_hint(str(error), error.hint))
    print(workflow_command("error", text, title="flue-ci"), flush=True)
    WorkflowLog(sys.stdout).line(f"❌ failed, {one_line(text, LINE_CHARS)}")
    try:
        if path := environ.get("GITHUB_OUTPUT"):
            write_output(path, "conclusion", "failed")
            write_output(path, "reason", one_line(text, LINE_CHARS))
        if path := environ.get("GITHUB_STEP_SUMMARY"):
            append_summary(path, f"### ❌ Nothing was started\n\n{escape(text)}")
    except OSError as failure:
        print(f"outputs and summary cannot be written: {failure.strerror}", flush=True)
    return error.exit_code


def start_job(environ: Mapping[str, str]) -> ActionJob:
    """The job of this step. The logs of the SDKs come into its log, and the runner hides what it cannot know: keys that
    are no secrets of the workflow, and the token as git sends it. Raises `UsageError` for what an input cannot be."""
    job = ActionJob(environ, read_inputs(environ))
    install_log_handler(job.say)
    if environ.get("GITHUB_ACTIONS") == "true":  # anywhere else the lines that ask for it would only show them
        settings = job.settings
        github = settings.github
        values = [settings.anthropic_api_key, settings.e2b_api_key, github.push_token, github.app_private_key]
        if github.token:
            values.append(base64.b64encode(f"x-access-token:{github.token}".encode()).decode())
        for value in values:
            mask(sys.stdout, value)
    return job


class ActionJob:
    """`say` is for our own words; `log` for lines of the sandbox and the model.

    `redact` knows the secrets of the environment; for a run, `with_redactor` gives the same job with those of the
    spec as well.
    """

    def __init__(self, environ: Mapping[str, str], inputs: ActionInputs) -> None:
        self.last_lines: list[str] = []  # what the log ends with, see `end_log`
        self.environ, self.inputs, self.settings = environ, inputs, inputs.settings
        self.redact = Redactor([*secrets_of(environ), inputs.settings.github.token])
        self.log = WorkflowLog(sys.stdout)
        self.fallback_folder = Path(environ.get("RUNNER_TEMP") or self.settings.state_dir) / "flue-ci-report"
        self.out = inputs.out or self.fallback_folder

    def with_redactor(self, redact: Redactor) -> ActionJob:
        """The same job, from which these secrets are taken out too; the logs of the SDKs follow."""
        job = copy(self)
        job.redact = redact
        install_log_handler(job.say)
        return job

    @property
    def run_url(self) -> str:
        """The page of this job's run; empty outside of GitHub Actions."""
        return run_page(self.environ)

    def say(self, text: str) -> None:
        """One line in the log."""
        self.log.line(one_line(self.redact(text), LINE_CHARS))

    def notice(self, text: str) -> None:
        """A notice on the run's page, as one line."""
        self.log.command(workflow_command("notice", one_line(self.redact(text), LINE_CHARS), title="flue-ci"))

    def warning(self, text: str) -> None:
        """A warning on the run's page, as one line."""
        self.log.command(workflow_command("warning", one_line(self.redact(text), LINE_CHARS), title="flue-ci"))

    def problem(self, text: str, hint: str = "") -> None:
        """One line in the log about what went wrong beside the run; the run's own ending is the annotation."""
        self.say(with_hint(text, hint).replace("\n", " "))

    def learn_secret(self, value: str) -> None:
        """A key that came during the job: hidden by the runner and taken out of all that is said from now on."""
        if self.environ.get("GITHUB_ACTIONS") == "true":
            mask(sys.stdout, value)
        self.redact.learn(value)

    def append_summary(self, markdown: str) -> None:
        """Adds to the job's summary. A failure is a notice: it is never the only place."""
        path, trouble = self.environ.get("GITHUB_STEP_SUMMARY"), "the step's summary is full"
        try:
            if not path or append_summary(path, self.redact(markdown)):
                return
        except OSError as error:
            trouble = error.strerror or str(error)
        self.notice(f"the job summary cannot be written: {trouble}")

    def plan_artifact(self, agent: str) -> Artifact:
        """The artifact that the step after this one uploads; nothing where there is no runner."""
        if not self.environ.get("RUNNER_TEMP"):
            return Artifact()
        return plan_artifact(agent, self.run_url, is_wanted=self.inputs.artifact)

    def _with_job_hint(self, report: Report) -> Report:
        """In a job, a hint about a key also says where keys are set."""
        failure, url = report.failure, self.settings.github.secrets_url
        if failure is None or "_API_KEY" not in failure.hint or url in failure.hint or not self.settings.github.repo:
            return report
        hint = f"{failure.hint.rstrip()} The keys of a workflow are secrets of the repository: {url}"
        return replace(report, failure=replace(failure, hint=hint))

    def end_log(self) -> None:
        """The last lines of the log: how it ended, what the agent said, and where the answer is."""
        for line in self.last_lines:
            self.say(line)
        self.last_lines.clear()

    def skip(self, reason: str, summary: str = "") -> int:
        """Nothing to do: a notice, outputs, green; `summary` is for a request that is not served."""
        self.notice(reason)
        if summary:
            self.append_summary(summary)
        self._write_outputs({"conclusion": "skipped", "reason": one_line(self.redact(reason), LINE_CHARS)})
        return EXIT_DONE

    async def publish_and_finish(
        self,
        report: Report,
        patch: bytes,
        publishers: Mapping[str, Publisher],
        target: PublishTarget,
        folder: RunFolder | Path,
    ) -> int:
        """The exit code of the step: that of the report's conclusion, and never 0 when something was not published.

        `patch` may have secrets. A `RunFolder` gets the report with `published`; another folder is only named.
        """
        upload: dict[str, str] = {}
        if isinstance(folder, RunFolder):
            report = self._with_job_hint(replace(report, artifact=self.plan_artifact(report.agent)))
        target = replace(target, patch=patch)
        report = await publish_report(report, self.redact.redact_value(patch), publishers, target)
        report = self.redact.redact_value(report)  # an error of a publisher may repeat what it was sent
        if isinstance(folder, RunFolder):
            report, folder, upload = self.save(report, patch, folder)
        return self.finish(report, patch, folder, upload, is_published=len(report.published) >= len(publishers))

    def save(self, report: Report, patch: bytes, folder: RunFolder) -> tuple[Report, Path, dict[str, str]]:
        """Writes the files of a run; the report as it stands in them, where they are, and the outputs about the
        artifact: its name, and the copy of the folder that is uploaded."""
        report = folder.save(report, patch)
        if not (name := report.artifact.name):
            return report, folder.path, {}
        upload = Path(self.environ["RUNNER_TEMP"]) / "flue-ci-artifact"
        try:
            copy_public_files(folder.path, upload, self.redact)
        except (OSError, FlueError) as error:
            self.notice(f"the report cannot be uploaded: {error}")
            return report, folder.path, {"artifact-name": name}
        return report, folder.path, {"artifact-name": name, "artifact-path": str(upload)}

    def finish(
        self, report: Report, patch: bytes, folder: Path | None, upload: dict[str, str], *, is_published: bool = True
    ) -> int:
        """Summary, outputs, the exit code, and an annotation unless all is well. `report` is without secrets; `folder`
        is where its files are, None for nowhere; `upload` are the outputs about the artifact."""
        patch = self.redact.redact_value(cut_long_files(patch))
        page = summary_page(report, patch, server_url=self.settings.github.server_url)
        if folder:
            room = SUMMARY_BYTES - len(page.encode()) - 2
            section = transcript_section(load_timeline(folder, self.redact), min(LONGEST, room))
            page = f"{page}\n\n{section}".rstrip()
        self.append_summary(page)
        url = next((entry.url for entry in report.published if entry.publisher == "comment"), "")
        self._write_outputs(_outputs(report, folder, url) | upload)
        code = EXIT_DONE
        if report.conclusion in self.inputs.fail_on or not is_published:
            code = report.exit_code or EXIT_FAILED
        if command := annotation(report, url, is_red=code != EXIT_DONE):
            self.log.command(command)
        self.last_lines[:] = last_lines(report, url or self.run_url)
        return code

    def write_dry_run(self, values: Mapping[str, str], notes: Sequence[str]) -> int:
        """A dry run: what would happen, in the log and in the summary; green."""
        rows = {name.replace("_", " "): self.redact(value) for name, value in values.items()}
        for name, value in rows.items():
            self.log.line(f"{name:<16} {one_line(value, LINE_CHARS)}")
        for note in notes:
            self.say(f"note: {note}")
        table = "\n".join(f"| {name} | {escape(one_line(value, 500))} |" for name, value in rows.items())
        head = "### What a run would do\n\nNothing was started and nothing was spent.\n\n| | |\n|:--|:--|\n"
        self.append_summary(head + table)
        self._write_outputs({"conclusion": "skipped", "reason": "a dry run"})
        return EXIT_DONE

    def _write_outputs(self, values: Mapping[str, str]) -> None:
        if path := self.environ.get("GITHUB_OUTPUT"):
            try:
                for name, value in values.items():
                    write_output(path, name, value)
            except OSError as error:
                self.notice(f"the output {name} cannot be written: {error.strerror}")


def with_hint(text: str, hint: str) -> str:
    """What happened, and on a line of its own what to do next."""
    return f"{text}\n→ {hint}" if hint else text


def _outputs(report: Report, folder: Path | None, comment_url: str) -> dict[str, str]:
    """The outputs of action.yml, by name; empty for what there is not."""
    cost_usd = report.usage.cost_usd
    return {
        "conclusion": report.conclusion,
        "reason": one_line(report.reason, LINE_CHARS),
        "agent": report.agent,
        "comment-url": comment_url,
        "patch-path": str(folder / PATCH) if folder and report.changes.patch else "",
        "report-path": str(folder / "report.json") if folder else "",
        "summary": report.summary[:SUMMARY_CHARS],
        "result": "" if report.result is None else json.dumps(report.result),
        "turns": str(report.usage.turns),
        "tokens": str(report.usage.total_tokens) * report.usage.has_counts,
        "cost-usd": "" if cost_usd is None else f"{cost_usd:.4f}",
        "changed-files": json.dumps([file.path for file in report.changes.files][:1_000]),
    }


def annotation(report: Report, comment_url: str, *, is_red: bool) -> str:
    """The workflow command that shows why a run did not end well and what to do: an error when the step is red, else a
    warning; "" when all is well. Problems of a spec are shown together, at the line of the first."""
    if not is_red and report.conclusion not in ("failed", "cancelled", "partial"):
        return ""
    level, text, place = "error" if is_red else "warning", report.reason, None
    if report.failure and report.failure.stage == "spec":
        text = report.failure.message
        place = _PLACE.match(text)
    text = f"{text[:_MAX_CHARS]}\n→ {remedy(report, comment_url)[:_MAX_CHARS]}"
    if place and is_red:
        return error_annotation(place[1], int(place[2] or 0), int(place[3] or 0), text)
    return workflow_command(level, text, title="flue-ci")


def remedy(report: Report, comment_url: str) -> str:
    """What to do next, for a person who looks at the job."""
    where = comment_url or "the job summary"
    if report.failure and report.failure.hint:
        return report.failure.hint
    if report.failure and report.failure.stage == "spec":
        return "mend the spec on the default branch; `flue-ci validate` shows the same problems in a checkout"
    if report.conclusion == "partial":
        return f"ask for a smaller part, or raise the spec's `limits`; what is done so far is in {where}"
    if report.conclusion == "cancelled":
        return f"ask again, unless it was meant to end; what is done so far is in {where}"
    if any(not check.passed for check in report.checks):
        return f"the output of the checks is in {where}; ask again and say what is to be different"
    return f"{where} has what is known; ask again, or look at the lines above"


def last_lines(report: Report, address: str) -> list[str]:
    """Conclusion, the agent's last words, what was published, and where the answer is, each on a line."""
    name = f"{report.agent}: " if report.agent else ""
    lines = [f"{MARKS[report.conclusion]} {name}{report.conclusion}, {one_line(report.reason, 500)}"]
    paragraphs = [part for part in report.summary.split("\n\n") if part.strip()]
    if paragraphs:
        lines.append(f"“{one_line(paragraphs[0], _LAST_WORDS)}”")
    for row in publication_rows(report):
        lines.append(f"{row.mark} {' · '.join(filter(None, [row.name, row.commit, row.text, row.url]))}")
    if address:
        lines.append(f"→ {address}")
    return lines
