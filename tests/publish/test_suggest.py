"""`changes: suggest` against the GitHub of the tests, which has GitHub's rules of positions."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.suggest import SuggestPublisher
from flue_ci.report.report import Changes, Published, Publishing, Trigger
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.reports import FAILED, FULL

BASE = "".join(f"{number}\n" for number in range(30))
HEAD = BASE.replace("\n5\n", "\nfive\n")  # the diff shows 3 to 9


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.permissions["pull_requests"] = "write"
        yield server


@pytest.fixture
def pull(github: GitHubServer) -> dict[str, Any]:
    work = github.repo("ada/tools", {"a.txt": BASE, "b.txt": BASE})
    pull = github.pull(work, {"a.txt": HEAD}, fork=True)
    patch = pull_diff(work, pull)
    github.files[pull["number"]] = [{"filename": "a.txt", "status": "modified", "patch": patch}]
    return pull


def pull_diff(work: Path, pull: dict[str, Any]) -> str:
    command = ["git", "diff", pull["base"]["sha"], pull["head"]["sha"]]
    patch = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True).stdout
    return patch[patch.index("@@") :]


@pytest.fixture
async def forge(github: GitHubServer) -> AsyncIterator[GitHub]:
    retry = RetryPolicy(timeout=0.3, first_wait=0.01)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
    yield forge
    await forge.close()


def patch_of(folder: Path, **texts: str) -> bytes:
    """From `HEAD` (a.txt) and `BASE` to these texts; files by their first letter."""
    for side in ("a", "b"):
        (folder / side).mkdir(exist_ok=True)
    parts = []
    for letter, text in texts.items():
        name = f"{letter}.txt"
        (folder / "a" / name).write_text({"a": HEAD, "b": BASE}.get(letter, ""))
        (folder / "b" / name).write_text(text)
        command = ["git", "diff", "--no-index", "--no-prefix", f"a/{name}", f"b/{name}"]
        patch = subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout.decode()
        if letter not in "ab":
            patch = patch.replace("index ", "new file mode 100644\nindex ", 1)
        parts.append(patch)
    return "".join(parts).encode()


async def suggest(
    forge: GitHub,
    pull: dict[str, Any],
    patch: bytes,
    *,
    paths: str = "a",
    report: dict[str, Any] | None = None,
    target: dict[str, Any] | None = None,
) -> Published:
    trigger = Trigger(event="x", repo="ada/tools", number=pull["number"], is_pull_request=True, from_fork=True)
    files = tuple(ChangedFile(path=f"{letter}.txt", kind="modified") for letter in paths)
    value = replace(
        FULL,
        trigger=replace(trigger, head_sha=pull["head"]["sha"]),
        changes=Changes(files=files, patch="changes.patch"),
        **(report or {}),
    )
    place = PublishTarget(
        publishing=Publishing(changes="suggest", when="always"),
        number=pull["number"],
        forge=forge,
        notify=lambda _: None,
        show_error=lambda *_: None,
        patch=patch,
    )
    return await SuggestPublisher().publish(value, patch, replace(place, **(target or {})))


async def test_the_changes_are_one_review_of_suggestions(
    github: GitHubServer, forge: GitHub, pull: dict[str, Any], tmp_path: Path
) -> None:
    wanted = HEAD.replace("\n4\nfive\n", "\nfour\nfive!\n").replace("\n8\n", "\n8\nmore\n").replace("\n25\n", "\nx\n")
    entry = await suggest(forge, pull, patch_of(tmp_path, a=wanted, b="b\n", n="new\n"), paths="abn")
    (review,) = github.reviews
    assert (entry.state, entry.url) == ("done", review["html_url"])
    assert entry.detail == "2 suggestions; in the patch only: a.txt, b.txt, n.txt"
    assert review["state"] == "COMMENTED"
    assert review["commit_id"] == pull["head"]["sha"]
    assert "**fix-tests** suggests 2 changes." in review["body"]
    assert "`b.txt`, `n.txt`" in review["body"]
    first, second = github.lines
    assert (first["path"], first["start_line"], first["line"], first["side"]) == ("a.txt", 5, 6, "RIGHT")
    assert first["body"].endswith("-->\n```suggestion\nfour\nfive!\n```")
    assert (second.get("start_line"), second["line"]) == (None, 9)
    assert second["body"].endswith("```suggestion\n8\nmore\n```")


async def test_what_was_suggested_already_is_not_said_again(
    github: GitHubServer, forge: GitHub, pull: dict[str, Any], tmp_path: Path
) -> None:
    patch = patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n"))
    await suggest(forge, pull, patch)
    again = await suggest(forge, pull, patch)
    assert again.detail == "1 suggestion. They are there already"
    more = patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n").replace("\n8\n", "\neight\n"))
    await suggest(forge, pull, more)
    assert [line["line"] for line in github.lines] == [6, 9]
    assert len(github.reviews) == 2


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_a_review_whose_answer_is_lost_is_there_once(
    github: GitHubServer, forge: GitHub, pull: dict[str, Any], tmp_path: Path, drop: str
) -> None:
    github.faults.add("POST reviews", times=1, drop=drop)
    entry = await suggest(forge, pull, patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n")))
    assert entry.state == "done"
    assert (len(github.reviews), len(github.lines)) == (1, 1)


async def test_a_protected_file_is_not_one_click_away(
    github: GitHubServer, forge: GitHub, pull: dict[str, Any], tmp_path: Path
) -> None:
    patch = patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n"))
    wishes = Publishing(changes="suggest", when="always", protect=("a.*",))
    entry = await suggest(forge, pull, patch, target={"publishing": wishes})
    assert entry.state == "refused"
    assert github.reviews == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": b""}, "nothing was changed"),
        ({"number": None}, "no pull request with a diff"),
        ({"forge": None}, "takes no reviews"),
        ({"redact": lambda text: text.replace("five!", "***")}, "looks like a secret would be added in a.txt"),
        (
            {"publishing": Publishing(changes="suggest", when="checks-pass"), "report": {"checks": FAILED.checks}},
            "the check tests was not run or did not pass",
        ),
    ],
)
async def test_nothing_is_suggested_for_a_reason(
    github: GitHubServer,
    forge: GitHub,
    pull: dict[str, Any],
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
) -> None:
    patch = patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n"))
    rest = dict(changes)
    entry = await suggest(forge, pull, patch, report=rest.pop("report", {}), target=rest)
    assert entry.state == "refused"
    assert words in entry.detail
    assert github.reviews == []


async def test_a_head_that_moved_and_a_diff_elsewhere_are_refusals(
    github: GitHubServer, forge: GitHub, pull: dict[str, Any], tmp_path: Path
) -> None:
    entry = await suggest(forge, pull, patch_of(tmp_path, b="b\n"), paths="b")
    assert "none of the changes lies on lines that the diff of the pull request shows" in entry.detail
    moved = {**pull, "head": {**pull["head"], "sha": "1" * 40}}
    entry = await suggest(forge, moved, patch_of(tmp_path, a=HEAD.replace("\nfive\n", "\nfive!\n")))
    assert "no longer at 1111111: ask again" in entry.detail
    assert github.reviews == []
