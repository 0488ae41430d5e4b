"""Which files an agent has looked at, by what its tools were asked and what they showed. Pure."""

import json
import re
from collections.abc import Collection

from flue_ci.core.messages import ToolCall, ToolResult

_SHOWS_FILES = ("read", "edit", "write", "bash")
_HEADER = re.compile(r"^(?:\+\+\+ b/|--- a/|rename to )([^\t\n]+)", re.MULTILINE)


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
