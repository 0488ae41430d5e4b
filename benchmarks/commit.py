"""What a commit on a pull request costs: requests to GitHub's API, and seconds when each of them takes 50 ms.

`python -m benchmarks.commit [--quick]`. The limits of the project: 6 requests for 10 text files, 8 for 500, 10 seconds.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from flue_ci.forges.github.client import GitHub
from flue_ci.git.source import open_checkout
from flue_ci.workspace.tree_entries import tree_entries
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.repos import Repo, new_repo

LATENCY = 0.05
TEXT = b"a line of a source file, of an ordinary length for such a line\n"
CASES: dict[str, tuple[int, bytes]] = {
    "10 text files": (10, TEXT * 50),
    "500 text files": (500, TEXT * 100),
    "20 pictures": (20, bytes(range(256)) * 100),
}


async def measure(files: int, content: bytes, home: Path) -> tuple[int, float]:
    """Requests and seconds, from the read of the branch to its move."""
    with GitHubServer(home) as github:
        github.repo("ada/tools", {"first.txt": "first\n"})
        github.permissions["contents"] = "write"
        repo: Repo = new_repo(home / "host", {"first.txt": ("file", b"first\n")})
        repo.git("push", "-q", "--force", str(github.root / "ada/tools.git"), "HEAD:refs/heads/main")
        repo.write({f"d{number % 9}/f{number}": ("file", content + str(number).encode()) for number in range(files)})
        (home / "scratch").mkdir()
        source = await open_checkout(repo.path, history=1, scratch=home / "scratch")
        before = repo.line("rev-parse", "HEAD^{tree}")
        for route in ("GET main", "POST blobs", "POST trees", "POST commits", "PATCH main"):
            github.faults.add(route, delay=LATENCY, times=None)
        forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3")
        start = time.monotonic()
        head = await forge.branch_head("main")
        tree = await forge.create_tree(before, await tree_entries(source, before, source.tree))
        commit = await forge.create_commit(message="Change", tree=tree, parents=[head])
        await forge.move_branch("main", commit.sha)
        seconds = time.monotonic() - start
        await forge.close()
        assert tree == source.tree
        return forge.requests, seconds


def main(arguments: list[str]) -> None:
    print(f"{'commit':<16} requests  seconds at {LATENCY * 1000:.0f} ms")
    for name, (files, content) in list(CASES.items())[: 2 if "--quick" in arguments else None]:
        with tempfile.TemporaryDirectory() as home:
            requests, seconds = asyncio.run(measure(files, content, Path(home)))
        print(f"{name:<16} {requests:>8}  {seconds:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
