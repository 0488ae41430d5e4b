"""What a job works with, from the event to its end: the log, GitHub, git, and a place for files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.action.job import ActionJob
from flue_ci.assembly import make_forge
from flue_ci.core.errors import FlueError
from flue_ci.core.ports import Forge
from flue_ci.core.text import plural
from flue_ci.gate.event import Event, parse_event
from flue_ci.git.fetch import RETRY, Remote
from flue_ci.run.session import Signals

_QUICK_SECONDS = 3.0  # for what is a courtesy: reactions and progress


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """One job. `forge` retries for as long as the settings say, `quick_forge` gives up soon; `scratch` is an empty
    folder that ends with the job."""

    job: ActionJob
    event: Event
    forge: Forge
    quick_forge: Forge
    remote: Remote
    scratch: Path
    signals: Signals

    @property
    def trusted_folder(self) -> Path:
        """Where the files of the trusted commit lie."""
        return self.scratch / "trusted"

    async def close(self) -> None:
        """Ends the connections to GitHub, and logs how often it was asked."""
        await self.forge.close()
        await self.quick_forge.close()
        count = self.forge.requests + self.quick_forge.requests
        self.job.say(f"GitHub was asked {plural(count, 'time')}")


def open_context(job: ActionJob, event: Event, scratch: Path, signals: Signals) -> JobContext:
    """Nothing is asked of GitHub yet."""
    settings = job.settings
    return JobContext(
        job=job,
        event=event,
        forge=make_forge(settings, job.say),
        quick_forge=make_forge(settings, job.say, retry_timeout=_QUICK_SECONDS),
        remote=Remote(
            url=f"{settings.github.server_url}/{settings.github.repo}.git",
            token=settings.github.token,
            scratch=scratch,
            notify=job.say,
            retry=replace(RETRY, timeout=settings.retry_timeout_seconds or RETRY.timeout),
        ),
        scratch=scratch,
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
