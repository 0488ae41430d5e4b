"""The tools the model may call, acting on a sandbox: `bash read write edit grep glob`.

Whatever goes wrong in a tool is told to the model as its result; only the loss of the sandbox ends the run.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass

from flue_ci.agent.tools import search
from flue_ci.agent.tools.definitions import DEFAULT_SECONDS, READ_LINES, SPECS, ToolError, validate_call
from flue_ci.agent.tools.edit import EditError, replace
from flue_ci.core.messages import JSON, ToolCall, ToolResult
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.core.text import human_bytes, human_seconds, one_line, plural

OUTPUT_BYTES = 13_000  # of one result, so that with its notes it stays below 16 KB
HEAD_BYTES = 4_500  # errors tend to stand at the end, the cause at the beginning
LINE_CHARS = 2_000
READ_BYTES = 40_000  # of a file in one result
READ_WHOLE_BYTES = 2_000_000  # larger files are cut inside the sandbox
SPILL = ".flue-output"  # in the sandbox's home, so that two runs without isolation do not share it


WRITERS = frozenset({"write", "edit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """A tool's answer: `text` for the model, `note` for people."""

    text: str
    note: str = ""
    is_error: bool = False


class Toolbox:
    """The tools over one sandbox. `workdir` is absolute; `command_seconds` is the longest that one command may take."""

    def __init__(self, box: Sandbox, *, workdir: str, names: tuple[str, ...], command_seconds: float) -> None:
        self._box = box
        self._workdir = workdir
        self._longest = command_seconds
        self._commands = 0
        self.specs = tuple(SPECS[name] for name in SPECS if name in names)
        self._run: Mapping[str, Callable[[Mapping[str, JSON]], Awaitable[ToolOutput]]] = {
            "bash": self._bash,
            "read": self._read,
            "write": self._write,
            "edit": self._edit,
            "grep": self._grep,
            "glob": self._glob,
        }

    async def call(self, call: ToolCall) -> ToolResult:
        """Runs one call. Raises only `SandboxLost` (and cancellation)."""
        start = time.monotonic()
        try:
            given = validate_call(call, self.specs)
            said = await self._run[call.name](given)
        except (ToolError, EditError) as error:
            said = ToolOutput(text=str(error), note=one_line(str(error), 80), is_error=True)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            text = _file_trouble(error, (call.input or {}).get("path", ""))
            said = ToolOutput(text=text, note=one_line(text, 80), is_error=True)
        except UnicodeEncodeError:
            said = ToolOutput(
                text="The arguments hold half a character; send the call again.", note="no text", is_error=True
            )
        seconds = time.monotonic() - start
        return ToolResult(call_id=call.id, content=said.text, is_error=said.is_error, seconds=seconds, note=said.note)

    def _path(self, path: str) -> str:
        if "\0" in path:
            raise ToolError("A path cannot contain a NUL character.")
        if path == "~" or path.startswith("~/"):
            return self._box.info.home + path[1:]
        return path if path.startswith("/") else f"{self._workdir}/{path}" if path not in ("", ".") else self._workdir

    async def _bash(self, given: Mapping[str, JSON]) -> ToolOutput:
        seconds = given.get("timeout", DEFAULT_SECONDS)
        if not seconds > 0:  # also for what is no number at all
            raise ToolError("`timeout` must be more than 0 seconds.")
        seconds = float(min(seconds, self._longest))  # in this order: a whole number may be larger than any float
        self._commands += 1
        spill = f"{self._box.info.home}/{SPILL}/{self._commands}.txt"
        script = _capture(given["command"], spill)
        result = await self._box.exec(script, timeout=seconds, cwd=self._workdir, limit=OUTPUT_BYTES + 1_000)
        if result.timed_out:  # the script could not print: fetch what the command had said by then
            kept = await self._box.exec(_show(spill), timeout=30, limit=OUTPUT_BYTES + 1_000)
            result = ExecResult(exit_code=124, output=kept.output, timed_out=True, seconds=result.seconds)
        ended = f"exit code {result.exit_code}"
        if result.timed_out:
            ended = f"timed out after {human_seconds(seconds)}; it and what it started were ended (exit code 124)"
            if seconds < self._longest:
                ended += f"; `timeout` may be up to {self._longest:.0f}"
        output = _fitting(result.output.decode("utf-8", "replace"), spill)
        text = f"{output.rstrip(chr(10))}\n[{ended}]" if output.strip() else f"[no output; {ended}]"
        return ToolOutput(text=text, note=ended.split(";")[0], is_error=result.exit_code != 0)

    async def _read(self, given: Mapping[str, JSON]) -> ToolOutput:
        path, first = self._path(given["path"]), max(int(given.get("offset", 1)), 1)
        count = min(max(int(given.get("limit", READ_LINES)), 1), READ_LINES)
        try:
            data = await self._box.read(path, limit=READ_WHOLE_BYTES)
        except IsADirectoryError:
            listing = await self._box.exec(
                f"ls -Ap -- {shlex.quote(path)} | head -n 500", timeout=30, limit=OUTPUT_BYTES
            )
            return ToolOutput(text=listing.output.decode("utf-8", "replace") or "[empty directory]", note="directory")
        except ValueError:
            return await self._read_part(path, first, count)
        if b"\0" in data[:8_192]:
            raise ToolError(
                f"This is a binary file ({human_bytes(len(data))}); look at it with bash (file, xxd, strings)."
            )
        lines = data.decode("utf-8", "replace").splitlines()
        if not lines:
            return ToolOutput(text="[the file is empty]", note="empty")
        if first > len(lines):
            raise ToolError(f"The file has {plural(len(lines), 'line')}; offset {first} is behind its end.")
        return _numbered(lines[first - 1 : first - 1 + count], first, len(lines))

    async def _read_part(self, path: str, first: int, count: int) -> ToolOutput:
        quoted = shlex.quote(path)
        script = (
            f"wc -l < {quoted}; sed -n '{first},{first + count - 1}p;{first + count}q' -- {quoted} "
            f"| cut -b 1-{LINE_CHARS} | head -c 200000"
        )
        result = await self._box.exec(script, timeout=60, limit=300_000)
        total, _, body = result.output.decode("utf-8", "replace").partition("\n")
        if not total.strip().isdigit():
            raise ToolError(f"The file cannot be read: {one_line(total)}")
        return _numbered(body.splitlines(), first, max(int(total), first + body.count("\n") - 1))

    async def _write(self, given: Mapping[str, JSON]) -> ToolOutput:
        data = given["content"].encode("utf-8", "surrogateescape")
        await self._box.write(self._path(given["path"]), data)
        return ToolOutput(
            text=f"Wrote {plural(given['content'].count(chr(10)), 'line')}, {human_bytes(len(data))}.",
            note=human_bytes(len(data)),
        )

    async def _edit(self, given: Mapping[str, JSON]) -> ToolOutput:
        path = self._path(given["path"])
        try:
            data = await self._box.read(path, limit=5 * READ_WHOLE_BYTES)
        except ValueError as error:
            raise ToolError("The file is too large to edit this way; use bash (sed, python).") from error
        old_text = data.decode("utf-8", "surrogateescape")
        new_text, count = replace(old_text, given["old"], given["new"], everywhere=given.get("all", False))
        await self._box.write(path, new_text.encode("utf-8", "surrogateescape"))
        line = _first_difference(old_text, new_text)
        return ToolOutput(text=f"Replaced {plural(count, 'occurrence')}, first at line {line}.", note=f"line {line}")

    async def _grep(self, given: Mapping[str, JSON]) -> ToolOutput:
        for syntax in ("-P", "-E"):
            script = search.grep_script(
                given["pattern"],
                self._path(given.get("path", ".")),
                given.get("glob", ""),
                ignore_case=given.get("ignore_case", False),
                syntax=syntax,
            )
            exit_code, output = await self._search(script)
            if "-P" in syntax and exit_code > 1 and "PCRE" in output:
                continue  # this git was built without Perl's expressions
            break
        return _found(search.read_grep, exit_code, output)

    async def _glob(self, given: Mapping[str, JSON]) -> ToolOutput:
        script = search.glob_script(given["pattern"], self._path(given.get("path", ".")))
        return _found(search.read_glob, *await self._search(script))

    async def _search(self, script: str) -> tuple[int, str]:
        result = await self._box.exec(script, timeout=min(60.0, self._longest), cwd=self._workdir, limit=OUTPUT_BYTES)
        if result.timed_out:
            raise ToolError("The search took too long; narrow it by path or glob.")
        return result.exit_code, result.output.decode("utf-8", "replace")


async def call_all(
    calls: tuple[ToolCall, ...],
    run: Callable[[ToolCall], Coroutine[None, None, ToolResult]],
) -> tuple[ToolResult, ...]:
    """Runs the calls of one turn, together where that is safe: file changes and everything else never overlap, and
    changes of files keep their order. The results are in the order of the calls. Raises what `run` raises (the
    first, when several do)."""
    results: list[ToolResult] = []
    for group in _groups(calls):
        if len(group) == 1 or group[0].name in WRITERS:
            results += [await run(call) for call in group]
            continue
        try:
            async with asyncio.TaskGroup() as together:
                tasks = [together.create_task(run(call)) for call in group]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        results += [task.result() for task in tasks]
    return tuple(results)


def _groups(calls: tuple[ToolCall, ...]) -> list[list[ToolCall]]:
    groups: list[list[ToolCall]] = []
    for call in calls:
        if groups and (groups[-1][0].name in WRITERS) == (call.name in WRITERS):
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _capture(command: str, spill: str) -> str:
    """Runs `command` with its output in a file inside the sandbox, then prints that file, cut in the middle when it
    is long.

    A file and not a pipe: a background process that keeps the output open holds nobody up, and what a killed command
    had said is still there. The subshell keeps `exit` and `cd` from ending the script.
    """
    quoted, folder = shlex.quote(spill), shlex.quote(spill.rsplit("/", 1)[0])
    return (
        f"[ -d {folder} ] || mkdir -p {folder}\n"
        f"( eval {shlex.quote(command)} ) >{quoted} 2>&1 </dev/null\n"
        f"code=$?\n{_show(spill)}\nexit $code"
    )


def _show(spill: str) -> str:
    tail, file = OUTPUT_BYTES - HEAD_BYTES, shlex.quote(spill)
    return (
        f"size=$(wc -c <{file}) || size=0\n"
        f"if [ $size -le {OUTPUT_BYTES} ]; then cat {file} 2>/dev/null; else\n"
        f"head -c {HEAD_BYTES} {file}\n"
        f"printf '\\n[… %s bytes left out; the whole output is in %s …]\\n' $((size - {OUTPUT_BYTES})) {file}\n"
        f"tail -c {tail} {file}; fi"
    )


def _fitting(output: str, spill: str) -> str:
    """What is no text grows to three times its size when it is decoded; then it is cut once more."""
    data = output.encode()
    if len(data) <= OUTPUT_BYTES + 500:  # what `_show` adds
        return output
    head, tail = data[:HEAD_BYTES].decode(errors="ignore"), data[HEAD_BYTES - OUTPUT_BYTES :].decode(errors="ignore")
    return f"{head}\n[… not text, cut here; the whole output is in {spill} …]\n{tail}"


def _found(read: Callable[[int, str], tuple[str, str]], exit_code: int, output: str) -> ToolOutput:
    try:
        text, note = read(exit_code, output)
    except ValueError as error:
        raise ToolError(str(error)) from error
    return ToolOutput(text=text, note=note)


def _numbered(lines: list[str], first: int, total: int) -> ToolOutput:
    shown: list[str] = []
    size = 0
    for number, line in enumerate(lines, first):
        text = f"{number:6}\t{line if len(line) <= LINE_CHARS else line[:LINE_CHARS] + ' [… line cut]'}"
        size += len(text.encode("utf-8", "replace")) + 1
        if size > READ_BYTES and shown:
            break
        shown.append(text)
    last = first + len(shown) - 1
    note = f"lines {first}–{last} of {total}"
    if last < total:
        shown.append(f"[{note}; continues: read again with offset={last + 1}]")
    return ToolOutput(text="\n".join(shown), note=note)


def _first_difference(old: str, new: str) -> int:
    old_lines, new_lines = old.splitlines(), new.splitlines()
    same = next(
        (index for index, (a, b) in enumerate(zip(old_lines, new_lines, strict=False)) if a != b),
        min(len(old_lines), len(new_lines)),
    )
    return same + 1


def _file_trouble(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"There is no file {path!r}. Paths are relative to the repository; look with glob or bash ls."
    if isinstance(error, IsADirectoryError):
        return f"{path!r} is a directory."
    return f"{path!r} cannot be opened: permission denied."
