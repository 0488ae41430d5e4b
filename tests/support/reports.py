"""A report with something in every field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flue_ci.core.changes import ChangedFile
from flue_ci.core.messages import Usage
from flue_ci.report.report import Base, Changes, CommandResult, Failure, Report, SandboxUsed, Verification

PATCH = b"""diff --git a/src/parser.py b/src/parser.py
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/src/parser.py
+++ b/src/parser.py
@@ -1,3 +1,4 @@
 def parse(text):
-    return text.split()
+    # ``` a fence in a comment
+    return text.split() or []
"""

FULL = Report(
    conclusion="success",
    reason="2 files changed, 1 check passed",
    exit_code=0,
    agent="fix-tests",
    instruction="only the parser, please",
    summary="`parse` returns a list for *every* input.\n\n- Changed: `src/parser.py`",
    result={"root_cause": "no default"},
    base=Base(ref="main", sha="3f786850e387550fdab836ed7e6dc881de23001b", dirty=True),
    changes=Changes(
        files=(
            ChangedFile(path="src/parser.py", kind="modified", added=2, deleted=1),
            ChangedFile(path="new name|with pipe.png", old_path="old.png", kind="renamed", binary=True),
        ),
        added=2,
        deleted=1,
        patch="changes.patch",
    ),
    setup=(CommandResult(name="pip", command="pip install -e .", exit_code=0, seconds=3.2),),
    checks=(CommandResult(name="tests", command="pytest -q", exit_code=0, seconds=1.25, output="4 passed\n"),),
    verification=Verification(
        where="fresh",
        ready=True,
        sandbox=SandboxUsed(provider="e2b", id="sb2", template="base", network={"setup": "open", "checks": "none"}),
        setup=(CommandResult(name="pip", command="pip install -e .", exit_code=0, seconds=3.1),),
        setup_again=True,
        root=True,
        unquiet="a process hides",
        beside=("left.txt",),
    ),
    usage=Usage(
        turns=5,
        input_tokens=4_000,
        output_tokens=900,
        cache_read_tokens=31_000,
        cache_write_tokens=6_000,
        cost_usd=0.04,
    ),
    sandbox=SandboxUsed(
        provider="e2b", id="sb1", template="base", network={"setup": "open", "agent": "none"}, secrets=("NPM_TOKEN",)
    ),
    model="claude-sonnet-5-5",
    timings={"agent": 20.5, "total": 31.0},
    notes=("the model's API was overloaded; trying again in 2.0s",),
    started="2026-11-23T10:00:00Z",
    spec=".flue/agents/fix-tests.yml",
    flue_ci="0.1.0",
)

FAILED = replace(
    FULL,
    conclusion="failed",
    reason="check `tests` failed with exit code 1",
    exit_code=1,
    checks=(
        CommandResult(name="tests", command="pytest -q", exit_code=1, seconds=1.0, output="E  assert 1 == 2\n```\n"),
    ),
    failure=Failure(stage="checks", message="it went wrong", hint="look at it"),
)


def report(**changes: Any) -> Report:
    return replace(FULL, **changes)
