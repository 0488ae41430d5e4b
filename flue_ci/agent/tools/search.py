"""The tools `grep` and `glob`: what ripgrep means by a pattern, with hidden files and without those that git ignores.

Both are one program in Perl, which is wherever git is, because it has to be the same in every sandbox: ripgrep is in
few of them, and to bring it costs more than it saves.
"""

import posixpath
from collections.abc import Mapping

from flue_ci.agent.tools.globs import glob_expression
from flue_ci.agent.tools.tool import ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import plural, source_lines

MATCHES = 100
LINE_CHARS = 500
PATHS = 1_000
OUTPUT_BYTES = 12_000
_NOT_SEARCHED = (
    "(Files that git ignores, binary files and .git were left out; name such a directory as path to see it.)"
)
_ENDINGS = {
    3: "There is no file or directory {path!r}. Paths are relative to the repository.",
    5: "{path!r} cannot be opened: permission denied.",
    127: "There is no perl in this sandbox, which this tool needs. Use bash with grep or find.",
}


class Grep:
    """Lines that match a regular expression."""

    spec = built_in_spec("grep")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` for a pattern or path that cannot be used."""
        case = "i" if arguments.get("ignore_case") else ""
        values = {"task": "grep", "pattern": arguments["pattern"], "case": case, "lines": str(MATCHES)}
        lines, has_more = await _search(values, arguments.get("glob", ""), arguments.get("path", "."), context)
        if not lines:
            return ToolOutput(text=f"No match. {_NOT_SEARCHED}", note="no match")
        count = "1 match" if len(lines) == 1 else f"{len(lines)} matches"
        return _answer(lines, has_more, "narrow the pattern, or set path or glob", count)


class Glob:
    """Files whose names fit a pattern."""

    spec = built_in_spec("glob")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` for a pattern or path that cannot be used."""
        values = {"task": "list", "pattern": "", "case": "", "lines": str(PATHS)}
        lines, has_more = await _search(values, arguments["pattern"], arguments.get("path", "."), context)
        if not lines:
            return ToolOutput(text=f"No file has such a name. {_NOT_SEARCHED}", note="none")
        return _answer(lines, has_more, "narrow the pattern", plural(len(lines), "file"))


def search_script(values: Mapping[str, str]) -> str:
    """The script of one search. `values`: task, path, top, glob (an expression), pattern, case, lines; see
    `search.pl`."""
    bounds = {"bytes": str(OUTPUT_BYTES), "width": str(LINE_CHARS)}
    program = load_script("flue_ci.agent.tools", "search.pl")
    return shell_script({"program": program, **bounds, **values}, load_script("flue_ci.agent.tools", "search.sh"))


def path_expression(glob: str, workdir: str) -> str:
    """What `search.pl` takes for a glob: an expression, after `!` for paths that are left out; "" for every path.
    Raises `ToolError`."""
    if not glob:
        return ""
    negation = "!" if glob.startswith("!") else ""
    return negation + glob_expression(glob.removeprefix("!").removeprefix(f"{workdir}/"))


def _answer(lines: list[str], has_more: bool, advice: str, note: str) -> ToolOutput:
    if has_more:
        note = f"first {len(lines)}"
        lines = [*lines, f"[the first {len(lines)}; there are more: {advice}]"]
    return ToolOutput(text="\n".join(lines), note=note)


async def _search(values: Mapping[str, str], glob: str, path: str, context: ToolContext) -> tuple[list[str], bool]:
    """The lines of an answer, and whether there are more. Raises `ToolError`."""
    place = posixpath.normpath(context.path(path))
    places = {"path": place, "top": context.workdir, "glob": path_expression(glob, context.workdir)}
    result = await context.sandbox.exec(
        search_script({**values, **places}),
        timeout=min(60.0, context.command_seconds),
        cwd=context.workdir,
        limit=2 * OUTPUT_BYTES,
    )
    if result.timed_out:
        raise ToolError("The search took too long; narrow it by path or glob.")
    output = result.output.decode("utf-8", "replace")
    if result.exit_code not in (0, 1, 10):
        text = _ENDINGS.get(result.exit_code, "The search failed: {output}")
        raise ToolError(text.format(path=path, output=output.strip() or f"exit code {result.exit_code}"))
    return source_lines(output), result.exit_code == 10
