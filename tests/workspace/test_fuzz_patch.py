"""What a sandbox says about changes may be anything: readers of it refuse, or read, and never break."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import ExecResult
from flue_ci.core.text import plain
from flue_ci.git.diffs import Entry, parse_diff
from flue_ci.git.source import Source
from flue_ci.report.change_list import fold_diff
from flue_ci.report.diffs import read_patch, without_binary
from flue_ci.report.links import Commit
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import Workspace

NAME = "1" * 40
SOURCE = Source(
    name="x",
    git_dir=Path("/nowhere"),
    object_format="sha1",
    head=NAME,
    ref=None,
    base=NAME,
    tree=NAME,
    index_tree=NAME,
    intent_to_add=(),
    dirty=False,
    files=3,
)
WORKSPACE = Workspace(root="/r", store="/s", store_has_objects=True)


class Liar:
    """A sandbox in which somebody else answers."""

    def __init__(self, output: bytes, exit_code: int, patch: bytes, *, timed_out: bool = False) -> None:
        self._said = ExecResult(exit_code=exit_code, output=output, omitted_bytes=0, timed_out=timed_out, seconds=0.0)
        self._patch = patch

    async def exec(self, command: str, **_: object) -> ExecResult:
        return self._said

    async def read(self, path: str, *, limit: int | None = None, user: str = "user") -> bytes:
        if limit is not None and len(self._patch) > limit:
            raise ValueError(f"{path} has {len(self._patch)} bytes")
        return self._patch


def number() -> st.SearchStrategy[str]:
    return st.one_of(st.integers().map(str), st.sampled_from(["9" * 5000, "٣", "1e9", "0x1", "", " "]))


ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda digest, size, count, problem, before: (
            f"{before}\nflue-ci-staged={digest}\n{before}\nflue-ci-collected={digest} {size} {count} {problem}\n"
        ).encode(errors="replace"),
        st.sampled_from(["a" * 64, "none", "a" * 63, "A" * 64]),
        number(),
        number(),
        st.sampled_from(["", "oversize", "crowded", "unreadable", "other", "a b", "\u202e"]),
        st.text(max_size=60),
    ),
)


@given(ANSWERS, st.sampled_from([0, 0, 0, 1, 93, 94, 95, -9, 255]), st.binary(max_size=60), st.booleans())
@example(
    b"flue-ci-staged=" + b"a" * 64 + b"\nflue-ci-collected=" + b"a" * 64 + b" " + b"9" * 5000 + b" 1 \n", 0, b"", False
)
def test_whatever_a_sandbox_says_is_no_change_or_a_refusal_in_one_line(
    output: bytes, exit_code: int, patch: bytes, timed_out: bool
) -> None:
    box = Liar(output, exit_code, patch, timed_out=timed_out)
    try:
        found = asyncio.run(collect(WORKSPACE, SOURCE, box))  # type: ignore[arg-type]
    except (ChangesRefused, WorkspaceError) as refused:
        told = str(refused)
    else:
        assert found == ChangeSet(tree=SOURCE.tree)
        told = "no change"
    assert "\n" not in told
    assert plain(told) == told
    assert len(told) < 600


NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@st.composite
def listings(draw: st.DrawFn) -> tuple[list[Entry], dict[str, tuple[int, int, bool]], bytes]:
    """Entries and counts, and how git writes them."""
    entries, counts, raw, numbers = [], {}, b"", b""
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        status = draw(st.sampled_from("ADMTRC"))
        old = draw(NAMES) if status in "RC" else None
        modes = draw(st.sampled_from(["000000", "100644", "100755", "120000", "160000"])), "100644"
        score = "086" if old is not None else ""
        names = name if old is None else old + b"\0" + name
        raw += f":{modes[0]} {modes[1]} {'1' * 40} {'2' * 40} {status}{score}".encode() + b"\0" + names + b"\0"
        added, deleted, binary = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6)), draw(st.booleans())
        numbers += b"-\t-\t" if binary else b"%d\t%d\t" % (added, deleted)
        numbers += name + b"\0" if old is None else b"\0" + names + b"\0"
        path = os.fsdecode(name)
        counts[path] = (0, 0, True) if binary else (added, deleted, False)
        entries.append(
            Entry(
                status=status,
                old_mode=modes[0],
                old_blob="1" * 40,
                mode=modes[1],
                blob="2" * 40,
                path=path,
                old_path=None if old is None else os.fsdecode(old),
            )
        )
    return entries, counts, raw + numbers


@given(listings())
def test_a_listing_is_read_as_it_was_written_whatever_the_names(
    listing: tuple[list[Entry], dict[str, tuple[int, int, bool]], bytes],
) -> None:
    entries, counts, out = listing
    assert parse_diff(out) == (entries, counts)


DIFFS = st.lists(
    st.sampled_from(
        [
            b"diff --git a/x b/x\n", b"diff --git ", b"\n", b"GIT binary patch\n", b"literal 9\n", b"delta 9\n",
            b"zabc\n",
            b"@@ -1 +1 @@\n", b"+x\n", b"-x\n", b" x\n", b"\\ No newline at end of file\n", b"```\n", b"\xff\0\n",
            b"Binary data, in changes.patch\n", b"--- /dev/null\n", b"+++ b/x\n",
        ]
    )
    | st.binary(max_size=10),
    max_size=20,
).map(b"".join)  # fmt: skip


@given(DIFFS)
def test_any_bytes_can_be_shown_as_a_diff(patch: bytes) -> None:
    blocks = [fold_diff(diff, Commit(url="", sha="")) for diff in read_patch(without_binary(patch))]
    assert len(blocks) == sum(line.startswith("diff --git ") for line in without_binary(patch).split("\n"))
