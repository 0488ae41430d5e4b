"""Runs, artifacts and logs: what GitHub answers with a redirect is fetched once, from elsewhere, without our token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flue_ci.core.errors import ForgeError
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.workflow_runs import ActionsForge
from flue_ci.forges.github.actions import artifact, check_location, workflow_run
from flue_ci.forges.github.client import GitHub
from tests.support.github_server import TOKEN, GitHubServer

API = "https://api.github.com"
LIMIT = 1_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.permissions["actions"] = "write"
        yield server


@pytest.fixture
async def forge(server: GitHubServer) -> AsyncIterator[GitHub]:
    retry = RetryPolicy(timeout=5, first_wait=0.01, jitter=0)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{server.url}/api/v3", retry=retry)
    yield forge
    await forge.close()


async def test_a_run_its_artifacts_and_logs_are_read(server: GitHubServer, forge: GitHub) -> None:
    assert isinstance(forge, ActionsForge)
    actions = server.actions_runs
    run = actions.run(server, head_branch="main", event="schedule", run_attempt=2)
    actions.artifact(server, run["id"], "other", b"no")
    entry = actions.artifact(server, run["id"], "report", b"the archive")
    log = actions.job(server, run["id"], "test", b"it failed\n")
    found = await forge.workflow_run(run["id"])
    assert (found.workflow, found.event, found.branch, found.attempt) == (
        ".github/workflows/flue.yml",
        "schedule",
        "main",
        2,
    )
    assert (found.repo_id, found.head_repo_id) == (42, 42)
    (stored,) = await forge.artifacts(run["id"], "report")
    assert f"sha256:{stored.digest}" == entry["digest"]
    assert await forge.download_artifact(stored, LIMIT) == b"the archive"
    (job,) = await forge.jobs(run["id"], 1)
    assert (job.name, [step.name for step in job.failed_steps]) == ("test", ["Test"])
    assert await forge.job_log(log["id"], LIMIT) == b"it failed\n"
    await forge.rerun_failed_jobs(run["id"])
    assert actions.reruns == [run["id"]]
    assert actions.leaks == []


async def test_a_netrc_adds_no_authorization(
    server: GitHubServer, forge: GitHub, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / ".netrc").write_text("machine localhost login me password secret\n")
    run = server.actions_runs.run(server)
    job = server.actions_runs.job(server, run["id"], "test", b"log")
    assert await forge.job_log(job["id"], LIMIT) == b"log"
    assert server.actions_runs.leaks == []


async def refused(forge: GitHub, server: GitHubServer, limit: int = LIMIT) -> ForgeError:
    run = server.actions_runs.run(server)
    job = server.actions_runs.job(server, run["id"], "test", b"log" * 100)
    with pytest.raises(ForgeError) as caught:
        await forge.job_log(job["id"], limit)
    assert server.actions_runs.leaks == []
    assert "sig=" not in str(caught.value) + caught.value.hint
    return caught.value


async def test_a_second_redirect_is_not_followed(server: GitHubServer, forge: GitHub) -> None:
    server.faults.add("GET log-1003", status=302, location="/elsewhere", times=None)
    server.actions_runs.location = lambda url: url.replace(url.split("/storage/")[1].split("?")[0], "log-1003")
    error = await refused(forge, server)
    assert "another redirect" in str(error)
    assert not any(path == "/elsewhere" for _, path, _ in server.requests)


async def test_a_file_beyond_the_limit_is_not_read_to_its_end(server: GitHubServer, forge: GitHub) -> None:
    assert "more than 299 B" in str(await refused(forge, server, limit=299))


@pytest.mark.parametrize(
    "address", ["http://storage.example.com/x", "ftp://127.0.0.1/x", "/storage/x", "", "file:///x"]
)
async def test_an_address_that_is_not_https_is_not_asked(server: GitHubServer, forge: GitHub, address: str) -> None:
    server.actions_runs.location = lambda _: address
    assert "not asked" in str(await refused(forge, server))


@pytest.mark.parametrize(
    ("address", "api", "is_asked"),
    [
        ("https://storage.example.com/x?sig=1", API, True),
        ("http://127.0.0.1:80/x", API, False),
        ("http://localhost/x", "https://localhost/api", False),
        ("http://localhost/x", "http://127.0.0.1:1/api", True),
        ("http://[::1]:1/x", "http://localhost:1/api", True),
        ("http://127.0.0.1.example.com/x", "http://127.0.0.1:1/api", False),
        ("http://localhost@evil.example.com/x", "http://127.0.0.1:1/api", False),
        ("https://a:b@storage.example.com/x", API, False),
        ("https://", API, False),
        ("HTTPS://storage.example.com/", API, True),
        ("//storage.example.com/", API, False),
    ],
)
def test_which_addresses_are_asked(address: str, api: str, is_asked: bool) -> None:
    if is_asked:
        check_location(address, api)
    else:
        with pytest.raises(ForgeError, match="not asked"):
            check_location(address, api)


async def test_what_the_storage_refuses_for_a_moment_is_asked_for_again(server: GitHubServer, forge: GitHub) -> None:
    run = server.actions_runs.run(server)
    job = server.actions_runs.job(server, run["id"], "test", b"log")
    server.faults.add(f"GET log-{job['id']}", status=503)
    assert await forge.job_log(job["id"], LIMIT) == b"log"
    assert server.count("GET", "/logs") == 2, "each attempt has an address of its own"


async def test_what_has_expired_or_may_not_be_read_is_an_error_that_says_so(
    server: GitHubServer, forge: GitHub
) -> None:
    run = server.actions_runs.run(server)
    entry = server.actions_runs.artifact(server, run["id"], "report", b"x", expired=True)
    (stored,) = await forge.artifacts(run["id"], "report")
    assert stored.is_expired
    with pytest.raises(ForgeError) as caught:
        await forge.download_artifact(stored, LIMIT)
    assert caught.value.status == 410
    del server.permissions["actions"]
    with pytest.raises(ForgeError) as caught:
        await forge.artifacts(run["id"], entry["name"])
    assert "actions: read" in caught.value.hint


async def test_no_other_redirect_is_followed(server: GitHubServer, forge: GitHub) -> None:
    server.faults.add("GET runs", status=302)
    with pytest.raises(ForgeError) as caught:
        await forge.workflow_run(7)
    assert caught.value.status == 302


@pytest.mark.parametrize(
    ("path", "workflow"),
    [
        (".github/workflows/flue.yml", ".github/workflows/flue.yml"),
        (".github/workflows/flue.yml@main", ".github/workflows/flue.yml"),
        ("ada/tools/.github/workflows/flue.yml@refs/heads/main", ".github/workflows/flue.yml"),
        ("Ada/Tools/.github/workflows/flue.yml", ".github/workflows/flue.yml"),
        ("eve/tools/.github/workflows/flue.yml@main", ""),
        (".github/workflows/../flue.yml", ""),
        ("dynamic/github-code-scanning/codeql", ""),
        ("", ""),
    ],
)
def test_a_workflow_of_another_repository_is_none_of_ours(path: str, workflow: str) -> None:
    assert workflow_run({"path": path}, "ada/tools").workflow == workflow


@pytest.mark.parametrize("digest", ["", None, "a" * 64, "sha256:" + "A" * 64, "sha512:" + "a" * 64, "sha256:abc"])
def test_a_digest_that_is_none_reads_as_absent(digest: object) -> None:
    assert artifact({"id": 1, "name": "x", "digest": digest}).digest == ""
