"""The commands, their options and help. Each calls the module that does the work, imported when it is called."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flue_ci import __version__

if TYPE_CHECKING:
    from flue_ci.safety.redact import Redactor

_SET_HELP = "Another value than the spec's, as limits.turns=10. Repeatable."
_EPILOG = (
    "Exit codes: 0 done, 1 the run or a check failed, 2 usage or spec error, 3 bug, 4 stopped by a limit, "
    "130/143 interrupted."
)


class _Examples(click.Command):
    """A command that shows examples below its options, line by line."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


class _SandboxName(click.Choice[str]):
    """A registered sandbox: one of those shown, or one that another package brings."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            from flue_ci.sandboxes.registry import SANDBOXES

            if SANDBOXES.knows(value):
                return str(value)
        return super().convert(value, param, ctx)


_SANDBOX = _SandboxName(["e2b", "local"])
_FILE, _EXISTING_FILE = [click.Path(path_type=Path, dir_okay=False, exists=exists) for exists in (False, True)]
_FOLDER, _EXISTING_FOLDER = [click.Path(path_type=Path, file_okay=False, exists=exists) for exists in (False, True)]


def _command(
    name: str | None = None, *, brief: str, examples: str = ""
) -> Callable[[Callable[..., Any]], click.Command]:
    return cli.command(name, cls=_Examples, short_help=brief, epilog=examples)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=_EPILOG)
@click.version_option(__version__, "-V", "--version", prog_name="flue-ci", message="%(prog)s %(version)s")
def cli() -> None:
    """Run coding agents in CI without trusting them.

    An agent is a YAML file in .flue/agents/. It works on a copy of the repository in a sandbox; the loop and every
    secret stay outside. Start with `flue-ci demo` (no keys needed), then `flue-ci init`.
    """


_repo = click.option("--repo", type=_EXISTING_FOLDER, default=".", help="The checkout. Default: here.")
_out = click.option("--out", type=_FOLDER, help="Where report, patch and transcript go.")
_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@_command(
    brief="Run an agent over the checkout.",
    examples="""
    flue-ci run fix-tests
    flue-ci run fix-tests "only the parser, please" --apply
    flue-ci run review --sandbox local --set limits.turns=10
    flue-ci run fix-tests --publish pull-request
    flue-ci run fix-tests --dry-run
    """,
)
@click.argument("agent")
@click.argument("instruction", required=False, default="")
@_repo
@click.option("--sandbox", type=_SANDBOX, default="e2b", show_default=True, help="Where the agent works.")
@click.option("--no-isolation", is_flag=True, help="With --sandbox local: run on this machine without any protection.")
@click.option("--model", metavar="NAME", help="Another model than the spec's.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help=_SET_HELP)
@_out
@click.option("--apply", is_flag=True, help="Show the diff and put it into the working tree when the run succeeds.")
@click.option(
    "--apply-protected", is_flag=True, help="The same with files that run or configure something by themselves."
)
@click.option(
    "--publish",
    type=click.Choice(["commit", "pull-request"]),
    help="Put the changes on GitHub: on the branch here, or as a pull request. Needs GITHUB_TOKEN.",
)
@click.option("--allow-base-url", metavar="HOST", multiple=True, help="The spec may send the model's key to HOST.")
@click.option("--allow-secret", metavar="NAME", multiple=True, help="The spec may have the variable NAME.")
@click.option(
    "--allow-git-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    multiple=True,
    help="The checkout's .git may lead to this directory.",
)
@click.option("--json", is_flag=True, help="Print report.json to standard output.")
@click.option("--dry-run", is_flag=True, help="Show what would happen; start and spend nothing.")
@click.option("--record", type=_FILE, help="Keep the model's side of the run in a file.")
@click.option("--replay", type=_EXISTING_FILE, help="Use such a file instead of the model.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the result.")
def run(**options: Any) -> int:
    """Run AGENT, a name in .flue/agents/ or a path, with an optional INSTRUCTION."""
    from flue_ci.core.startup import fast_startup

    with fast_startup():
        from flue_ci.commands.run import run_locally
        from flue_ci.run.plan import RunOptions

    return run_locally(RunOptions(**options), os.environ)


def _redactor() -> Redactor:
    from flue_ci.safety.redact import Redactor, secrets_of

    return Redactor(secrets_of(os.environ))


@_command(
    brief="Act on an event of GitHub Actions.",
    examples="flue-ci action          # what action.yml calls; everything comes from the job's environment",
)
@click.option("--clear-up", is_flag=True, help="Only finish the comment of a run of this job that was killed.")
@click.option("--link-artifact", is_flag=True, help="Only say where the report is that this job has uploaded.")
def action(*, clear_up: bool, link_artifact: bool) -> int:
    """Act on the event that started this job of GitHub Actions: decide whether it is for an agent, run it, answer.

    Everything comes from the environment, as action.yml sets it: docs/action.md.
    """
    if clear_up:
        from flue_ci.action.feedback import finish_killed_run

        return finish_killed_run(os.environ)
    if link_artifact:
        from flue_ci.action.artifact import link_report

        return link_report(os.environ)
    from flue_ci.core.startup import fast_startup

    with fast_startup():
        from flue_ci.action.respond import run_action

    return run_action(os.environ)


@_command(
    brief="Publish a saved run on GitHub.",
    examples="flue-ci publish ./flue-ci-report\nflue-ci publish ./flue-ci-report --dry-run",
)
@click.argument("folder", type=_EXISTING_FOLDER)
@click.option("--dry-run", is_flag=True, help="Only list the calls that would write; also in a checkout.")
def publish(folder: Path, *, dry_run: bool) -> int:
    """Publish the saved run in FOLDER as this job of GitHub Actions may: for a second job that has the right to write.

    Nothing in the folder is trusted. The target comes from this job's own event; a report for another repository or
    pull request is refused.
    """
    if dry_run and not os.environ.get("GITHUB_EVENT_PATH"):
        from flue_ci.commands.publish_dry_run import publish_dry_run

        return publish_dry_run(folder, os.environ)
    from flue_ci.action.republish import publish_folder

    return publish_folder(folder, os.environ, dry_run=dry_run)


@_command(brief="Check agent specs.", examples="flue-ci validate\nflue-ci validate .flue/agents/fix-tests.yml --json")
@click.argument("files", nargs=-1, type=_EXISTING_FILE)
@_repo
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def validate(files: tuple[Path, ...], repo: Path, as_json: bool) -> int:
    """Check agent specs (default: all of the repository); every problem with its line and the nearest valid key."""
    from flue_ci.commands.specs import print_flaws
    from flue_ci.spec.load import find_root, find_specs

    paths = files or tuple(find_specs(find_root(repo)))
    if not paths:
        raise click.UsageError("there is no spec in .flue/agents/; `flue-ci init` writes one")
    return print_flaws(find_root(repo), paths, _redactor(), as_json=as_json)


@_command(brief="Print the JSON Schema of agent specs.", examples="flue-ci schema > .flue/schema.json")
@click.option("--config", "of_config", is_flag=True, help="That of .flue/config.yml instead.")
def schema(of_config: bool) -> None:
    """Print the JSON Schema of agent specs, for editors."""
    from flue_ci.spec.starter import schema_text

    sys.stdout.write(schema_text(of_config=of_config))


@_command("list", brief="List the repository's agents.")
@_repo
@_json
def list_(repo: Path, as_json: bool) -> int:
    """List the repository's agents."""
    from flue_ci.commands.specs import agents, as_text
    from flue_ci.core.errors import EXIT_DONE, EXIT_USAGE
    from flue_ci.spec.load import find_root
    from flue_ci.terminal.screen import print_json, say

    listing = _redactor().redact_value(agents(find_root(repo)))
    if as_json:
        print_json(json.dumps(listing, indent=2))
    else:
        say(as_text(listing), sys.stdout)
    return EXIT_USAGE if any(agent["problem"] for agent in listing) else EXIT_DONE


@_command(brief="Write an agent spec.", examples="flue-ci init\nflue-ci init review --github\nflue-ci init my-agent")
@click.argument("name", default="fix-tests")
@_repo
@click.option("--github", is_flag=True, help="Also write a workflow that answers comments on GitHub.")
def init(name: str, repo: Path, github: bool) -> None:
    """Write an agent spec to .flue/agents/NAME.yml, with --github also .github/workflows/flue.yml, which answers
    comments, with the least permissions for what the checkout's agents publish; in two jobs where one of them writes
    code, with one more for a box that pushes. A workflow that is there already stays as it is.

    Ready to use are docs, explain, fix-tests, review and triage; another name gives an agent that does what it is
    asked. Editors check the spec by .flue/schema.json, which is written, too. docs, review and triage also start by
    events: --github writes a workflow for them, .github/workflows/flue-NAME.yml.
    """
    from flue_ci.commands.init import write_files
    from flue_ci.spec.load import find_root
    from flue_ci.terminal.screen import Screen

    Screen(sys.stdout).show(write_files(find_root(repo), name, github=github))


@_command(brief="Check keys, versions and sandboxes.", examples="flue-ci doctor\nflue-ci doctor --github")
@_repo
@click.option("--github", is_flag=True, help="Check the repository on GitHub instead: what answers a comment there.")
@click.option("--offline", is_flag=True, help="Do not ask the services whether the keys work.")
@click.option(
    "--forget",
    type=click.Choice(["here", "all"]),
    is_flag=False,
    flag_value="here",
    help="Take back what was allowed on a terminal: for this checkout, or all.",
)
@_json
def doctor(repo: Path, github: bool, offline: bool, forget: str | None, as_json: bool) -> int:
    """Check keys, reachability, versions and the local sandbox, say what to do, and list what `flue-ci run` was
    allowed for good.

    With --github: secrets, permissions, workflow and specs on the default branch, and whether Actions may run, as far
    as GITHUB_TOKEN (or GH_TOKEN) may see them. Nothing is changed.
    """
    from flue_ci.commands import doctor as command

    if forget:
        return command.forget(repo, os.environ, everything=forget == "all")
    return command.examine(repo, os.environ, offline=offline, as_json=as_json, github=github)


@_command(brief="A real run with a recorded model.", examples="flue-ci demo\nflue-ci demo --out ./demo-run")
@click.option("--no-isolation", is_flag=True, help="Run the demo on this machine without any protection.")
@_out
def demo(no_isolation: bool, out: Path | None) -> int:
    """Fix a failing test in a small repository: real sandbox, real tools, a recorded model. Needs no key and no
    network."""
    from flue_ci.commands.demo import run_demo

    return run_demo(os.environ, isolation=not no_isolation, out=out)


@_command(
    brief="Show a saved run.",
    examples="flue-ci show ./report\nflue-ci show ./report --markdown | less\nflue-ci show ./report --html --open",
)
@click.argument("folder", type=_EXISTING_FOLDER)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the Markdown of report.md.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json.")
@click.option("--diff", is_flag=True, help="Show the changes too.")
@click.option("--html", "as_page", is_flag=True, help="Write the page report.html into FOLDER, and print where it is.")
@click.option("--open", "open_page", is_flag=True, help="The same, and open it in a browser.")
def show(folder: Path, as_markdown: bool, as_json: bool, diff: bool, as_page: bool, open_page: bool) -> int:
    """Show a saved run: FOLDER is where --out put it, or a downloaded artifact."""
    from flue_ci.report.diffs import cut_long_files
    from flue_ci.report.folder import load
    from flue_ci.report.markdown import markdown
    from flue_ci.report.report import to_json
    from flue_ci.terminal.result import print_result
    from flue_ci.terminal.screen import print_document, print_json

    report, patch = load(folder)
    redact = _redactor()
    if not diff:
        patch = cut_long_files(patch)
    report, patch = redact.redact_value(report), redact.redact_value(patch)
    if as_page or open_page:
        from flue_ci.commands.show_page import show_page

        show_page(folder, report, patch, redact, in_browser=open_page)
    elif as_json:
        print_json(to_json(report))
    elif as_markdown:
        print_document(markdown(report, patch))
    else:
        print_result(report, patch, folder, diff=diff)
    return 0


@cli.group(short_help="Sandboxes that a crash left behind.")
def sandboxes() -> None:
    """Find and end sandboxes that a crash left behind; only those that flue-ci started."""


_provider = click.option("--sandbox", type=_SANDBOX, default="e2b", show_default=True, help="Which provider.")


@sandboxes.command("list")
@_provider
@_json
def sandboxes_list(sandbox: str, as_json: bool) -> None:
    """List running sandboxes of flue-ci."""
    from flue_ci.commands.sandboxes import find
    from flue_ci.core.text import one_line
    from flue_ci.terminal.screen import print_json, say

    running = _redactor().redact_value(find(sandbox, os.environ))
    if as_json:
        rows = [{"id": sandbox_id, "metadata": dict(metadata)} for sandbox_id, metadata in running]
        print_json(json.dumps(rows, indent=2))
        return
    for sandbox_id, metadata in running:
        repo, agent, run_id = [one_line(metadata.get(key, "?")) for key in ("repo", "agent", "run")]
        say(f"{one_line(sandbox_id)}  {repo}  {agent}  run {run_id}", sys.stdout)
    if not running:
        click.echo("No sandbox of flue-ci is running.", err=True)


@sandboxes.command("kill")
@click.argument("ids", nargs=-1)
@_provider
@click.option(
    "--all", "everything", is_flag=True, help="Every sandbox of flue-ci that this key can see, also of other machines."
)
@click.option("--run", "run_id", metavar="ID", help="What one run left behind, by the id in its metadata.")
def sandboxes_kill(ids: tuple[str, ...], sandbox: str, everything: bool, run_id: str | None) -> int:
    """End sandboxes by id, or all that one run left behind."""
    from flue_ci.commands.sandboxes import kill, sweep

    if [bool(ids), everything, bool(run_id)].count(True) != 1:
        raise click.UsageError("name the sandboxes to end, or pass --all or --run ID")
    if run_id:
        return sweep(sandbox, os.environ, run_id)
    return kill(sandbox, os.environ, ids)
