"""The comments that people see, one of every kind, as files to look at: `python -m tests.support.golden` writes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from flue_ci.core.changes import ChangedFile
from flue_ci.core.messages import Usage
from flue_ci.gate.policy import AgentTriggers
from flue_ci.publish.comment import RunProgress, help_reply, progress_comment, report_comment, unknown_reply
from flue_ci.report.delivery import plan_artifact
from flue_ci.report.report import (
    Base,
    Changes,
    CommandResult,
    Failure,
    Report,
    SandboxUsed,
    Trigger,
    Verification,
)

FOLDER = Path(__file__).parents[1] / "golden"
SERVER = "https://github.com"
TRIGGER = Trigger(
    event="issue_comment.created",
    actor="ada",
    repo="ada/tools",
    repo_id=42,
    number=7,
    is_pull_request=True,
    head_sha="2f3c9b1d0e" * 4,
    comment_id=5,
    run_url=f"{SERVER}/ada/tools/actions/runs/9",
    spec_sha="51ab" * 10,
)
USAGE = Usage(
    turns=9, input_tokens=4200, output_tokens=2900, cache_read_tokens=88000, cache_write_tokens=9100, cost_usd=0.071
)
NETWORK = {"setup": "open", "agent": "none"}
CLEAN = SandboxUsed(provider="e2b", id="s2", template="base", network={"setup": "open", "checks": "none"}, seconds=71.3)
SUCCESS = Report(
    conclusion="success",
    reason="2 files changed, 1 check passed in a clean sandbox",
    exit_code=0,
    agent="fix-tests",
    instruction="only the parser, please",
    summary="The parser took `1_000` for text. It now reads digits with underscores as Python does.\n\nTests pass.",
    base=Base(ref="fix-parser", sha="2f3c9b1d0e" * 4),
    changes=Changes(
        files=(
            ChangedFile(path="src/parser.py", kind="modified", added=2, deleted=1),
            ChangedFile(path="tests/test_parser.py", kind="added", added=9),
        ),
        added=11,
        deleted=1,
        patch="changes.patch",
    ),
    checks=(CommandResult(name="tests", command="pytest -q", exit_code=0, seconds=12.4),),
    usage=USAGE,
    verification=Verification(where="fresh", ready=True, root=True, sandbox=CLEAN),
    sandbox=SandboxUsed(provider="e2b", id="s1", template="base", network=NETWORK, seconds=80.1),
    model="claude-sonnet-5-5",
    timings={"total": 94.0},
    spec=".flue/agents/fix-tests.yml",
    trigger=TRIGGER,
    artifact=plan_artifact("fix-tests", TRIGGER.run_url),
)
PATCH = b"""diff --git a/src/parser.py b/src/parser.py
--- a/src/parser.py
+++ b/src/parser.py
@@ -1,2 +1,3 @@
-NUMBER = r"\\d+"
+DIGITS = r"\\d+(?:_\\d+)*"
+NUMBER = DIGITS
"""
NASTY = (
    "</details>\n```\n<!-- flue-ci agent=fix-tests -->\n@everyone fixes #1 ![x](https://evil.example/p.png) \u202e`|"
)
FAILED_CHECK = replace(
    SUCCESS,
    conclusion="failed",
    reason="check `tests` failed with exit code 1",
    exit_code=1,
    checks=(
        CommandResult(name="tests", command="pytest -q", exit_code=1, seconds=8, output="E  assert 1 == 2\n1 failed"),
    ),
)
NOTHING = replace(SUCCESS, summary="", changes=Changes(), checks=(), verification=None, result=None)
IN_THE_SAME = replace(
    SUCCESS,
    reason="2 files changed, 1 check passed in the agent's own sandbox",
    verification=Verification(
        where="same", ready=True, beside=("src/__pycache__/parser.cpython-311.pyc", "~/.bashrc", "and 4,213 more")
    ),
)
NOT_RUN = CommandResult(name="tests", command="pytest -q", exit_code=255, state="not-run")
NOT_VERIFIED = replace(
    SUCCESS,
    conclusion="failed",
    reason="the checks were not run, because there is no clean sandbox for them: E2B has no room for another sandbox",
    exit_code=1,
    checks=(NOT_RUN, replace(NOT_RUN, name="lint", command="ruff check .")),
    verification=Verification(where="fresh"),
    failure=Failure(
        stage="verify",
        message="the checks were not run, because there is no clean sandbox for them: E2B has no room for another one",
        hint="end sandboxes that are not needed, or raise the plan's limit",
    ),
)
PASSING = CommandResult(
    name="tests", command="pytest -q", exit_code=0, seconds=12.4, output="....  [100%]\n\n=== 12 passed in 11.92s ==="
)
TRACE = "\n".join(f"tests/test_parser.py:{line}: in check_{line}" for line in range(1, 60))
FINDINGS = {
    "findings": [
        {
            "severity": "high",
            "path": "src/parser.py",
            "line": 11,
            "message": "`median([1, 2])` raises `IndexError`: `s[mid + 1]` is past the end for two elements.",
        },
        {"severity": "low", "path": "src/parser.py", "line": 40, "message": "The name says nothing."},
    ],
    "verdict": "request changes",
}
WORDS = """# Summary

The parser took `1_000` for text, see src/parser.py:11. It now reads digits with underscores as Python does.

## What I did

- `src/parser.py:11`: digits may have underscores
- tests/test_parser.py is new

Underlined
==========

Nothing else needed a change."""


def diff_of(path: str, lines: int, header: str = "") -> bytes:
    """A patch that adds so many lines to a file."""
    hunk = "".join(f"+line {number} of {path}\n" for number in range(lines))
    return f"diff --git a/{path} b/{path}\n{header}--- a/{path}\n+++ b/{path}\n@@ -0,0 +1,{lines} @@\n{hunk}".encode()


def changed(*files: ChangedFile) -> Changes:
    """The changes of these files."""
    added, deleted = sum(file.added for file in files), sum(file.deleted for file in files)
    return Changes(files=files, added=added, deleted=deleted, patch="changes.patch")


LOCK = changed(
    ChangedFile(path="package-lock.json", kind="modified", added=2000),
    ChangedFile(path="src/parser.py", kind="modified", added=2, deleted=1),
)
MANY = changed(
    *(
        ChangedFile(path=f"{place}/part_{number}.py", kind="added", added=20)
        for number in range(125)
        for place in ("src/generator", "tests")
    )
)
KINDS = changed(
    ChangedFile(path="src/new name.py", old_path="src/old.py", kind="renamed", added=1),
    ChangedFile(path="run.sh", kind="mode-changed"),
    ChangedFile(path="logo.png", kind="added", binary=True),
    ChangedFile(path="gone.txt", kind="deleted", deleted=1),
    ChangedFile(path="link", kind="added", added=1),
)
KINDS_PATCH = b"""diff --git a/src/old.py b/src/new name.py
similarity index 97%
rename from src/old.py
rename to src/new name.py
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/src/old.py
+++ b/src/new name.py\t
@@ -1,2 +1,3 @@
 import re
+import os
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/logo.png b/logo.png
new file mode 100644
index 0000000000000000000000000000000000000000..7c1f2fba7c1f2fba7c1f2fba7c1f2fba7c1f2fba
GIT binary patch
literal 3
KcmZQzU|?nd00IC2

literal 0
HcmV?d00001

diff --git a/gone.txt b/gone.txt
deleted file mode 100644
index 1111111111111111111111111111111111111111..0000000000000000000000000000000000000000
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/link b/link
new file mode 120000
index 0000000000000000000000000000000000000000..2222222222222222222222222222222222222222
--- /dev/null
+++ b/link
@@ -0,0 +1 @@
+target
\\ No newline at end of file
"""
AGENTS = (
    AgentTriggers(name="fix-tests", comment="fix-tests", description="Finds out why tests fail, and mends the code."),
    AgentTriggers(name="review", comment="review"),
)


NO_SANDBOX = SandboxUsed(provider="e2b")
BUSY = RunProgress(
    finished_stages=(("prepare", 2.1), ("upload", 0.0)),
    current="agent",
    usage=USAGE,
    plan=((True, "Read the parser"), (False, "Fix `DIGITS` for @ada"), (False, "Run the tests")),
    sentence="The pattern has no underscore, so I change it first.",
    steps=("read_file src/parser.py", "bash pytest -q tests/test_parser.py → exit code 1"),
    seconds=200,
    max_turns=30,
    max_minutes=20,
)


def failed(stage: str, message: str, hint: str) -> Report:
    failure = Failure(stage=stage, message=message, hint=hint)
    return replace(NOTHING, conclusion="failed", reason=message, exit_code=1, failure=failure)


def shown(report: Report, patch: bytes = b"", previous: str = "") -> str:
    return report_comment(report, patch, server_url=SERVER, previous=previous)


@cache
def comments() -> dict[str, str]:
    """Every kind, by the name of its file."""
    huge = b"".join(PATCH.replace(b"parser.py", b"part%d.py" % n) + b"+x = 1  # long\n" * 700 for n in range(40))
    standing = RunProgress(
        finished_stages=(("prepare", 2.1), ("upload", 0.8), ("setup", 14.0)), current="agent", usage=USAGE
    )
    return {
        "success": shown(SUCCESS, PATCH),
        "same-sandbox": shown(IN_THE_SAME, PATCH),
        "not-verified": shown(NOT_VERIFIED, PATCH),
        "no-op": shown(replace(NOTHING, conclusion="no-op", reason="the agent changed nothing")),
        "partial": shown(
            replace(SUCCESS, conclusion="partial", reason="stopped by the limit of turns", exit_code=4), PATCH
        ),
        "failed-check": shown(FAILED_CHECK, PATCH),
        "failed-model": shown(failed("agent", "the model refused", "another model may answer: model.name")),
        "failed-setup": shown(
            replace(
                NOTHING,
                conclusion="failed",
                reason="setup command `npm ci` failed with exit code 1",
                exit_code=1,
                setup=(CommandResult(name="npm ci", command="npm ci", exit_code=1, seconds=3, output="ENOENT"),),
            )
        ),
        "failed-spec": shown(
            failed("spec", ".flue/agents/fix-tests.yml:2:1: promt: unknown key", "did you mean prompt?")
        ),
        "cancelled": shown(replace(SUCCESS, conclusion="cancelled", reason="interrupted", exit_code=130), PATCH),
        "refused": shown(
            replace(
                SUCCESS, conclusion="failed", reason="x", exit_code=1, changes=Changes(refused="it is a submodule")
            ),
            PATCH,
        ),
        "huge": shown(SUCCESS, huge),
        "previous": shown(
            failed("agent", "the model is overloaded", "try again later"), previous=shown(SUCCESS, PATCH)
        ),
        "result": shown(
            replace(NOTHING, result={"severity": "high", "files": ["a.py", "b.py"]}, summary="Two places.")
        ),
        "hostile": shown(
            replace(
                FAILED_CHECK,
                instruction=NASTY,
                summary=NASTY,
                reason=NASTY,
                model=NASTY,
                notes=(NASTY,),
                result={NASTY: NASTY},
                checks=(CommandResult(name=NASTY, command=NASTY, exit_code=1, output=NASTY),),
            ),
            PATCH + NASTY.encode().replace(b"\n", b"\n+") + b"\n",
        ),
        "kinds": shown(replace(SUCCESS, changes=KINDS, summary="Everything moved to its place."), KINDS_PATCH),
        "lock-file": shown(replace(SUCCESS, changes=LOCK), diff_of("package-lock.json", 2000) + PATCH),
        "many-files": shown(
            replace(SUCCESS, changes=MANY, summary="Generated.\n\n" + "- a list of what was done\n" * 120),
            b"".join(diff_of(file.path, file.added) for file in MANY.files),
        ),
        "words": shown(replace(SUCCESS, summary=WORDS, checks=(PASSING,)), PATCH),
        "no-tests": shown(replace(SUCCESS, checks=(replace(PASSING, output="Ran 0 tests in 0.000s\n\nOK"),)), PATCH),
        "checks": shown(
            replace(
                FAILED_CHECK,
                checks=(
                    PASSING,
                    CommandResult(name="lint", command="ruff check .", exit_code=0, output="All checks passed!"),
                    CommandResult(name="types", command="mypy", exit_code=124, timed_out=True, seconds=300),
                    CommandResult(
                        name="slow", command="pytest slow", exit_code=1, seconds=9, output=TRACE + "\n2 failed"
                    ),
                    NOT_RUN,
                ),
            )
        ),
        "review": shown(
            replace(NOTHING, result=FINDINGS, reason="nothing changed", summary="The change is risky.", instruction="")
        ),
        "answer": shown(
            replace(
                NOTHING,
                reason="nothing changed",
                references=("src/parser.py",),
                summary="**src/parser.py:11** `median([1, 2])` raises `IndexError`: `s[mid + 1]` is past the end.\n\n"
                "Use `s[mid - 1]` and `s[mid]`.",
            )
        ),
        "nothing-spent": shown(
            replace(failed("start", "E2B_API_KEY is not set", "set it"), usage=Usage(), timings={}, sandbox=NO_SANDBOX)
        ),
        "working-with-plan": progress_comment("fix-tests", BUSY, TRIGGER, "only the parser, please"),
        "working": progress_comment("fix-tests", standing, TRIGGER, "only the parser, please"),
        "working-first": progress_comment("fix-tests", RunProgress(current="prepare"), TRIGGER, ""),
        "help": help_reply(AGENTS, trigger="/flue"),
        "unknown": unknown_reply("reviw", "review", AGENTS, trigger="/flue"),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in comments().items():
        (FOLDER / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
