"""The way in from a checkout: `flue-ci run` and `flue-ci demo`. Options become an assembly; the run gets its folder,
view and ending."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from flue_ci.assembly import PreparedRun, RunOptions, prepare_run
from flue_ci.core.errors import EXIT_FAILED, FlueError, SpecError, UsageError
from flue_ci.core.text import one_line, plain, printable
from flue_ci.git.command import plain_environment
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Failure, Report, to_json
from flue_ci.run.dry_run import describe_run
from flue_ci.run.inputs import checkout
from flue_ci.run.session import Signals, redirect_to_null, run_interactively
from flue_ci.safety import log_handler as sdklog
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_spec, load_spec, not_supported_yet, only_on_github
from flue_ci.spec.schema import AgentSpec
from flue_ci.terminal import result as closing
from flue_ci.terminal.progress import make_view

DEMO = Path(str(files("flue_ci"))) / "demo"
DEMO_AGENT = "fix-tests"
LOG_CHARS = 2_000  # of what an SDK logs


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoice:
    """What the command line says; the fields are its options."""

    agent: str
    instruction: str = ""
    repo: Path = Path()
    sandbox: str = "e2b"
    no_isolation: bool = False
    model: str | None = None
    settings: tuple[str, ...] = ()
    out: Path | None = None
    apply: bool = False
    json: bool = False
    dry_run: bool = False
    record: Path | None = None
    replay: Path | None = None
    quiet: bool = False
    show_diff: bool = False


def run_here(choice: RunChoice, environ: Mapping[str, str]) -> int:
    """Runs the agent as chosen, prints the result, and gives the exit code. Raises `UsageError` before anything has
    started."""
    signals = Signals()
    signals.interrupt()
    _tell_logs(Redactor(secrets_of(environ)))
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as scratch:
        try:
            settings = read_settings(environ)
            assembly, spec = _assembled(choice, settings, signals, Path(scratch))
            _tell_logs(assembly.redact)
            if choice.dry_run:
                return asyncio.run(_dry_run(assembly, spec, choice))
            folder = _open_folder(choice, settings, assembly)
            return asyncio.run(_run(choice, assembly, folder, signals))
        except FlueError as error:
            stage = "spec" if isinstance(error, SpecError) else "start"
            if not signals.saved:
                failure = Failure(stage=stage, message=str(error), hint=error.hint)
                _report_early(choice, environ, failure, error.exit_code)
            raise
        except KeyboardInterrupt:
            if not signals.saved:
                _report_early(choice, environ, Failure(stage="start", message="interrupted"), 128 + signals.first)
            print("flue-ci: interrupted", file=sys.stderr)
            return 128 + signals.first


def _tell_logs(redact: Redactor) -> None:
    sdklog.install_log_handler(lambda text: print(one_line(redact(text), LOG_CHARS), file=sys.stderr))


def _assembled(choice: RunChoice, settings: Settings, signals: Signals, scratch: Path) -> tuple[PreparedRun, AgentSpec]:
    if choice.no_isolation and choice.sandbox != "local":
        raise UsageError("--no-isolation goes with --sandbox local only")
    repo = find_root(choice.repo)
    path = find_spec(repo, choice.agent)
    changes = [*choice.settings, *([f"model.name={choice.model}"] if choice.model else [])]
    spec = load_spec(path, overrides=changes)
    if missing := not_supported_yet(spec):
        raise SpecError(missing)
    assembly = prepare_run(
        spec,
        spec_path=path,
        origin=checkout(
            repo,
            history=spec.workspace.history,
            scratch=scratch,
            mentions_repo="repo" in spec.prompt + spec.instructions,
        ),
        instruction=choice.instruction,
        options=RunOptions(
            provider=choice.sandbox,
            isolation=not choice.no_isolation,
            record=choice.record,
            dry_run=choice.dry_run,
            replay=choice.replay,
        ),
        settings=settings,
        signal=lambda: signals.first,
    )
    return assembly, spec


def _open_folder(choice: RunChoice, settings: Settings, assembly: PreparedRun) -> RunFolder:
    path = choice.out or _folder(settings, choice.agent)
    fresh = not path.is_dir() or not any(path.iterdir())
    try:
        folder = RunFolder(path, assembly.redact)
        if fresh and (find_root(path) / ".git").exists():
            (path / ".gitignore").write_text("*\n")  # a run's files are no work in progress of the checkout
        return folder
    except OSError as error:
        raise UsageError(f"{path} takes no files: {error.strerror}", hint="choose another folder with --out") from error


def _folder(settings: Settings, agent: str) -> Path:
    """A new folder for a run that named none, outside of the repository so that it never shows up as a change."""
    name = "".join(char if char.isalnum() or char in "-_" else "-" for char in Path(agent).stem)
    return settings.state_dir / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{name}"


async def _run(choice: RunChoice, assembly: PreparedRun, folder: RunFolder, signals: Signals) -> int:
    view = make_view(quiet=choice.quiet)
    try:
        report, patch = await run_interactively(assembly, folder, view, signals)
    finally:
        await assembly.close()
    read = _show(choice, report, assembly.redact.redact_value(patch), folder.path)
    if folder.trouble:
        print(f"flue-ci: {plain(folder.trouble)}", file=sys.stderr)
    if choice.apply and report.changes.patch:
        return await _apply(choice, assembly, report, patch, folder) or (0 if read else EXIT_FAILED)
    return report.exit_code or (0 if read else EXIT_FAILED)


def _show(choice: RunChoice, report: Report, patch: bytes, folder: Path) -> bool:
    """Prints the result. False when nobody reads it to its end."""
    try:
        if choice.json:
            print(to_json(report))
        else:
            closing.print_result(report, patch, folder, diff=choice.apply or choice.show_diff)
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)
        return False
    return True


async def _apply(choice: RunChoice, assembly: PreparedRun, report: Report, patch: bytes, folder: RunFolder) -> int:
    from flue_ci.workspace.apply import apply_patch

    by_hand = plain(f"git apply --3way {folder.path / (report.changes.patch or '')}")
    if report.conclusion != "success":
        print(f"Not applied, because the run did not succeed. By hand: {by_hand}", file=sys.stderr)
        return report.exit_code
    assert assembly.source is not None
    try:
        await apply_patch(find_root(choice.repo), assembly.source, patch)
    except FlueError as error:
        reason = plain(assembly.redact(f"not applied: {str(error).removeprefix('not applied: ')}"))
        print(f"flue-ci: {reason}\n  → by hand: {by_hand}", file=sys.stderr)
        failure = Failure(stage="apply", message=reason, hint=f"by hand: {by_hand}")
        folder.save(replace(report, conclusion="failed", reason=reason, exit_code=EXIT_FAILED, failure=failure), patch)
        return EXIT_FAILED
    print("Applied to the working tree; `git diff` shows it.", file=sys.stderr)
    return report.exit_code


async def _dry_run(assembly: PreparedRun, spec: AgentSpec, choice: RunChoice) -> int:
    """Shows what a run would do: nothing is started, nothing is asked of any service."""
    assembly.kit.provider.check(assembly.job.request)
    source = await assembly.kit.source()
    shown = describe_run(assembly.job, spec, source, choice.sandbox)
    if choice.json:
        print(json.dumps(assembly.redact.redact_value(shown), indent=2))
        return 0
    width = max(len(name) for name in shown)
    for name, value in shown.items():
        print(f"{name.replace('_', ' '):<{width}}  {printable(assembly.redact(value))}")
    elsewhere = [f"{problem.key}: {problem.message}" for problem in only_on_github(spec)]
    for note in (*assembly.notes, *source.notes, *elsewhere):
        print(f"{'note':<{width}}  {printable(assembly.redact(note))}")
    print("Nothing was started and nothing was spent.", file=sys.stderr)
    return 0


def _report_early(choice: RunChoice, environ: Mapping[str, str], failure: Failure, exit_code: int) -> None:
    """A run that never started leaves its reason in `--out`, when that was given and can be written, and in what
    `--json` prints."""
    if choice.dry_run:
        return
    redact = Redactor(secrets_of(environ))
    report = redact.redact_value(never_started(choice.agent, choice.instruction, choice.sandbox, failure, exit_code))
    if choice.out is not None:
        try:
            RunFolder(choice.out, redact).save(report, b"")
        except OSError:
            pass  # the error itself says so, or is shown anyway
    if choice.json:
        print(to_json(report))


def run_demo(environ: Mapping[str, str], *, isolation: bool, out: Path | None) -> int:
    """Makes a small repository with a failing test and has a recorded agent fix it in the local sandbox."""
    with tempfile.TemporaryDirectory(prefix="flue-ci-demo-") as folder:
        repo = Path(folder) / "slugs"
        shutil.copytree(DEMO / "repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
        agents = repo / ".flue" / "agents"
        agents.mkdir(parents=True)
        shutil.copy(DEMO / f"{DEMO_AGENT}.yml", agents)
        _commit(repo)
        print(
            "A small repository with a failing test; a recorded model fixes it. Everything else is real.\n\n"
            f"$ flue-ci run {DEMO_AGENT}",
            file=sys.stderr,
        )
        choice = RunChoice(
            agent=DEMO_AGENT,
            repo=repo,
            sandbox="local",
            no_isolation=not isolation,
            out=out,
            replay=DEMO / "recording.jsonl",
            show_diff=True,
        )
        code = run_here(choice, environ)
    if code == 0:
        print("\nNext, in a repository of yours: flue-ci init, flue-ci doctor, flue-ci run fix-tests", file=sys.stderr)
    return code


def _commit(repo: Path) -> None:
    settings = (
        "user.name=flue-ci",
        "user.email=demo@flue-ci.invalid",
        "commit.gpgsign=false",
        "core.hooksPath=/dev/null",
    )
    given = [part for setting in settings for part in ("-c", setting)]
    try:
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Slugs, with a bug"]):
            command = ["git", *given, *arguments]
            subprocess.run(command, cwd=repo, env=plain_environment(), check=True, capture_output=True)
    except FileNotFoundError:
        raise UsageError("git is not installed", hint="install git 2.34 or newer") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise UsageError(f"git could not make the demo's repository: {said}") from error
