"""A patch as people read it: each file with what happened to it in words, and its lines without git's headers. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import StringIO

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import clip
from flue_ci.report.generated import kind_of

LONGEST_DIFF = 100_000  # characters of one file
_LONGEST_PART = 5 * LONGEST_DIFF  # bytes of one file that are looked at
_BINARY_LINE = re.compile(r"(?:(?:literal|delta) \d+|[A-Za-z][!-~]*)?\n")  # sizes, base85, and the blank line behind
_HEADER = re.compile(r"(?:(?:old|new|new file|deleted file) mode|(?:rename|copy) (?:from|to)|Binary)\b")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_KINDS = {"added": "new", "deleted": "deleted", "type-changed": "of another type", "mode-changed": "another mode"}
_LINK, _EXECUTABLE = "120000", "100755"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """One file of a patch. `words` say what happened besides changed lines: `new`, `made executable`. `kind` is that
    of `generated.kind_of`, unless the repository says another, `hunks` its lines from the first `@@` on, empty for
    none."""

    path: str
    old_path: str | None = None
    words: tuple[str, ...] = ()
    additions: int = 0
    deletions: int = 0
    kind: str = ""
    hunks: str = ""


def file_diffs(files: Iterable[ChangedFile], patch: str) -> list[FileDiff]:
    """The files in their order, and those that only the patch has; what nobody reads line by line comes last. `patch`
    is that of `without_binary`."""
    parts: dict[str, FileDiff] = {}
    for diff in read_patch(patch):
        before = parts.get(diff.path)  # a change of type is a deletion and an addition
        parts[diff.path] = _join(before, diff) if before else diff
    diffs = [_with_facts(file, parts.pop(file.path, None)) for file in files]
    return sorted([*diffs, *parts.values()], key=lambda diff: bool(diff.kind))


def read_patch(patch: str) -> list[FileDiff]:
    """Each `diff --git` of a patch in git's format, as `without_binary` gives it."""
    parts = re.split(r"(?m)^(?=diff --git )", patch)
    return [_read_part(part) for part in parts if part.startswith("diff --git ")]


def cut_long_files(patch: bytes) -> bytes:
    """The patch with no more of each file than `file_diffs` looks at: what is shown to people is redacted before, and
    that takes its time. The cut itself is never shown."""
    parts = re.split(rb"(?m)^(?=diff --git )", patch)
    return b"".join(part[:_LONGEST_PART] + b"\n" * (len(part) > _LONGEST_PART) for part in parts)


def without_binary(patch: bytes) -> str:
    """The patch as text, with one line in place of the data of each binary file."""
    lines, in_data = [], False
    for line in StringIO(patch.decode("utf-8", "replace"), newline="\n"):
        in_data = in_data and _BINARY_LINE.fullmatch(line) is not None
        if line == "GIT binary patch\n":
            in_data = True
            lines.append("Binary data, in changes.patch\n")
        elif not in_data:
            lines.append(line)
    return "".join(lines)


def _read_part(part: str) -> FileDiff:
    header, at, hunks = part.partition("\n@@ ")
    first, *lines = header.split("\n")
    facts = {}
    for line in lines:
        if key := _HEADER.match(line):
            facts[key[0]] = line[key.end() :].strip()
    name = first.removeprefix("diff --git ")
    path = _unquote(name[len(name) // 2 + 1 :]).removeprefix("b/")
    words, old_path = [], None
    for verb, participle in (("rename", "renamed"), ("copy", "copied")):
        if f"{verb} to" in facts:
            old_path, path = _unquote(facts.get(f"{verb} from", "")), _unquote(facts[f"{verb} to"])
            words.append(participle)
    words += _mode_words(facts)
    if "Binary" in facts:
        words.append("binary")
    hunks = clip(at.lstrip("\n") + hunks, LONGEST_DIFF, "\n… cut; all of it is in changes.patch").rstrip("\n")
    additions, deletions = (len(re.findall(rf"(?m)^{sign}", hunks)) for sign in (r"\+", "-"))
    return FileDiff(
        path=path,
        old_path=old_path,
        words=tuple(words),
        additions=additions,
        deletions=deletions,
        kind=kind_of(path, hunks),
        hunks=hunks,
    )


def _mode_words(facts: dict[str, str]) -> list[str]:
    if mode := facts.get("new file mode"):
        return [{_LINK: "new symbolic link", _EXECUTABLE: "new, executable"}.get(mode, "new")]
    if "deleted file mode" in facts:
        return ["deleted"]
    old, new = facts.get("old mode", ""), facts.get("new mode", "")
    if old == new:
        return []
    if _LINK in (old, new):
        return ["of another type"]
    return ["made executable"] if new == _EXECUTABLE else ["no longer executable"]


def _join(before: FileDiff, diff: FileDiff) -> FileDiff:
    return replace(
        diff,
        words=("of another type",),
        additions=before.additions + diff.additions,
        deletions=before.deletions + diff.deletions,
        hunks="\n".join(filter(None, (before.hunks, diff.hunks))),
    )


def _with_facts(file: ChangedFile, diff: FileDiff | None) -> FileDiff:
    """What the host counted goes before what a patch that may be cut shows."""
    if diff is None:
        words = [_KINDS[file.kind]] if file.kind in _KINDS else []
        if file.old_path:
            words.append(file.kind)
        if file.binary:
            words.append("binary")
        diff = FileDiff(path=file.path, words=tuple(words), kind=kind_of(file.path))
    kind = diff.kind
    if file.generated is not None:  # what the repository says goes before what the name and the content say
        kind = (diff.kind or "generated") * file.generated
    path = file.old_path or diff.old_path
    return replace(diff, old_path=path, additions=file.added, deletions=file.deleted, kind=kind)


def _unquote(name: str) -> str:
    """A path as git writes it, in quotes when it has unusual characters."""
    if len(name) < 2 or not (name[0] == name[-1] == '"'):
        return name

    def byte(match: re.Match[bytes]) -> bytes:
        text = match[1]
        if text.isdigit() and len(text) == 3:
            return bytes([int(text, 8) & 255])
        return _ESCAPES.get(text, text)

    return _ESCAPE.sub(byte, name[1:-1].encode()).decode("utf-8", "replace")
