"""The tools `read`, `write` and `edit`: files of the sandbox, as numbered lines and as exact text."""

import asyncio
import base64
import difflib
import hashlib
import re
import shlex
from collections.abc import Mapping
from heapq import nlargest

from flue_ci.agent.tools.text_format import BOM, check_encoding, keep_format
from flue_ci.agent.tools.tool import RESULT_BYTES, ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.ports import ExecResult
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import human_bytes, one_line, plural, source_lines

READ_LINES = 2_000
READ_BYTES = 40_000  # of a file in one result
READ_WHOLE_BYTES = 2_000_000  # larger files are cut inside the sandbox
EDIT_BYTES = 10_000_000
_CREATE_BYTES = 60_000  # of a new file that travels with its command
_EDIT_ATTEMPTS = 3  # for a file that something else writes at the same time
LINE_CHARS = 2_000
CLOSEST_LINES = 5_000  # that are compared letter by letter
CLOSEST_CHARS = 200  # of a line
CLOSEST_CANDIDATES = 10  # the lines with the most letters in common, of which the exact likeness is computed
_BINARY = "This is a binary file ({}); look at it with bash (file, xxd, strings)."


class Read:
    """A part of a text file, or the names in a directory."""

    spec = built_in_spec("read")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` for a binary file, and for an offset behind the end."""
        box, path = context.sandbox, context.path(arguments["path"])
        first = max(int(arguments.get("offset", 1)), 1)
        count = min(max(int(arguments.get("limit", READ_LINES)), 1), READ_LINES)
        try:
            data = await box.read(path, limit=READ_WHOLE_BYTES)
            context.contents.put(path, data)
        except IsADirectoryError:
            command = f"ls -Ap -- {shlex.quote(path)} | head -n 500"
            listing = await box.exec(command, timeout=30, limit=RESULT_BYTES)
            return ToolOutput(text=listing.output.decode("utf-8", "replace") or "[empty directory]", note="directory")
        except ValueError:
            return await self._read_part(path, first, count, context)
        if b"\0" in data[:8_192]:
            raise ToolError(_BINARY.format(human_bytes(len(data))))
        lines = source_lines(data.decode("utf-8", "replace").removeprefix(BOM))
        if not lines:
            return ToolOutput(text="[the file is empty]", note="empty")
        if first > len(lines):
            raise ToolError(f"The file has {plural(len(lines), 'line')}; offset {first} is behind its end.")
        return _number_lines(lines[first - 1 : first - 1 + count], first, len(lines))

    async def _read_part(self, path: str, first: int, count: int, context: ToolContext) -> ToolOutput:
        """The same for a file that is too large to be transferred."""
        source = shlex.quote(path)
        script = (
            f"head -c 8192 -- {source} | tr -dc '\\0' | wc -c; wc -l < {source}; "
            f"sed -n '{first},{first + count - 1}p;{first + count}q' -- {source} "
            f"| cut -b 1-{LINE_CHARS} | head -c 200000"
        )
        result = await context.sandbox.exec(script, timeout=60, limit=300_000)
        zeros, _, rest = result.output.decode("utf-8", "replace").partition("\n")
        if zeros.strip().isdigit() and int(zeros):
            raise ToolError(_BINARY.format(f"more than {human_bytes(READ_WHOLE_BYTES)}"))
        total, _, body = rest.partition("\n")
        if not total.strip().isdigit():
            raise ToolError(f"The file cannot be read: {one_line(total)}")
        return _number_lines(source_lines(body), first, max(int(total), first + body.count("\n") - 1))


class Write:
    """A new file, or new content of one."""

    spec = built_in_spec("write")
    writes = True

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Says how much it wrote, and what the file kept of the one that was there. Raises `ToolError` for a file whose
        encoding it would change."""
        content, path = arguments["content"], context.path(arguments["path"])
        old = context.contents.get(path)
        context.contents.forget(path)  # until it is known that all of it was written
        notes: list[str] = []
        last, data = (old or b"")[-1:], _encode(content)
        is_written = False
        if old is None and content:  # nothing of a file stays where nothing is in it
            is_written, old, last = await _create(path, data, context)
        if not is_written:
            check_encoding(old or b"", content, tool="write", argument="content")
            text, notes = keep_format(old or b"", content, last=last)
            data = _encode(text)
            await context.sandbox.write(path, data)
        context.contents.put(path, data)
        size, message = human_bytes(len(data)), ""
        if notes:
            message = f" As in the file before: {', '.join(notes)}."
        return ToolOutput(text=f"Wrote {plural(content.count(chr(10)), 'line')}, {size}.{message}", note=size)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _script(name: str, values: Mapping[str, str]) -> str:
    body = "".join(load_script("flue_ci.agent.tools", each) for each in ("in_place.sh", name))
    return shell_script(values, body)


async def _create(path: str, data: bytes, context: ToolContext) -> tuple[bool, bytes, bytes]:
    """Whether the file is now `data`, because it was not there or has no format to keep; else the beginning of what it
    holds, and its last byte."""
    values = {"path": path, "content": base64.b64encode(data).decode(), "large": "", "whole_lines": ""}
    if data.endswith(b"\n"):
        values["whole_lines"] = "yes"
    if len(data) > _CREATE_BYTES:
        values |= {"content": "", "large": "yes"}
    result = await context.sandbox.exec(_script("create.sh", values), timeout=60, limit=200_000)
    if result.exit_code != 3:
        return result.output == b"created\n", b"", b""
    last, _, head = result.output.partition(b"\n")
    try:
        return False, base64.b64decode(head, validate=True), base64.b64decode(last, validate=True)
    except ValueError:  # somebody writes to it
        return False, b"", b""


class Edit:
    """An exact piece of a file replaced. Bytes that are not UTF-8 stay as they are."""

    spec = built_in_spec("edit")
    writes = True

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` for a piece that does not occur, or more than once, and for a file that never rests."""
        path, contents = context.path(arguments["path"]), context.contents
        _check_pieces(arguments["old"].removeprefix(BOM), arguments["new"].removeprefix(BOM))
        for _ in range(_EDIT_ATTEMPTS):
            data = contents.get(path)
            is_fresh = data is None
            if data is None:
                answer = await _edit_unseen(path, arguments, context)
                if isinstance(answer, ToolOutput):
                    return answer
                data = answer
                if data is None:
                    data = await self._read(path, context)
            check_encoding(data, arguments["new"])
            before = data.decode("utf-8", "surrogateescape")
            mark = before[: before.startswith(BOM)]
            try:
                after, count = await asyncio.to_thread(_replace_arguments, before.removeprefix(BOM), arguments)
                after = mark + after
            except ToolError:
                contents.forget(path)
                if is_fresh:
                    raise
                continue  # it may have changed since it was seen
            content = _encode(after)
            if len(content) > 2 * EDIT_BYTES:
                raise ToolError(f"The file would have {human_bytes(len(content))} then; use bash (sed, python).")
            contents.forget(path)
            if await _replace(path, data, content, context):
                contents.put(path, content)
                return _describe_edit(count, _first_difference(before, after))
        raise ToolError("The file changes all the time; stop what writes it, or edit it with bash.")

    async def _read(self, path: str, context: ToolContext) -> bytes:
        try:
            return await context.sandbox.read(path, limit=EDIT_BYTES)
        except ValueError as error:
            raise ToolError("The file is too large to edit this way; use bash (sed, python).") from error


def _describe_edit(count: int, line: int) -> ToolOutput:
    return ToolOutput(text=f"Replaced {plural(count, 'occurrence')}, first at line {line}.", note=f"line {line}")


async def _edit_unseen(path: str, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput | bytes | None:
    """The edit of a file whose content is not known, in one command. Else the content, for which `replace_text` gives
    the reason; None where the command could not do it, and the file is as it was."""
    pieces = (arguments[name].removeprefix(BOM) for name in ("old", "new"))
    old, new = (piece.encode("utf-8", "surrogateescape").hex() for piece in pieces)
    values = {"path": path, "limit": str(EDIT_BYTES), "old": old, "new_text": new}
    values |= {"everywhere": str(int(arguments.get("all", False))).strip("0")}
    values |= {"program": load_script("flue_ci.agent.tools", "edit.pl")}
    result = await context.sandbox.exec(_script("edit.sh", values), timeout=60, limit=2 * EDIT_BYTES)
    if result.exit_code == 3:
        try:
            return base64.b64decode(result.output, validate=True)
        except ValueError:
            return None
    if match := re.fullmatch(rb"(\d+) (\d+)\n", result.output):
        return _describe_edit(int(match[1]), int(match[2]))
    if result.exit_code not in (0, 126, 127):
        raise _write_error(result)
    return None


def _replace_arguments(text: str, arguments: Mapping[str, JSON]) -> tuple[str, int]:
    old, new = arguments["old"].removeprefix(BOM), arguments["new"].removeprefix(BOM)
    return replace_text(text, old, new, everywhere=arguments.get("all", False))


async def _replace(path: str, before: bytes, after: bytes, context: ToolContext) -> bool:
    """Whether the file was still what it was, and is now `after`. One command compares and writes."""
    head = _common_length(before, after)
    tail = _common_length(before[head:][::-1], after[head:][::-1])
    values = {
        "path": path,
        "digest": hashlib.sha256(before).hexdigest(),
        "head": str(head),
        "tail": str(tail),
        "middle": base64.b64encode(after[head : len(after) - tail]).decode(),
    }
    result = await context.sandbox.exec(_script("replace.sh", values), timeout=60)
    if result.exit_code == 4:
        raise PermissionError(f"not allowed in the sandbox: {path}")
    if result.exit_code not in (0, 3):
        raise _write_error(result)
    return result.exit_code == 0


def _write_error(result: ExecResult) -> ToolError:
    message = one_line(result.output.decode("utf-8", "replace"), 200)
    return ToolError(f"The file could not be written: {message or f'exit code {result.exit_code}'}")


def _common_length(one: bytes, other: bytes) -> int:
    """How many bytes at their beginning are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _number_lines(lines: list[str], first: int, total: int) -> ToolOutput:
    """`lines` with their numbers, as far as they fit, and where to read on. `total`: lines of the whole file."""
    parts: list[str] = []
    size = 0
    for number, line in enumerate(lines, first):
        text = f"{number:6}\t{line[:LINE_CHARS]}"
        if len(line) > LINE_CHARS:
            text += " [… line cut]"
        size += len(text.encode("utf-8", "replace")) + 1
        if size > READ_BYTES and parts:
            break
        parts.append(text)
    last = first + len(parts) - 1
    note = f"lines {first}–{last} of {total}"
    if last < total:
        parts.append(f"[{note}; continues: read again with offset={last + 1}]")
    return ToolOutput(text="\n".join(parts), note=note)


def _first_difference(before: str, after: str) -> int:
    """The number of the first line that differs, from 1."""
    old, new = source_lines(before), source_lines(after)
    pairs = enumerate(zip(old, new, strict=False), 1)
    return next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)) + 1)


def replace_text(text: str, old: str, new: str, *, everywhere: bool = False) -> tuple[str, int]:
    """The new text and the number of replacements. Line ends of the file win: in a file whose lines all end in CRLF,
    LF in `old` and `new` means that; in a mixed one, where only that makes `old` occur.

    Raises `ToolError` when `old` is empty, equals `new`, does not occur, or occurs more than once and not
    `everywhere`.
    """
    _check_pieces(old, new)
    if "\r\n" in text and (old not in text or text.count("\n") == text.count("\r\n")):
        old, new = _with_crlf(old), _with_crlf(new)
    count = text.count(old)
    if count == 0:
        raise ToolError("`old` does not occur in the file. " + describe_closest(text, old))
    if count > 1 and not everywhere:
        lines = ", ".join(str(line) for line in _lines_of(text, old))
        raise ToolError(
            f"`old` occurs {count} times (lines {lines}). Add neighbouring lines until it is unique, or set `all`."
        )
    return text.replace(old, new), count


def _check_pieces(old: str, new: str) -> None:
    if not old:
        raise ToolError(
            "`old` is empty. Give the exact text to replace; use `write` to make a new file or replace a whole one."
        )
    if old == new:
        raise ToolError("`old` and `new` are the same; nothing would change.")


def _with_crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _lines_of(text: str, piece: str) -> list[int]:
    """The lines at which `piece` occurs, at most ten."""
    lines: list[int] = []
    start = text.find(piece)
    while start >= 0 and len(lines) < 10:
        lines.append(text.count("\n", 0, start) + 1)
        start = text.find(piece, start + len(piece))
    return lines


def describe_closest(text: str, piece: str) -> str:
    """A sentence about the place in `text` that was probably meant by a piece that does not occur in it, so that the
    next try is right. Bounded: both come from the model."""
    words = [line.strip() for line in source_lines(piece) if line.strip()]
    lines = source_lines(text)[:20_000]
    if not lines:
        return "The file is empty."
    if not words:
        return "It consists of blanks only; copy the text with its neighbours from `read`."
    # Line numbers and words of the lines that have any.
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    content = "\n".join(["", *(row for _, row in rows), ""])
    position = content.find("\n".join(["", *words, ""]))
    if position >= 0:
        number = rows[content.count("\n", 0, position)][0]
        return f"The same words stand at line {number} with other blanks or indentation; copy them from `read`."
    if len(lines) <= CLOSEST_LINES and (number := _nearest(words[0], rows)):
        line = lines[number - 1].strip()[:CLOSEST_CHARS]
        return f"The nearest is line {number}: {line!r}. Read it again; it may have changed."
    return "Nothing similar was found. Read the file again; it may be another file or may have changed."


def _nearest(word: str, rows: list[tuple[int, str]]) -> int:
    """The number of the line that is most like `word`; 0 when none is. Computing the likeness of two long lines takes
    long, so it is estimated for all lines, and computed for few."""
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(word[:CLOSEST_CHARS])

    def estimate(row: tuple[int, str]) -> float:
        matcher.set_seq1(row[1][:CLOSEST_CHARS])
        return min(matcher.real_quick_ratio(), matcher.quick_ratio())

    def compute(row: tuple[int, str]) -> float:
        matcher.set_seq1(row[1][:CLOSEST_CHARS])
        return matcher.ratio()

    best = max(nlargest(CLOSEST_CANDIDATES, rows, key=estimate), key=compute, default=None)
    if best is None or compute(best) < 0.6:
        return 0
    return best[0]
