"""`flue-ci run --publish` from a laptop: on GitHub with the user's token, or an error before anything is spent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flue_ci.commands.local_publishing import LocalPublishing, find_local_publishing
from flue_ci.core.errors import UsageError
from flue_ci.settings import read_settings
from tests.e2e.flow import Flow, bash, say
from tests.support.e2b_server import E2BServer
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.messages_server import MessagesServer


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.permissions |= {"contents": "write", "pull_requests": "write"}
        server.repo("ada/tools", {"greeting.txt": "hello\n", "README.md": "x\n"})
        yield server


@pytest.fixture
def checkout(github: GitHubServer, tmp_path: Path) -> Path:
    path = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", str(github.root / "ada/tools.git"), str(path)], check=True)
    return path


def git(path: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=path, check=True, capture_output=True, text=True).stdout.strip()


def environ(github: GitHubServer, **more: str) -> dict[str, str]:
    servers = {"GITHUB_API_URL": f"{github.url}/api/v3", "GITHUB_SERVER_URL": github.url}
    return servers | {"GITHUB_TOKEN": TOKEN, "HOME": "/nowhere"} | more


def find(github: GitHubServer, checkout: Path, kind: str, **more: str) -> LocalPublishing:
    git(checkout, "remote", "set-url", "origin", f"{github.url}/ada/tools.git")
    return find_local_publishing(kind, checkout, read_settings(environ(github, **more)))


def test_a_run_in_a_checkout_becomes_a_pull_request(github: GitHubServer, tmp_path: Path) -> None:
    script = [bash("echo changed > greeting.txt"), say("I changed the greeting.")]
    script += [bash("echo again > greeting.txt"), say("I changed it again.")]
    with MessagesServer(script) as model, E2BServer() as e2b:
        flow = Flow(home=tmp_path / "flow", model=model, sandboxes=e2b)
        flow.git("remote", "add", "origin", f"{github.url}/ada/tools.git")
        flow.git("push", "-q", "--force", str(github.root / "ada/tools.git"), "main")
        flow.environment = environ(github)
        del flow.environment["HOME"]
        planned, text, _ = flow.call("run", "count", "--publish", "pull-request", "--dry-run")
        assert planned == 0
        assert "a pull request in ada/tools; the token needs contents: write, pull-requests: write" in text
        ended = flow.run("--publish", "pull-request")
        assert ended.code == 0, ended.err
        (pull,) = github.pulls.values()
        assert pull["title"] == "I changed the greeting"
        assert (pull["head"]["ref"], pull["base"]["ref"]) == ("flue/count-i-changed-the-greeting", "main")
        assert [entry.url for entry in ended.report.published] == [pull["html_url"]]
        assert pull["html_url"] in ended.out
        github.permissions["contents"] = "read"
        refused = flow.run("--publish", "pull-request")
        assert refused.code == 1
        assert "contents: write" in refused.out


@pytest.mark.parametrize(
    ("more", "words", "hint"),
    [
        ({"GITHUB_TOKEN": ""}, "needs GITHUB_TOKEN", "gh auth token"),
        ({"GITHUB_SERVER_URL": "https://github.com"}, "the checkout's remote is at 127.0.0.1", "GITHUB_SERVER_URL"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_spent(
    github: GitHubServer, checkout: Path, more: dict[str, str], words: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        find(github, checkout, "pull-request", **more)
    assert hint in caught.value.hint
    assert find(github, checkout, "pull-request", GITHUB_TOKEN="", GH_TOKEN=TOKEN).repository == "ada/tools"


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("prepare", "kind", "words"),
    [
        ("echo x > new.txt", "pull-request", "there is uncommitted work, which GitHub has not got"),
        ("git checkout -q --detach", "commit", "the checkout is on no branch"),
        ("git update-ref -d HEAD", "pull-request", "has no commit yet"),
        ("git remote remove origin", "commit", "no remote `origin`"),
    ],
)
def test_a_checkout_that_cannot_be_published_from_says_why(
    github: GitHubServer, checkout: Path, prepare: str, kind: str, words: str
) -> None:
    git(checkout, "remote", "set-url", "origin", f"{github.url}/ada/tools.git")
    subprocess.run(prepare, shell=True, cwd=checkout, check=True)
    with pytest.raises(UsageError, match=words) as caught:
        find_local_publishing(kind, checkout, read_settings(environ(github)))
    assert caught.value.hint


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("prepare", "kind", "words"),
    [
        ("", "commit", "main is the default branch"),
        ("git switch -q -c mine", "commit", "branch mine is not in ada/tools on GitHub"),
        ("git switch -q -c mine && git push -q SERVER mine && COMMIT", "commit", "branch mine is at .* on GitHub, and"),
        ("COMMIT", "pull-request", "commit .* is not in ada/tools on GitHub"),
    ],
)
async def test_what_github_has_not_got_is_pushed_first(
    github: GitHubServer, checkout: Path, prepare: str, kind: str, words: str
) -> None:
    prepare = prepare.replace("COMMIT", "git commit -q --allow-empty -m x")
    subprocess.run(prepare.replace("SERVER", str(github.root / "ada/tools.git")), shell=True, cwd=checkout, check=True)
    place = find(github, checkout, kind)
    forge = place.open_forge(print)
    with pytest.raises(UsageError, match=words) as caught:
        await place.check(forge)
    assert caught.value.hint
    await forge.close()


@pytest.mark.parametrize(("prepare", "base"), [("", "main"), ("git switch -q -c mine", ""), ("git switch -q -d", "")])
async def test_a_pull_request_goes_into_the_branch_of_the_checkout_or_the_default_branch(
    github: GitHubServer, checkout: Path, prepare: str, base: str
) -> None:
    subprocess.run(prepare, shell=True, cwd=checkout, check=True)
    place = find(github, checkout, "pull-request")
    forge = place.open_forge(print)
    assert (await place.check(forge)).base_branch == base
    await forge.close()
