"""What a reader gets of a report: the answer as title, evidence, diffs without git's headers, links, tables."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.changes import ChangedFile
from flue_ci.publish.comment import report_comment
from flue_ci.report.diffs import cut_long_files, file_diffs, read_patch, without_binary
from flue_ci.report.evidence import ran_no_tests, telling_line
from flue_ci.report.generated import kind_of
from flue_ci.report.links import Commit, link_places, possible_paths
from flue_ci.report.markdown import markdown, title_and_summary
from flue_ci.report.report import Report
from flue_ci.report.result_table import describe_findings, find_findings
from flue_ci.report.words import last_sentence, shorten_markdown, task_list, with_smaller_headings
from tests.support.golden import KINDS_PATCH, NOTHING, PATCH, SERVER, SUCCESS, comments, diff_of


def title_of(report: Report) -> str:
    return title_and_summary(report, Commit(url="", sha=""))[0]


def told(summary: str, **values: object) -> Report:
    return replace(SUCCESS, summary=summary, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ("The tests pass now. `median()` averaged.", "✅ The tests pass now."),
        ("Done. The median is right.", "✅ The median is right."),
        ("# Summary\n\nFixed **all** of it! More.", "✅ Fixed all of it!"),
        ("Here is what I did:\n\n- Fixed the parser\n- Added a test", "✅ Fixed the parser"),
        ("It reads numbers, e.g. `1_000`, again. Yes.", "✅ It reads numbers, e.g. `1_000`, again."),
        ("See [this](https://evil.example/x), @ada and #3.", "✅ See this, `@ada` and `#3`."),
        ("修好了。测试通过。", "✅ 修好了。"),
        ("Done.", "✅ fix-tests: 2 files changed, 1 check passed in a clean sandbox"),
        ("Let me look at it.", "✅ fix-tests: 2 files changed, 1 check passed in a clean sandbox"),
        ("", "✅ fix-tests: 2 files changed, 1 check passed in a clean sandbox"),
    ],
)
def test_the_title_is_the_first_sentence_that_says_something(summary: str, words: str) -> None:
    assert title_of(told(summary)) == f"### {words}"


@pytest.mark.parametrize("summary", ["word " * 40, "x" * 200, "`" + "code " * 40 + "`"])
def test_a_long_title_is_cut_and_the_sentence_stays_below(summary: str) -> None:
    first, *rest = markdown(told(summary)).split("\n")
    assert len(first.replace("`", "").removeprefix("### ✅ ")) <= 90
    assert first.replace("`", "").endswith("…")
    assert summary.strip(" `") in "\n".join(rest)


def test_a_run_that_did_not_end_well_is_titled_by_the_host() -> None:
    for conclusion in ("failed", "cancelled", "partial"):
        assert "check failed" in title_of(told("All tests pass.", conclusion=conclusion, reason="check failed"))


def test_who_changed_nothing_and_said_something_is_titled_by_that() -> None:
    assert title_of(replace(NOTHING, conclusion="no-op", summary="It is no bug.")) == "### 💬 It is no bug."
    assert "nothing changed" not in title_of(replace(NOTHING, reason="nothing changed", summary="- a bug in x\n- y"))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"findings": [{"severity": "high", "message": "x"}]}, "1 finding, high"),
        ({"issues": [{"level": "Low"}, {"level": "HIGH"}, {"level": "low"}]}, "3 findings, 1 high, 2 low"),
        ([{"severity": "medium"}, {"severity": "medium"}], "2 findings, all medium"),
        ({"findings": [{"message": "x"}, {"message": "y"}]}, "2 findings"),
        ({"findings": []}, "no findings"),
    ],
)
def test_findings_are_counted_by_severity(result: object, words: str) -> None:
    findings = find_findings(result)
    assert findings is not None
    assert describe_findings(findings) == words
    assert title_of(replace(NOTHING, result=result)).lower() == f"### 💬 {words}"


def test_other_results_have_no_findings() -> None:
    for result in (None, 3, {"a": 1}, {"files": ["x"]}, {"people": [{"name": "ada"}]}, []):
        assert not find_findings(result)


def test_sentences_and_plans_of_a_run_at_work() -> None:
    text = "I see it.\n\n- [x] Read `a.py`\n- [ ] Mend it\n\nThe digits are wrong. I mend them, e.g. `1_0`."
    assert task_list(text) == ((True, "Read a.py"), (False, "Mend it"))
    assert last_sentence(text) == "I mend them, e.g. 1_0."
    assert last_sentence("") == ""


def test_headings_become_smaller_than_ours_and_nothing_else_changes() -> None:
    text = "# A\n\nB\nb #\n===\n\n> C\n> ---\n> x\n\n- ## D\n\n```\n# no\n```\n"
    smaller = "##### A\n\n##### B b \\#\n\n> ###### C\n> x\n\n- ###### D\n\n```\n# no\n```\n"
    assert with_smaller_headings(text) == smaller


@given(st.text("ab`*_<>[]()!#@&|\\\n -1.:/", max_size=40))
def test_a_short_text_is_one_line_of_text_and_code(text: str) -> None:
    short = shorten_markdown(text)
    assert "\n" not in short
    assert not re.search(r"(?<!\\)[<\[]", re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", short))


COMMIT = Commit(
    url="https://github.com/ada/tools", sha="2f" * 20, paths=frozenset(["calc/s.py", "Makefile", "a b/c.py"])
)
BLOB = f"{COMMIT.url}/blob/{COMMIT.sha}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**calc/s.py:11** x", f"**[`calc/s.py:11`]({BLOB}/calc/s.py#L11)** x"),
        (
            "`calc/s.py:3-5`, (calc/s.py).",
            f"[`calc/s.py:3-5`]({BLOB}/calc/s.py#L3-L5), ([`calc/s.py`]({BLOB}/calc/s.py)).",
        ),
        ("`a b/c.py:4`", f"[`a b/c.py:4`]({BLOB}/a%20b/c.py#L4)"),
        ("Makefile and Makefile:3", f"Makefile and [`Makefile:3`]({BLOB}/Makefile#L3)"),
        ("| a |\n|--|\n| calc/s.py:1 |", f"| a |\n|--|\n| [`calc/s.py:1`]({BLOB}/calc/s.py#L1) |"),
        *(
            (text, text)
            for text in (
                "[calc/s.py:3](https://x.example)",
                "```\ncalc/s.py:3\n```",
                "    calc/s.py:3",
                "`x calc/s.py:3`",
                "other/calc/s.py:3 calc/s.pyc calc/new.py:1",
                "https://x.example/calc/s.py:3",
                "x**calc/s.py:3**y",
            )
        ),
    ],
)
def test_places_in_files_that_exist_are_linked(text: str, shown: str) -> None:
    assert link_places(text, COMMIT) == shown


def test_what_could_be_linked_is_looked_for() -> None:
    assert {"calc/s.py", "a b/c.py"} <= {*possible_paths("see calc/s.py:11. And `a b/c.py:4`")}


@pytest.mark.parametrize(
    ("output", "line", "has_none"),
    [
        ("..\n------\nRan 2 tests in 0.000s\n\nOK\n", "Ran 2 tests in 0.000s · OK", False),
        ("===== 12 passed in 0.31s =====", "12 passed in 0.31s", False),
        ("collected 0 items\n\n=== no tests ran in 0.01s ===", "no tests ran in 0.01s", True),
        ("Ran 0 tests in 0.000s\n\nOK", "Ran 0 tests in 0.000s · OK", True),
        ("running 3 tests\ntest result: ok. 3 passed\nrunning 0 tests\n", "test result: ok. 3 passed", False),
        ("Tests:       1 failed, 3 passed\nSnapshots: 0 total\nTime: 1s", "Tests: 1 failed, 3 passed", False),
        ("Tests: 0 total", "Tests: 0 total", True),
        ("ok  \tx/a\t0.3s\n?   \tx/b\t[no test files]", "ok x/a 0.3s", False),
        ("ok  \tx/y\t0.002s [no tests to run]", "ok x/y 0.002s [no tests to run]", True),
        ("0 passing (2ms)", "0 passing (2ms)", True),
        ("5 deselected in 0.01s", "5 deselected in 0.01s", True),
        ("3 passed, 2 deselected in 0.01s", "3 passed, 2 deselected in 0.01s", False),
        ("0 errors, 0 warnings", "0 errors, 0 warnings", False),
        ("All checks passed!", "All checks passed!", False),
        ("\x1b[32m3 passed\x1b[0m", "3 passed", False),
        ("", "", False),
    ],
)  # fmt: skip
def test_a_check_shows_its_last_telling_line(output: str, line: str, has_none: bool) -> None:
    assert (telling_line(output), ran_no_tests(output)) == (line, has_none)


def test_a_patch_is_read_without_headers_and_hashes() -> None:
    diffs = {diff.path: diff for diff in read_patch(without_binary(KINDS_PATCH))}
    assert {path: diff.words for path, diff in diffs.items()} == {
        "src/new name.py": ("renamed",),
        "run.sh": ("made executable",),
        "logo.png": ("new", "binary"),
        "gone.txt": ("deleted",),
        "link": ("new symbolic link",),
    }
    shown = comments()["kinds"]
    assert not re.search(
        r"diff --git|^index |[0-9a-f]{40}(?!/)|^(?:---|\+\+\+) ", re.sub(r"\(http.*?\)", "", shown), re.M
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *((path, "lock file") for path in ("package-lock.json", "a/yarn.lock", "go.sum", "uv.lock", "Cargo.lock")),
        *((path, "bytecode") for path in ("a/__pycache__/b.cpython-311.pyc", "A.class", "x.so")),
        *((path, "vendored") for path in ("vendor/a/b.go", "web/node_modules/x/index.js", "third_party/z.c")),
        *((path, "minified") for path in ("a.min.js", "app.bundle.js", "a.js.map")),
        *((path, "generated") for path in ("a_pb2.py", "x.pb.go", "dist/index.js", "m.g.dart", "api.generated.ts")),
        *((path, "") for path in ("src/lock.py", "vendor.py", "minimal.js", "generator.py", "README.md", "x.py")),
    ],
)
def test_what_nobody_reads_line_by_line_is_known_by_name(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_what_a_tool_wrote_may_say_so_itself() -> None:
    assert kind_of("a.go", "@@ -0,0 +1,2 @@\n+// Code generated by x. DO NOT EDIT.\n") == "generated"
    assert kind_of("a.go", "@@ -70,2 +71,2 @@\n+// Code generated by x. DO NOT EDIT.\n") == ""


def test_a_lock_file_never_takes_the_room_of_code() -> None:
    lock, code = diff_of("package-lock.json", 20_000), diff_of("src/a.py", 900)
    body = report_comment(
        told("Yes, it works.", changes=changes_of("package-lock.json", "src/a.py")), lock + code, server_url=SERVER
    )
    assert all(f"+line {number} of src/a.py\n" in body for number in range(900))
    assert "for want of room:_ the diffs of `package-lock.json`." in body


def changes_of(*paths: str) -> object:
    files = tuple(ChangedFile(path=path, kind="modified", added=100) for path in paths)
    return replace(SUCCESS.changes, files=files)


def test_small_diffs_are_open_and_many_files_are_one_fold() -> None:
    assert "```diff" in re.sub(r"(?s)<details>.*?</details>", "", report_comment(SUCCESS, PATCH, server_url=SERVER))
    many = comments()["many-files"]
    while many != (many := re.sub(r"(?s)<details>(?:(?!<details>).)*?</details>", "", many)):
        pass
    assert len(many.splitlines()) < 60


def test_numbers_that_mean_nothing_are_left_out() -> None:
    for body in comments().values():
        text = re.sub(r"(?ms)^```.*?^```", "", body)
        assert not re.search(r"\b0ms|\b0 tokens|\$0\.00\b|\b0 turns|\+0\b|−0\b", text)


def test_what_the_repository_calls_generated_comes_last_and_what_it_calls_none_does_not() -> None:
    patch = "".join(f"diff --git a/{name} b/{name}\n@@ -1 +1 @@\n-a\n+b\n" for name in ("a.py", "b.lock", "c.py"))
    values = {"a.py": True, "b.lock": False, "c.py": None}
    files = [ChangedFile(path=name, kind="modified", generated=value) for name, value in values.items()]
    diffs = file_diffs(files, patch)
    assert [(diff.path, diff.kind) for diff in diffs] == [("b.lock", ""), ("c.py", ""), ("a.py", "generated")]


def test_of_a_long_line_only_what_is_shown_is_looked_at() -> None:
    line = "ab 12 cd " * 200_000
    patch = "".join(f"diff --git a/{name} b/{name}\n@@ -1 +1 @@\n-a\n+{line}\n" for name in ("a.js", "b.js"))
    cut = cut_long_files(patch.encode())
    assert len(cut) < 1_100_000
    assert file_diffs([], without_binary(cut)) == file_diffs([], without_binary(patch.encode()))
    small = b"diff --git a/a b/a\n@@ -1 +1 @@\n-a\n+b\n"
    assert cut_long_files(small) == small
