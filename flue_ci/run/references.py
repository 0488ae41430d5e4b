"""Which files an agent's answer names, so that a report can link them; and which it has looked at, by what its tools
were asked and what they showed."""

import json
import re
from collections.abc import Collection
from contextlib import suppress

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.messages import Outcome, ToolCall, ToolResult
from flue_ci.git.command import split_nul
from flue_ci.git.source import Source
from flue_ci.report.links import possible_paths

_SHOWS_FILES = ("read", "edit", "write", "bash")
_HEADER = re.compile(r"^(?:\+\+\+ b/|--- a/|rename to )([^\t\n]+)", re.MULTILINE)


async def find_references(source: Source, outcome: Outcome) -> tuple[str, ...]:
    """The paths in the summary and the result that are files of the commit that was checked out; none when git cannot
    tell."""
    paths = possible_paths(f"{outcome.summary}\n{json.dumps(outcome.result, ensure_ascii=False)}")
    if not paths:
        return ()
    with suppress(WorkspaceError):
        out = (await source.git.run("ls-tree", "-z", source.head, "--", *paths)).out
        entries = (entry.decode("utf-8", "replace").partition("\t") for entry in split_nul(out))
        return tuple(path for kind, _, path in entries if " blob " in kind)
    return ()


def paths_shown(call: ToolCall, result: ToolResult, paths: Collection[str], workdir: str) -> set[str]:
    """Those of `paths` that a call has shown: it names the file, from the repository's folder on, or its output has the
    file's diff. A list of names shows nothing."""
    if result.is_error or call.name not in _SHOWS_FILES:
        return set()
    question = json.dumps(call.input, ensure_ascii=False).replace(f"{workdir}/", "")
    diffs = {match[1] for match in _HEADER.finditer(result.content)}
    return {path for path in paths if path in diffs or _names(question, path)}


def _names(text: str, path: str) -> bool:
    """Whether a text has the path as a whole word."""
    if path not in text:
        return False
    return re.search(rf"(?<![\w.@+/-])(?:\./)?{re.escape(path)}(?![\w/-]|\.\w)", text) is not None
