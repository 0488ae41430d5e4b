"""What of a patch becomes suggestion blocks: applied as GitHub does it, they give the file that the patch gives."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.core.discussion import FileDiff
from flue_ci.gate.policy import MARKER
from flue_ci.publish.suggest import MAX_SUGGESTIONS, Suggestion, Suggestions, find_suggestions
from flue_ci.report.findings import applied_block

WORDS = st.lists(st.sampled_from(["a", "b", "c", "", "```", "    x = 1"]), min_size=1, max_size=14)


def diff(before: str, after: str, folder: Path, *, lines: int = 3, path: str = "f.txt") -> str:
    for name, text in (("a", before), ("b", after)):
        (folder / name).mkdir(exist_ok=True, parents=True)
        (folder / name / path).write_bytes(text.encode())
    command = ["git", "diff", "--no-index", f"-U{lines}", "--no-prefix", f"a/{path}", f"b/{path}"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout.decode("utf-8", "replace")


def github_patch(before: str, after: str, folder: Path) -> str:
    """As GitHub lists the file: from the first hunk on."""
    patch = diff(before, after, folder)
    return patch[patch.index("@@") :] if "@@" in patch else ""


def suggest(base: str, head: str, wanted: str, folder: Path) -> Suggestions:
    files = [FileDiff(path="f.txt", status="modified", patch=github_patch(base, head, folder / "github"))]
    return find_suggestions(diff(head, wanted, folder / "agent"), files)


def apply(head: str, suggestions: Suggestions) -> str:
    """Each in the place of its lines, as the button in the pull request does."""
    lines = head.split("\n")
    for item in reversed(suggestions.items):
        block = re.fullmatch(r"(`{3,})suggestion\n(.*)\1", applied_block(item.lines), re.DOTALL)
        assert block
        assert block[1] not in block[2]
        lines[item.start - 1 : item.end] = block[2].split("\n")[:-1]
    return "\n".join(lines)


def text(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


TEN = text(*"0123456789")


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (TEN.replace("5\n", "five\n"), [(6, 6)]),
        (TEN.replace("5\n", ""), [(6, 6)]),  # deletes a line
        (TEN.replace("4\n5\n6\n", "4\n"), [(6, 7)]),
        (TEN.replace("5\n", "5\nnew\n"), [(6, 6)]),  # an insertion says its neighbour again
        ("new\n" + TEN, [(1, 1)]),
        ("new\n" + TEN.replace("0\n", "0\nnewer\n"), [(1, 1)]),  # two insertions round one line
        (TEN.replace("5\n", "\n"), [(6, 6)]),  # an empty line, not no line
        (TEN.replace("3\n", "three\n").replace("4\n", "4\nnew\n"), [(4, 5)]),  # they touch: one
        (TEN.replace("1\n", "one\n").replace("8\n", "```\n````x\n"), [(2, 2), (9, 9)]),
    ],
)
def test_a_change_inside_of_the_diff_is_suggested(tmp_path: Path, wanted: str, places: list[tuple[int, int]]) -> None:
    head = TEN.replace("2\n", "2\n").replace("5\n", "5\n")
    base = text(*(f"old {line}" for line in "0123456789"))
    suggestions = suggest(base, head, wanted, tmp_path)
    assert [(item.start, item.end) for item in suggestions.items] == places
    assert suggestions.rest == ()
    assert apply(head, suggestions) == wanted


def test_what_the_diff_does_not_show_stays_in_the_patch(tmp_path: Path) -> None:
    base = text(*(str(number) for number in range(60)))
    head = base.replace("10\n", "ten\n").replace("40\n", "forty\n")  # two hunks: 8-14, 38-44
    wanted = head.replace("\n9\n", "\nnine\n").replace("\n25\n", "\nx\n").replace("\n41\n", "\n41\nmore\n")
    suggestions = suggest(base, head, wanted, tmp_path)
    assert [(item.start, item.end) for item in suggestions.items] == [(10, 10), (42, 42)]
    assert suggestions.rest == ("f.txt",)
    assert apply(head, suggestions) == wanted.replace("\nx\n", "\n25\n")


def test_a_change_from_one_hunk_into_another_is_not_suggested(tmp_path: Path) -> None:
    base = text(*(str(number) for number in range(60)))
    head = base.replace("\n10\n", "\nten\n").replace("\n40\n", "\nforty\n")
    wanted = head.replace(text(*(str(number) for number in range(12, 40))), "gone\n")
    assert suggest(base, head, wanted, tmp_path) == Suggestions(items=(), rest=("f.txt",))


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("a\nb\nc", "a\nb\nc\n"),  # the end of the file
        ("a\nb\nc\n", "a\nb\nc"),
        ("a\nb\nc", "a\nb\nC"),
        ("a\r\nb\r\nc\r\n", "a\r\nB\r\nc\r\n"),
        ("a\nb\nc\n", "a\nb\r\nc\n"),
        ("a\nb\nc\n", "a\nb\u202e\nc\n"),  # not shown
        ("a\nb\nc\n", f"a\n{MARKER} x\nc\n"),
        ("a\nb\nc\n", f"a\n{'x' * 30_000}\nc\n"),
    ],
    ids=ascii,
)
def test_what_a_suggestion_cannot_say_exactly_stays_in_the_patch(tmp_path: Path, head: str, wanted: str) -> None:
    assert suggest("old\n", head, wanted, tmp_path) == Suggestions(items=(), rest=("f.txt",))


def test_new_deleted_renamed_and_binary_files_stay_in_the_patch() -> None:
    names = {
        "new.txt": "new file mode 100644\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n",
        "gone.txt": "deleted file mode 100644\n--- a/gone.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        "mode.sh": "old mode 100644\nnew mode 100755\n--- a/mode.sh\n+++ b/mode.sh\n@@ -1 +1 @@\n-x\n+y\n",
        "new name.txt": "rename from old.txt\nrename to new name.txt\n--- a/old.txt\n+++ b/x\n@@ -1 +1 @@\n-x\n+y\n",
        "bin": "GIT binary patch\nliteral 1\nIcmZQzU|?i`U|?WiU|;|M00jU5\n\n",
    }
    patch = "".join(f"diff --git a/{name} b/{name}\n{part}" for name, part in names.items())
    files = [FileDiff(path=name, status="modified", patch="@@ -1 +1 @@\n-a\n+x") for name in names]
    assert find_suggestions(patch, files) == Suggestions(items=(), rest=tuple(names))


def test_a_file_that_the_pull_request_renamed_has_suggestions_at_its_new_name() -> None:
    patch = "diff --git a/new.py b/new.py\n--- a/new.py\n+++ b/new.py\n@@ -1,2 +1,2 @@\n-x\n+y\n z\n"
    files = [FileDiff(path="new.py", old_path="old.py", status="renamed", patch="@@ -1,2 +1,2 @@\n-w\n+x\n z")]
    assert find_suggestions(patch, files).items == (Suggestion(path="new.py", start=1, end=1, lines=("y",)),)
    assert (
        find_suggestions(patch, [FileDiff(path="old.py", status="modified", patch="@@ -1 +1 @@\n-w\n+x")]).items == ()
    )


def test_a_file_whose_diff_github_does_not_show_stays_in_the_patch() -> None:
    patch = "diff --git a/big.py b/big.py\n--- a/big.py\n+++ b/big.py\n@@ -1,2 +1,2 @@\n-x\n+y\n z\n"
    assert find_suggestions(patch, [FileDiff(path="big.py", status="modified", patch="")]).rest == ("big.py",)


def test_of_very_many_suggestions_the_first_are_made(tmp_path: Path) -> None:
    head = text(*(f"{number}" for number in range(200)))
    wanted = text(*(f"{number}{'!' * (number % 3 == 0)}" for number in range(200)))
    suggestions = suggest("old\n", head, wanted, tmp_path)
    assert (len(suggestions.items), suggestions.rest) == (MAX_SUGGESTIONS, ("f.txt",))


def test_a_diff_that_is_cut_is_not_suggested_beyond_the_cut(tmp_path: Path) -> None:
    head = text(*(f"{number:0100}" for number in range(900)))
    wanted = text(*(f"x{number:0100}" for number in range(900)))
    assert suggest("old\n", head, wanted, tmp_path) == Suggestions(items=(), rest=("f.txt",))


@settings(max_examples=settings().max_examples // 4)
@given(base=WORDS, head=WORDS, wanted=WORDS)
def test_applied_they_give_the_file_of_the_patch_or_leave_the_rest_named(
    base: list[str], head: list[str], wanted: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("suggestions")
    suggestions = suggest(text(*base), text(*head), text(*wanted), folder)
    result = apply(text(*head), suggestions)
    if not suggestions.rest:
        assert result == text(*wanted)
    ends = [(item.start, item.end) for item in suggestions.items]
    assert all(end < start for (_, end), (start, _) in pairwise(ends))
