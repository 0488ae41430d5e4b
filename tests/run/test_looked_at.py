"""Which files an agent has seen: only those whose content a tool has shown."""

from __future__ import annotations

from typing import Any

import pytest

from flue_ci.core.messages import ToolCall, ToolResult
from flue_ci.run.references import paths_shown

PATHS = ("a.py", "src/a.py", "src/b c.py", "a.pyi")
DIFF = "diff --git a/src/a.py b/src/a.py\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n-x\n+y\n"


def shown(name: str, output: str = "x", *, is_error: bool = False, **arguments: Any) -> set[str]:
    call = ToolCall(id="c", name=name, input=arguments, raw="")
    return paths_shown(call, ToolResult(call_id="c", content=output, is_error=is_error), PATHS, "/home/user/tools")


@pytest.mark.parametrize(
    ("name", "arguments", "paths"),
    [
        ("read", {"path": "src/a.py"}, {"src/a.py"}),
        ("read", {"path": "./a.py"}, {"a.py"}),
        ("read", {"path": "/home/user/tools/src/b c.py"}, {"src/b c.py"}),
        ("bash", {"command": "sed -n 1,20p src/a.py; cat 'src/b c.py'"}, {"src/a.py", "src/b c.py"}),
        ("bash", {"command": "cat other/src/a.py x-a.py a.py.orig"}, set()),
        ("glob", {"pattern": "a.py"}, set()),
        ("grep", {"pattern": "x", "path": "a.py"}, set()),
        ("review_comment", {"path": "a.py"}, set()),
    ],
)
def test_a_call_that_names_a_file_shows_it(name: str, arguments: dict[str, str], paths: set[str]) -> None:
    assert shown(name, **arguments) == paths


def test_a_diff_shows_its_files_and_a_list_of_names_nothing() -> None:
    assert shown("bash", DIFF, command="git diff main...HEAD") == {"src/a.py"}
    assert shown("bash", " src/a.py | 2 +-\n a.py\n", command="git diff --stat; ls") == set()
    assert shown("bash", DIFF, command="cat a.py", is_error=True) == set()
