"""The lines of a diff as GitHub shows them: computed here, equal to what the GitHub of the tests reads from git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flue_ci.core.review_scope import DiffFile
from flue_ci.git.command import git_in
from flue_ci.git.diffs import changed_paths, merge_base, read_diff

LINES = [f"line {number}" for number in range(1, 61)]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "maintenance.auto=false", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: dict[str, bytes | str | None]) -> str:
        for name, content in files.items():
            path = self.folder / name
            path.unlink(missing_ok=True)
            if content is None:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str) and content.startswith("-> "):
                path.symlink_to(content[3:])
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "work")
        return self.git("rev-parse", "HEAD")

    async def diff(self, base: str, head: str) -> dict[str, DiffFile]:
        return dict(await read_diff(git_in(self.folder / ".git"), base, head))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def shown(file: DiffFile, side: str) -> set[int]:
    return {line for hunk in file.hunks for line in hunk.lines(side)}


async def test_lines_with_their_context_are_those_of_the_diff(repository: Repository) -> None:
    base = repository.commit({"a.txt": text(LINES), "gone.txt": "x\ny\n", "same.txt": "z\n"})
    lines = ["new first", *LINES[:29], "changed", *LINES[30:49], *LINES[50:]]
    head = repository.commit({"a.txt": text(lines), "gone.txt": None, "new.txt": "1\n2"})
    diff = await repository.diff(base, head)
    assert set(diff) == {"a.txt", "gone.txt", "new.txt"}
    assert shown(diff["a.txt"], "RIGHT") == {*range(1, 5), *range(28, 35), *range(48, 54)}
    assert shown(diff["a.txt"], "LEFT") == {*range(1, 4), *range(27, 34), *range(47, 54)}
    assert (shown(diff["gone.txt"], "LEFT"), shown(diff["gone.txt"], "RIGHT")) == ({1, 2}, set())
    assert shown(diff["new.txt"], "RIGHT") == {1, 2}
    assert diff["new.txt"].new_lines == ["1\n", "2"]
    assert [diff["a.txt"].nearest(line, "RIGHT") for line in (1, 10, 20, 60)] == [1, 4, 28, 53]


@pytest.mark.family(3)
@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "with space.txt",
        "tab\there.txt",
        'quo"te.txt',
        "ünïcode.txt",
        "new\nline.txt",
        "diff --git a b",
        "-x",
    ],
)
async def test_any_name_is_read(repository: Repository, name: str) -> None:
    base = repository.commit({name: "old\n", "z.txt": "1\n"})
    head = repository.commit({name: "@@ -9,9 +9,9 @@\ndiff --git a/x b/x\n+++ b/y\n", "z.txt": "2\n"})
    diff = await repository.diff(base, head)
    assert set(diff) == {name, "z.txt"}
    assert shown(diff[name], "RIGHT") == {1, 2, 3}
    assert shown(diff["z.txt"], "RIGHT") == {1}


async def test_renames_links_modes_and_binary_files_keep_the_parts_apart(repository: Repository) -> None:
    base = repository.commit(
        {"a.bin": b"\0\1", "b.txt": text(LINES), "link": "-> b.txt", "m.sh": "x\n", "t.txt": "1\n", "z.txt": "1\n"}
    )
    (repository.folder / "m.sh").chmod(0o755)
    head = repository.commit(
        {"a.bin": b"\0\2", "b.txt": None, "c/b.txt": text(["zero", *LINES]), "link": "x\ny\n", "t.txt": "-> z.txt"}
        | {"z.txt": "1\r\n\x0c2\u2028\n"}
    )
    diff = await repository.diff(base, head)
    assert diff["c/b.txt"].old_path == "b.txt"
    assert shown(diff["c/b.txt"], "RIGHT") == {1, 2, 3, 4}
    assert (diff["a.bin"].hunks, diff["m.sh"].hunks) == ((), ())
    assert (shown(diff["link"], "RIGHT"), shown(diff["t.txt"], "LEFT")) == ({1, 2}, {1})
    assert shown(diff["z.txt"], "RIGHT") == {1, 2}
    assert diff["z.txt"].new_lines == ["1\r\n", "\x0c2\u2028\n"]
    assert await changed_paths(git_in(repository.folder / ".git"), base, head) == (
        ["a.bin", "c/b.txt", "link", "m.sh", "t.txt", "z.txt"],
        {"b.txt": "c/b.txt"},
    )


async def test_the_diff_is_that_of_the_merge_base(repository: Repository) -> None:
    start = repository.commit({"a.txt": "1\n"})
    repository.git("checkout", "-q", "-b", "topic")
    head = repository.commit({"b.txt": "2\n"})
    repository.git("checkout", "-q", "main")
    tip = repository.commit({"a.txt": "3\n"})
    base = await merge_base(git_in(repository.folder / ".git"), tip, head)
    assert base == start
    assert set(await repository.diff(base, head)) == {"b.txt"}
    assert await repository.diff(head, head) == {}
