"""GitHub Actions of the GitHub of the tests: runs, artifacts, jobs, logs, re-runs. Logs and archives lie on another
host, behind an address that ends soon; a request there that carries a token is an error, and remembered.

Follows https://docs.github.com/rest/actions (version 2022-11-28).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.support.github_refusal import Refusal

if TYPE_CHECKING:
    from tests.support.github_server import GitHubServer, _Handler

JSON = dict[str, Any]


@dataclass
class Actions:
    """`leaks` are the headers that came to the storage with a token; `location` makes the address of a stored file of
    its name, for tests whose subject is the address."""

    runs: dict[int, JSON] = field(default_factory=dict)
    artifacts: list[JSON] = field(default_factory=list)  # `_run` says of which run, `_data` is the archive
    jobs: list[JSON] = field(default_factory=list)
    logs: dict[int, bytes] = field(default_factory=dict)
    reruns: list[int] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # of the storage, by path
    location: Callable[[str], str] | None = None

    def run(self, github: GitHubServer, **more: Any) -> JSON:
        """A run of this repository's own workflow on the default branch."""
        number = more.pop("id", 0) or github._id()
        home = github.repository()
        run = {"id": number, "run_attempt": 1, "path": ".github/workflows/flue.yml", "event": "issue_comment"}
        run |= {"status": "completed", "conclusion": "success", "head_branch": "main", "head_sha": "a" * 40}
        run |= {
            "repository": home,
            "head_repository": home,
            "html_url": f"{github.url}/{github.name}/actions/runs/{number}",
        }
        self.runs[number] = run | more
        return self.runs[number]

    def artifact(self, github: GitHubServer, run: int, name: str, data: bytes, **more: Any) -> JSON:
        number = github._id()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        entry = {"id": number, "name": name, "size_in_bytes": len(data), "expired": False, "digest": digest}
        self.artifacts.append(entry | {"_run": run, "_data": data} | more)
        return self.artifacts[-1]

    def job(self, github: GitHubServer, run: int, name: str, log: bytes, **more: Any) -> JSON:
        number = github._id()
        steps = [{"name": "Test", "number": 1, "status": "completed", "conclusion": more.get("conclusion", "failure")}]
        entry = {"id": number, "run_id": run, "run_attempt": 1, "name": name, "status": "completed", "steps": steps}
        entry |= {"conclusion": "failure", "html_url": f"{github.url}/{github.name}/actions/runs/{run}/job/{number}"}
        self.jobs.append(entry | more)
        self.logs[number] = log
        return self.jobs[-1]


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip as actions/upload-artifact makes one."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return data.getvalue()


def stored(server: GitHubServer, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """The storage's answer."""
    if authorization := headers.get("Authorization"):
        server.actions_runs.leaks.append(authorization)
        return 400, b"<Error><Code>InvalidAuthenticationInfo</Code></Error>", {}
    data = server.actions_runs.files.get(path)
    if data is None:
        return 404, b"<Error><Code>BlobNotFound</Code></Error>", {}
    return 200, data, {"Content-Type": "application/octet-stream"}


def _redirect(handler: _Handler, name: str, data: bytes) -> Any:
    actions = handler.server.actions_runs
    actions.files[f"/storage/{name}"] = data
    location = f"{handler.server.url.replace('127.0.0.1', 'localhost')}/storage/{name}?sig=secret"
    if actions.location:
        location = actions.location(location)
    raise Refusal(302, "", Location=location)


def _may_read(handler: _Handler, wanted: str = "read") -> None:
    levels = {"read": ("read", "write"), "write": ("write",)}[wanted]
    if handler.server.permissions.get("actions") not in levels:
        accepted = {"X-Accepted-GitHub-Permissions": f"actions={wanted}"}
        raise Refusal(403, "Resource not accessible by integration", **accepted)


def _there(handler: _Handler, items: Any, number: str) -> JSON:
    _may_read(handler)
    matches = [item for item in items if item["id"] == int(number)]
    if not matches:
        raise Refusal(404, "Not Found")
    entry: JSON = matches[0]
    return entry


def read_run(handler: _Handler, _: JSON, number: str) -> JSON:
    return _there(handler, handler.server.actions_runs.runs.values(), number)


def read_artifacts(handler: _Handler, _: JSON, run: str) -> JSON:
    actions = handler.server.actions_runs
    _there(handler, actions.runs.values(), run)
    name = parse_qs(urlsplit(handler.path).query).get("name", [""])[0]
    entries = [each for each in actions.artifacts if each["_run"] == int(run) and name in ("", each["name"])]
    return {"total_count": len(entries), "artifacts": entries[::-1]}  # the newest first


def read_archive(handler: _Handler, _: JSON, number: str) -> Any:
    entry = _there(handler, handler.server.actions_runs.artifacts, number)
    if entry["expired"]:
        raise Refusal(410, "Artifact has expired")
    return _redirect(handler, f"artifact-{number}", entry["_data"])


def read_jobs(handler: _Handler, _: JSON, run: str, attempt: str) -> JSON:
    actions = handler.server.actions_runs
    _there(handler, actions.runs.values(), run)
    entries = [each for each in actions.jobs if (each["run_id"], each["run_attempt"]) == (int(run), int(attempt))]
    return {"total_count": len(entries), "jobs": entries}


def read_log(handler: _Handler, _: JSON, number: str) -> Any:
    _there(handler, handler.server.actions_runs.jobs, number)
    log = handler.server.actions_runs.logs.get(int(number))
    if log is None:
        raise Refusal(410, "Server Error")
    return _redirect(handler, f"log-{number}", log)


def rerun(handler: _Handler, _: JSON, number: str) -> JSON:
    _there(handler, handler.server.actions_runs.runs.values(), number)
    _may_read(handler, "write")
    actions = handler.server.actions_runs
    run = actions.runs[int(number)]
    if run["status"] != "completed":
        raise Refusal(403, "This workflow is already running")
    run |= {"run_attempt": run["run_attempt"] + 1, "status": "queued", "conclusion": None}
    run |= {"triggering_actor": handler.server.accounts.get("github-actions[bot]", handler.server.bot)}
    actions.reruns.append(int(number))
    return {}


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", r"/actions/runs/(\d+)", read_run),
    ("GET", r"/actions/runs/(\d+)/artifacts", read_artifacts),
    ("GET", r"/actions/artifacts/(\d+)/zip", read_archive),
    ("GET", r"/actions/runs/(\d+)/attempts/(\d+)/jobs", read_jobs),
    ("GET", r"/actions/jobs/(\d+)/logs", read_log),
    ("POST", r"/actions/runs/(\d+)/rerun-failed-jobs", rerun),
)
