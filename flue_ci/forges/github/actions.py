"""GitHub Actions as far as we ask it: runs of workflows, their jobs and logs, and artifacts.

GitHub keeps files elsewhere: the API answers with an address, whose signature is the only right that is needed. It is
asked once, without our token, and leads nowhere else. Source: https://docs.github.com/rest/actions
"""

import asyncio
import ipaddress
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flue_ci.core.errors import ForgeError
from flue_ci.core.network_variables import lasting_fault
from flue_ci.core.retry import Retry
from flue_ci.core.text import human_bytes, one_line, origin
from flue_ci.core.workflow_runs import StoredArtifact, WorkflowJob, WorkflowRun, WorkflowStep
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import TIMEOUT_SECONDS, ApiCalls, ApiRequest

if TYPE_CHECKING:
    from requests import PreparedRequest

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_WORKFLOW = re.compile(r"\.github/workflows/[^/@]+")
MAX_SECONDS = 300.0  # for one file
_CHUNK = 65_536
TRY_AGAIN = "try again; if it stays like this, look at GitHub's status page"


class ActionsCalls(ApiCalls):
    """The part of `GitHub` that reads workflows: an `ActionsForge`."""

    async def workflow_run(self, run_id: int) -> WorkflowRun:
        """The run, in its latest attempt. Raises `ForgeError` with status 404 when there is none."""
        data = await self._fetch("read the workflow run", f"/actions/runs/{run_id}")
        return workflow_run(data, self._repo)

    async def artifacts(self, run_id: int, name: str) -> list[StoredArtifact]:
        """GitHub finds by name; the names are compared again, because older servers list all."""
        path = f"/actions/runs/{run_id}/artifacts"
        items = await self._list("look for the artifact", path, key="artifacts", name=name)
        return [artifact(item) for item in items if parse.text(item, "name") == name]

    async def download_artifact(self, artifact: StoredArtifact, limit: int) -> bytes:
        """The archive. Raises `ForgeError`: with status 410 for one that has expired."""
        return await self._download("download the artifact", f"/actions/artifacts/{artifact.id}/zip", limit)

    async def jobs(self, run_id: int, attempt: int) -> list[WorkflowJob]:
        """The jobs of one attempt of a run."""
        path = f"/actions/runs/{run_id}/attempts/{attempt}/jobs"
        return [job(item) for item in await self._list("read the jobs", path, key="jobs")]

    async def job_log(self, job_id: int, limit: int) -> bytes:
        """Raises `ForgeError`: with status 410 for one that is not kept any more."""
        return await self._download("read the job's log", f"/actions/jobs/{job_id}/logs", limit)

    async def rerun_failed_jobs(self, run_id: int) -> None:
        """Needs the permission `actions: write`."""
        await self._fetch("run the failed jobs again", f"/actions/runs/{run_id}/rerun-failed-jobs", "POST")

    async def _download(self, purpose: str, path: str, limit: int) -> bytes:
        """What the API answers with a redirect for. Each attempt asks for a new address, because those end soon."""
        retry = Retry(self._retry_policy)
        request = ApiRequest(purpose, "GET", f"/repos/{self._repo}{path}", redirects=True)
        while True:
            response = await self._send(request)
            if response.status != 302:
                raise ForgeError(f"GitHub's answer is not understood ({purpose})")
            location = response.headers.get("location", "")
            check_location(location, self._api_url)
            try:
                return await asyncio.to_thread(download, purpose, location, limit)
            except ForgeError as error:
                is_temporary = error.status in (0, *range(500, 600)) and error.hint == TRY_AGAIN
                if not is_temporary or (wait := retry.next_wait()) is None:
                    raise
            await asyncio.sleep(wait)


def workflow_run(data: Any, repo: str) -> WorkflowRun:
    """A run, of the API or of an event's payload. `repo` is the repository (`owner/name`). GitHub names the file of a
    workflow as `.github/workflows/ci.yml`, also with the repository before and `@` with the ref behind."""
    path = parse.text(data, "path").partition("@")[0]
    if path.lower().startswith(f"{repo.lower()}/"):
        path = path[len(repo) + 1 :]
    if not _WORKFLOW.fullmatch(path):
        path = ""
    return WorkflowRun(
        id=parse.number(data, "id"),
        attempt=parse.number(data, "run_attempt") or 1,
        workflow=path,
        repo_id=parse.number(parse.mapping(data, "repository"), "id"),
        head_repo_id=parse.number(parse.mapping(data, "head_repository"), "id") or None,
        **parse.fields(data, "event", "status", "conclusion", "head_sha", branch="head_branch"),
    )


def artifact(data: Any) -> StoredArtifact:
    """Source: https://docs.github.com/rest/actions/artifacts"""
    digest = _DIGEST.fullmatch(parse.text(data, "digest"))
    return StoredArtifact(
        id=parse.number(data, "id"),
        name=parse.text(data, "name"),
        size_bytes=parse.number(data, "size_in_bytes"),
        digest=digest[1] if digest else "",
        is_expired=parse.flag(data, "expired"),
    )


def job(data: Any) -> WorkflowJob:
    """Source: https://docs.github.com/rest/actions/workflow-jobs"""
    steps = [
        WorkflowStep(**parse.fields(step, "name", "started_at", "completed_at"))
        for step in parse.items(data, "steps")
        if step.get("conclusion") == "failure"
    ]
    return WorkflowJob(
        id=parse.number(data, "id"),
        failed_steps=tuple(steps),
        **parse.fields(data, "name", "conclusion", url="html_url"),
    )


def check_location(url: str, api_url: str) -> None:
    """Raises `ForgeError` for an address that is not asked: only https is, and plain http on this machine where the API
    is there as well."""
    scheme, host, _ = origin(url)
    if scheme == "https" and host and "@" not in urlsplit(url).netloc:
        return
    is_local = scheme == "http" and _is_loopback(host) and "@" not in urlsplit(url).netloc
    api_scheme, api_host, _ = origin(api_url)
    if is_local and api_scheme == "http" and _is_loopback(api_host):
        return
    raise ForgeError(f"GitHub names an address that is not asked: {scheme or 'no scheme'} at {one_line(host, 100)!r}")


def download(purpose: str, url: str, limit: int) -> bytes:
    """The file at an address that was checked. Blocks. `purpose` is for people. Raises `ForgeError`: status 0 when
    there was no answer; a longer file than `limit` bytes, and another redirect, are refused. The address is never
    shown: whoever has it can read the file."""
    import requests

    host = urlsplit(url).hostname
    end = time.monotonic() + MAX_SECONDS
    data = bytearray()
    try:
        with requests.Session() as session:
            session.auth = _no_authorization  # else a .netrc could add one
            headers = {"User-Agent": "flue-ci", "Accept-Encoding": "identity"}
            timeout = (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
            with session.get(url, headers=headers, timeout=timeout, stream=True, allow_redirects=False) as response:
                if 300 <= response.status_code < 400:
                    raise ForgeError(f"{host} answered with another redirect ({purpose}), which is not followed")
                if response.status_code != 200:
                    message = f"{host} refused to {purpose}: {response.status_code}"
                    raise ForgeError(message, status=response.status_code, hint=TRY_AGAIN)
                for chunk in response.iter_content(_CHUNK):
                    data += chunk
                    if len(data) > limit:
                        raise ForgeError(f"{host} sent more than {human_bytes(limit)} ({purpose})", status=413)
                    if time.monotonic() > end:
                        raise ForgeError(f"{host} takes too long ({purpose})", hint=TRY_AGAIN)
    except OSError as error:  # of `requests`; its text has the address
        if fault := lasting_fault(str(error), url):
            raise ForgeError(f"{host} cannot be reached ({purpose}): {fault.message}", hint=fault.hint) from None
        raise ForgeError(f"{host} cannot be reached ({purpose}): {type(error).__name__}", hint=TRY_AGAIN) from None
    return bytes(data)


def _no_authorization(request: "PreparedRequest") -> "PreparedRequest":
    return request


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
