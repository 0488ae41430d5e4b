"""The patch as files with coloured lines and line numbers, of bounded size. Nothing in it is invisible."""

import re
from dataclasses import dataclass

from markupsafe import escape

from flue_ci.core.text import reveal
from flue_ci.report.diffs import without_binary
from flue_ci.report.page.colours import Highlighter

MAX_FILES = 1_000
MAX_LINES = 12_000  # of all files
MAX_HTML = 2_400_000  # bytes, of all files
MAX_LINE = 1_000
OPEN_LINES = 400  # a file with more is folded
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,\d+)? \+(\d{1,9})(?:,\d+)? @@")
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}


@dataclass(slots=True, kw_only=True)
class FileDiff:
    """One file of the patch. `rows` is the body of a table, as HTML; `omission` says why there is none."""

    path: str
    kind: str
    plus: int
    minus: int
    lines: int
    rows: str = ""
    omission: str = ""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_open(self) -> bool:
        return self.lines <= OPEN_LINES


def file_diffs(patch: bytes, highlighter: Highlighter) -> list[FileDiff]:
    """The files of a patch in git's format, in its order. The smallest are shown when there is too much for a page."""
    parts = re.split(r"(?m)^(?=diff --git )", without_binary(patch))
    bodies = [part for part in parts if part.startswith("diff --git ")][:MAX_FILES]
    diffs = [_describe(body) for body in bodies]
    lines, room = MAX_LINES, MAX_HTML
    for diff, body in sorted(zip(diffs, bodies, strict=True), key=lambda pair: pair[0].lines):
        lines -= diff.lines
        rows = ""
        if lines >= 0 and len(body) < room:
            rows = _rows(diff.path, body, highlighter)
            room -= len(rows.encode())
        if room >= 0 and rows:
            diff.rows = rows
        elif diff.lines:
            diff.omission = "Too much for a page; it is in changes.patch."
    return diffs


def _describe(part: str) -> FileDiff:
    head, _, body = part.partition("\n@@ ")
    names = dict(re.findall(r"(?m)^(\+\+\+|---|rename from|rename to|copy from|copy to) (.*)$", head))
    new, old = names.get("+++", "/dev/null"), names.get("---", "/dev/null")
    path = names.get("rename to") or names.get("copy to")
    kind = ""
    if path:
        kind = f"from {_unquote(names.get('rename from') or names.get('copy from') or '')}"
    elif new != "/dev/null":
        path = _unquote(new).removeprefix("b/")
    elif old != "/dev/null":
        path = _unquote(old).removeprefix("a/")
    else:
        path = _header_path(head.partition("\n")[0].removeprefix("diff --git "))
    for word, label in (("new file mode", "added"), ("deleted file mode", "deleted"), ("Binary ", "binary")):
        if re.search(rf"(?m)^{word}", head):
            kind = f"{kind}, {label}".removeprefix(", ")
    rows = body.split("\n")[1:] if body else []
    signs = [row[:1] for row in rows]
    return FileDiff(
        path=reveal(_unquote(path)) or "?",
        kind=reveal(kind),
        plus=signs.count("+"),
        minus=signs.count("-"),
        lines=sum(sign in ("+", "-", " ", "@") for sign in signs),
    )


def _header_path(names: str) -> str:
    """The name in `a/name b/name`, which has no other place in a file without lines."""
    middle = len(names) // 2
    return _unquote(names[middle + 1 :]).removeprefix("b/")


def _unquote(name: str) -> str:
    """A name as git quotes it in C's way, with its bytes as they are."""
    if not (len(name) > 1 and name[0] == name[-1] == '"'):
        return name.removesuffix("\t")

    def byte(match: re.Match[str]) -> str:
        code = _ESCAPES.get(match[1])
        return chr(int(match[1], 8) & 255 if code is None else code)

    data = re.sub(r'\\([0-7]{3}|[abtnvfr"\\])', byte, name[1:-1])
    return data.encode("latin-1", "replace").decode("utf-8", "replace")


def _rows(path: str, part: str, highlighter: Highlighter) -> str:
    hunks = re.split(r"(?m)^(?=@@ -)", part)[1:]
    return "\n".join(_hunk(path, hunk, highlighter) for hunk in hunks)


def _hunk(path: str, hunk: str, highlighter: Highlighter) -> str:
    """A row for each line. The old and the new side are coloured apart, because each is code for itself."""
    head, *lines = hunk.removesuffix("\n").split("\n")
    lines = [line[:1] + _shorten(line[1:]) for line in lines]
    old = new = 0
    if match := _HUNK.match(head):
        old, new = int(match[1]), int(match[2])
    sides = {}
    for side in "+-":
        if side == "+" or any(line.startswith("-") for line in lines):
            texts = [line[1:] for line in lines if line[:1] in (side, " ", "")]
            sides[side] = iter(highlighter.lines(path, texts))
    rows = [f"<tr class=h><td><td><td>{escape(reveal(head)[:300])}"]
    for line in lines:
        sign = line[:1]
        if sign == "+":
            rows.append(f"<tr class=a><td><td>{new}<td>+{next(sides['+'])}")
            new += 1
        elif sign == "-":
            rows.append(f"<tr class=d><td>{old}<td><td>-{next(sides['-'])}")
            old += 1
        elif sign in " ":
            next(sides.get("-", iter(())), "")
            rows.append(f"<tr><td>{old}<td>{new}<td> {next(sides['+'])}")
            old, new = old + 1, new + 1
        else:
            rows.append(f"<tr class=h><td><td><td>{escape(line)}")
    return "\n".join(rows)


def _shorten(line: str) -> str:
    line = reveal(line.removesuffix("\r"))
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:MAX_LINE]} [… {len(line) - MAX_LINE:,} characters …]"
