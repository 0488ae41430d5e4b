"""The tools `grep` and `glob`. Both stand on git, so ignore rules are git's own."""

from collections.abc import Mapping

from flue_ci.agent.tools.tool import RESULT_BYTES, ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import plural, source_lines

MATCHES = 100
LINE_BYTES = 500
PATHS = 1_000


class Grep:
    """Lines that match a regular expression."""

    spec = built_in_spec("grep")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` with git's words for a bad pattern or path."""
        values = {
            "path": context.path(arguments.get("path", ".")),
            "pattern": arguments["pattern"],
            "glob": f":(glob){arguments['glob']}" if arguments.get("glob") else "",
            "case": "-i" if arguments.get("ignore_case") else "",
            "lines": str(MATCHES + 1),
            "bytes": str(LINE_BYTES + 1),
        }
        exit_code, output = await _search("grep.sh", values | {"syntax": "-P"}, context)
        if exit_code > 1 and "PCRE" in output:  # this git was built without Perl's expressions
            exit_code, output = await _search("grep.sh", values | {"syntax": "-E"}, context)
        return read_grep(exit_code, output)


class Glob:
    """Files whose names fit a pattern."""

    spec = built_in_spec("glob")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` with git's words for a bad pattern or path."""
        path = context.path(arguments.get("path", "."))
        values = {"path": path, "glob": f":(glob){arguments['pattern']}", "lines": str(PATHS + 1)}
        exit_code, output = await _search("glob.sh", values, context)
        lines = source_lines(output)
        if exit_code == 9 or (lines and lines[0].startswith("fatal:")):
            raise ToolError(f"The listing failed: {output.strip()}")
        if not lines:
            text = "No file has such a name. (Files that git ignores are not listed; `**/` matches any depth.)"
            return ToolOutput(text=text, note="none")
        return _first_lines(lines, PATHS, "narrow the pattern", plural(len(lines), "file"))


def read_grep(exit_code: int, output: str) -> ToolOutput:
    """The answer of `grep.sh`. Raises `ToolError`."""
    lines = source_lines(output)
    if exit_code == 1 or (exit_code in (0, 141) and not lines):
        return ToolOutput(text="No match. (Files that git ignores were not searched.)", note="no match")
    if exit_code not in (0, 141):
        raise ToolError(f"The search failed: {output.strip() or 'no such file or directory'}")
    for index, line in enumerate(lines):
        if len(line.encode()) > LINE_BYTES:
            lines[index] += " [… line cut]"
    count = "1 match" if len(lines) == 1 else f"{len(lines)} matches"
    return _first_lines(lines, MATCHES, "narrow the pattern, or set path or glob", count)


def _first_lines(lines: list[str], limit: int, advice: str, note: str) -> ToolOutput:
    if len(lines) > limit:
        lines = [*lines[:limit], f"[the first {limit}; there are more: {advice}]"]
        note = f"first {limit}"
    return ToolOutput(text="\n".join(lines), note=note)


async def _search(script: str, values: Mapping[str, str], context: ToolContext) -> tuple[int, str]:
    """Exit code and output of one of our scripts. Raises `ToolError` when it takes too long."""
    result = await context.sandbox.exec(
        shell_script(values, load_script("flue_ci.agent.tools", script)),
        timeout=min(60.0, context.command_seconds),
        cwd=context.workdir,
        limit=RESULT_BYTES,
    )
    if result.timed_out:
        raise ToolError("The search took too long; narrow it by path or glob.")
    return result.exit_code, result.output.decode("utf-8", "replace")
