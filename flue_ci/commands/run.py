"""`flue-ci run`: an agent over a checkout. Options become a prepared run; the run gets its folder, view and ending."""

import asyncio
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flue_ci.assembly import contents, prepare_run
from flue_ci.commands.consent import Request, obtain_consent
from flue_ci.commands.local_publishing import LocalPublishing, UserForge, find_local_publishing
from flue_ci.core.errors import EXIT_FAILED, FlueError, SpecError, UsageError
from flue_ci.core.startup import fast_startup
from flue_ci.core.text import first_few, one_line, plain, printable
from flue_ci.publish.publisher import PublishTarget, not_published, publish_report
from flue_ci.publish.registry import load_publishers
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import PATCH, RunFolder
from flue_ci.report.report import Failure, Report, to_json
from flue_ci.run.dry_run import describe_run, needs
from flue_ci.run.plan import CheckoutInputs, PreparedRun, RunOptions, RunResult, checkout_variables
from flue_ci.run.session import Phase, Signals, redirect_to_null, run_interactively
from flue_ci.safety.log_handler import install_log_handler
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_spec, load_spec, not_supported_yet, only_on_github
from flue_ci.spec.schema import AgentSpec
from flue_ci.terminal.progress import make_view
from flue_ci.terminal.result import print_result
from flue_ci.terminal.screen import Line, Screen, print_json, say

LOG_CHARS = 2_000  # of a line that an SDK logs


def run_locally(options: RunOptions, environ: Mapping[str, str]) -> int:
    """Runs the agent, prints the result, and gives the exit code. Raises `FlueError` for what keeps the run
    from starting."""
    signals = Signals()
    signals.interrupt()
    _install_log_handler(Redactor(secrets_of(environ)))
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as scratch:
        try:
            settings = read_settings(environ)
            with fast_startup():
                spec, run, requests = _prepare(options, settings, signals, Path(scratch))
            _install_log_handler(run.redact)
            place = None
            if options.publish:
                place = find_local_publishing(options.publish, find_root(options.repo), settings)
            if options.dry_run:
                return asyncio.run(_dry_run(run, spec, options, requests, place))
            return asyncio.run(_run(options, run, place, settings, signals))
        except FlueError as error:
            if signals.phase < Phase.FILES:
                _report_early(options, environ, error)
            raise
        except KeyboardInterrupt:
            if signals.phase < Phase.FILES:
                _report_early(options, environ, FlueError("interrupted"), 128 + signals.first)
            print("flue-ci: interrupted", file=sys.stderr)
            return 128 + signals.first


def _install_log_handler(redact: Redactor) -> None:
    install_log_handler(lambda text: say(one_line(redact(text), LOG_CHARS), sys.stderr))


def _prepare(
    options: RunOptions, settings: Settings, signals: Signals, scratch: Path
) -> tuple[AgentSpec, PreparedRun, list[Request]]:
    """The last are the things that the user would be asked for, in a dry run."""
    repo = find_root(options.repo)
    path = find_spec(repo, options.agent)
    spec = load_spec(path, overrides=options.overrides)
    if missing := not_supported_yet(spec):
        raise SpecError(missing)
    git_dirs, requests = obtain_consent(spec, repo, options, settings)
    inputs = CheckoutInputs(
        trusted_folder=repo,
        name=repo.name,
        variables=checkout_variables(repo, mentions_repo="repo" in spec.prompt + spec.instructions),
        history=spec.workspace.history,
        scratch=scratch,
        contents=contents(spec),
        github=settings.github,
        git_dirs=git_dirs,
    )
    run = prepare_run(
        spec, spec_path=path, inputs=inputs, options=options, settings=settings, signal=lambda: signals.first
    )
    return spec, run, requests


def _open_folder(options: RunOptions, settings: Settings, redact: Redactor) -> RunFolder:
    path = options.out or _new_folder(settings, options.agent)
    is_new = not path.is_dir() or not any(path.iterdir())
    try:
        if options.out is None:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = RunFolder(path, redact)
        if is_new and (find_root(path) / ".git").exists():
            (path / ".gitignore").write_text("*\n")  # a run's files are no work in progress of the checkout
        return folder
    except OSError as error:
        raise UsageError(f"{path} takes no files: {error.strerror}", hint="choose another folder with --out") from error


def _new_folder(settings: Settings, agent: str) -> Path:
    """A folder for a run without `--out`, outside of the repository so that it never shows up as a change."""
    name = re.sub(r"[^\w-]", "-", Path(agent).stem)
    return settings.state_dir / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{name}"


async def _run(
    options: RunOptions, run: PreparedRun, place: LocalPublishing | None, settings: Settings, signals: Signals
) -> int:
    forge = None
    if place:
        forge = place.open_forge(lambda text: say(f"flue-ci: {plain(run.redact(text))}", sys.stderr))
        place = await place.check(forge)
    folder = _open_folder(options, settings, run.redact)
    async with aclosing(run):
        result = await run_interactively(run, folder, make_view(quiet=options.quiet), signals)
    report, patch = await _publish(result, place, forge, folder, run.redact), run.redact.redact_value(result.patch)
    if forge:
        await forge.close()
    was_read = _print(options, report, patch, folder.path)
    report = folder.add_page(report, result.patch)
    if folder.trouble:
        say(f"flue-ci: {plain(folder.trouble)}", sys.stderr)
    code = report.exit_code
    if (options.apply or options.apply_protected) and report.changes.patch:
        code = await _apply(options, run.redact, replace(result, report=report), folder)
    return code if was_read else code or EXIT_FAILED


async def _publish(
    result: RunResult, place: LocalPublishing | None, forge: UserForge | None, folder: RunFolder, redact: Redactor
) -> Report:
    """Publishes where `--publish` says, else with the publisher of another package that the spec names, if any."""

    def notify(text: str, hint: str = "") -> None:
        say(plain(redact("\n  → ".join(filter(None, (f"flue-ci: {text}", hint))))), sys.stderr)

    target = PublishTarget(publishing=result.report.publish, folder=folder.path, notify=notify, show_error=notify)
    report = result.report
    if place and forge:
        target = place.target(target, report.publish, forge, result.source, result.patch)
        report = replace(report, trigger=place.trigger)
    publishers = load_publishers(replace(target, redact=redact))
    if not publishers:
        return result.report
    report = await publish_report(report, redact.redact_value(result.patch), publishers, replace(target, redact=redact))
    for entry in report.published:
        if place and entry.state == "refused" and report.changes.files:  # it was asked for, and is not there
            report = not_published(report, entry.detail, FlueError(entry.detail))
    return folder.save(replace(report, trigger=result.report.trigger), result.patch, page=False)


def _print(options: RunOptions, report: Report, patch: bytes, folder: Path) -> bool:
    """Prints the result. False when its reader went away before the end."""
    try:
        if options.json:
            print_json(to_json(report))
        else:
            print_result(report, patch, folder, diff=options.apply or options.apply_protected or options.show_diff)
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)
        return False
    return True


async def _apply(options: RunOptions, redact: Redactor, result: RunResult, folder: RunFolder) -> int:
    from flue_ci.workspace.apply import apply_patch, unseen_paths

    report = result.report
    by_hand = plain(f"git apply --3way {shlex.quote(str(folder.path / (report.changes.patch or '')))}")
    screen = Screen(sys.stderr)
    if report.conclusion != "success":
        screen.show([Line("Not applied, because the run did not succeed. By hand: ", copy=by_hand)])
        return report.exit_code
    assert result.source is not None
    try:
        omissions = await apply_patch(
            find_root(options.repo), result.source, result.patch, with_protected=options.apply_protected
        )
    except FlueError as error:
        reason = plain(redact(f"not applied: {str(error).removeprefix('not applied: ')}"))
        screen.show([Line(f"flue-ci: {reason}"), Line("  → by hand: ", copy=by_hand)])
        failure = Failure(stage="apply", message=reason, hint=f"by hand: {by_hand}")
        report = replace(report, conclusion="failed", reason=reason, exit_code=EXIT_FAILED, failure=failure)
        folder.save(report, result.patch)
        return EXIT_FAILED
    if any({file.path, file.old_path}.isdisjoint(omissions) for file in report.changes.files):
        say("Applied to the working tree; `git diff` shows it.", sys.stderr)
        if unseen := await unseen_paths(find_root(options.repo), result.source, result.patch):
            names = plain(redact(first_few([one_line(path) for path in unseen], 5)))
            hint = "git update-index --no-assume-unchanged --no-skip-worktree FILE"
            say(f"git shows no changes of files that are marked as unchanged ({hint}): {names}", sys.stderr)
    if omissions:
        _print_omissions(omissions, redact, folder.path / PATCH)
    return report.exit_code


def _print_omissions(omissions: tuple[str, ...], redact: Redactor, patch: Path) -> None:
    includes = " ".join(f"--include={shlex.quote(name)}" for name in omissions[:5])
    names = plain(redact(first_few(omissions, 20)))
    command = plain(redact(f"git apply {includes} {shlex.quote(str(patch))}"))
    lines = [
        Line(f"Not applied, because such files run or configure something by themselves: {names}"),
        Line("  → look at them, then: ", copy=command),
        Line("    (--apply-protected applies them with the rest)"),
    ]
    Screen(sys.stderr).show(lines)


async def _dry_run(
    run: PreparedRun, spec: AgentSpec, options: RunOptions, requests: list[Request], place: LocalPublishing | None
) -> int:
    rows, notes = run.redact.redact_value(await describe_run(run, spec, options.sandbox))
    if place:
        rows["publish"] = f"{place}; the token needs {needs([place.kind])}"
    questions = run.redact.redact_value([f"{each.text} ({each.place}): {each.option}" for each in requests])
    if options.json:
        print_json(json.dumps(rows | {"would_ask": "; ".join(questions) or "nothing"}, indent=2))
        return 0
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        say(f"{name.replace('_', ' '):<{width}}  {printable(value)}", sys.stdout)
    for question in questions:
        say(f"{'would ask':<{width}}  {printable(question)}", sys.stdout)
    meaningless = [run.redact(f"{each.key}: {each.message}") for each in only_on_github(spec)]
    for note in (*notes, *meaningless):
        say(f"{'note':<{width}}  {printable(note)}", sys.stdout)
    say("Nothing was started and nothing was spent.", sys.stderr)
    return 0


def _report_early(options: RunOptions, environ: Mapping[str, str], error: FlueError, exit_code: int = 0) -> None:
    """A run that never started leaves its reason in `--out`, when that was given and can be written, and in what
    `--json` prints."""
    if options.dry_run:
        return
    redact = Redactor(secrets_of(environ))
    report = redact.redact_value(never_started(options.agent, options.instruction, options.sandbox, error, exit_code))
    if options.out is not None:
        try:
            RunFolder(options.out, redact).save(report, b"")
        except OSError:
            pass  # the error itself says so, or is shown anyway
    if options.json:
        print_json(to_json(report))
