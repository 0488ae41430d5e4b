"""`flue-ci publish DIR --dry-run` outside of a job: which calls would publish a saved run, for a checkout of its
repository.

The target is that of the report, because there is no event; nothing is written, whatever it says.
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.action.republish import list_calls
from flue_ci.assembly import make_forge
from flue_ci.commands.local_publishing import remote_repository
from flue_ci.core.errors import EXIT_DONE, UsageError
from flue_ci.core.ports import Forge
from flue_ci.core.text import plain
from flue_ci.git.fetch import Remote, open_remote
from flue_ci.git.source import Source
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.registry import publishing
from flue_ci.report.folder import load
from flue_ci.report.report import Report, Trigger
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_spec, load_spec
from flue_ci.terminal.screen import say


def publish_dry_run(folder: Path, environ: Mapping[str, str]) -> int:
    """Prints the calls. Raises `FlueError`, also for a report of another repository."""
    report, patch = load(folder)
    redact = Redactor(secrets_of(environ))
    report = redact.redact_value(report)
    root, settings = find_root(Path()), read_settings(environ)
    repository = remote_repository(root, settings)
    trigger = report.trigger
    if trigger is None:
        raise UsageError("the report does not come from GitHub", hint="flue-ci run --publish publishes a local run")
    if trigger.repo.lower() != repository.lower():
        raise UsageError(f"the report is about {trigger.repo}, and the checkout is of {repository}")
    token = settings.github.token or environ.get("GH_TOKEN", "")
    settings = replace(settings, github=replace(settings.github, token=token, repo=repository))
    spec = load_spec(find_spec(root, report.agent))
    report = replace(report, publish=publishing(spec))
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as scratch:
        return asyncio.run(_list(report, patch, trigger, settings, redact, Path(scratch)))


async def _list(
    report: Report, patch: bytes, trigger: Trigger, settings: Settings, redact: Redactor, scratch: Path
) -> int:
    def notify(text: str, hint: str = "") -> None:
        say(plain(redact("\n  → ".join(filter(None, (f"flue-ci: {text}", hint))))), sys.stderr)

    github = settings.github
    remote = Remote(url=f"{github.server_url}/{github.repo}.git", token=github.token, scratch=scratch, notify=notify)
    forge = make_forge(settings, notify)
    try:
        ref, branch, base_branch = await _branches(forge, trigger)
    finally:
        await forge.close()

    async def open_source() -> Source:
        name = github.repo.rpartition("/")[2]
        return await open_remote(remote, name=name, head=trigger.head_sha, ref=ref, base=None, base_ref="", depth=1)

    place = PublishTarget(
        publishing=report.publish,
        repository=github.repo,
        server_url=github.server_url,
        number=trigger.number,
        thread=trigger.in_thread,
        notify=notify,
        show_error=notify,
        redact=redact,
        branch=branch,
        base_branch=base_branch,
        open_source=open_source,
        actor=trigger.actor,
    )
    await list_calls(report, patch, place, settings, lambda line: say(plain(redact(line)), sys.stdout))
    say("Nothing was written.", sys.stderr)
    return EXIT_DONE


async def _branches(forge: Forge, trigger: Trigger) -> tuple[str, str, str]:
    """The ref that holds the commit, the branch that takes a commit, and the one that a pull request goes into."""
    if not trigger.is_pull_request or trigger.number is None:
        return "", "", ""
    pull = await forge.pull(trigger.number)
    ref = f"refs/pull/{pull.number}/head"
    if pull.from_fork:
        return ref, "", pull.base_ref
    return ref, pull.head_ref, pull.head_ref
