"""The tools over a real sandbox, with real git and real commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flue_ci.agent.tools.bash import DEFAULT_SECONDS, Bash
from flue_ci.agent.tools.files import READ_LINES, Read
from flue_ci.agent.tools.registry import TOOLS
from flue_ci.agent.tools.search import LINE_CHARS
from flue_ci.agent.tools.tool import ToolContext
from flue_ci.agent.tools.toolbox import Toolbox, make_tools
from flue_ci.core.events import ProgressEvent, ToolEnded, ToolStarted
from flue_ci.core.messages import ToolCall, ToolResult
from flue_ci.core.ports import Network, Sandbox, SandboxRequest
from flue_ci.sandboxes.local.provider import LocalProvider
from tests.support.scripted import call

MAKE = """
git init -q -b main .
mkdir -p src/deep node_modules/x
printf 'node_modules/\\n*.log\\n' > .gitignore
printf 'def alpha():\\n    return 1\\n\\n\\ndef beta():\\n    return 1\\n' > src/a.py
printf 'needle here\\n' > src/deep/b.txt
printf 'needle ignored\\n' > node_modules/x/index.js
printf 'needle in a log\\n' > run.log
git add -A && git -c user.name=t -c user.email=t@example.com commit -qm first
printf 'needle untracked\\n' > new.txt
"""


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    request = SandboxRequest(env={}, metadata={"flue-ci": "1", "run": "tools"}, network=Network())
    sandbox = await LocalProvider().open(request, lambda event: None)
    result = await sandbox.exec(f"mkdir repo && cd repo\n{MAKE}", timeout=60)
    assert result.exit_code == 0, result.output
    yield sandbox
    await sandbox.close()


@pytest.fixture
def tools(box: Sandbox) -> Toolbox:
    context = ToolContext(sandbox=box, workdir=f"{box.info.home}/repo", command_seconds=20)
    return Toolbox(make_tools(tuple(TOOLS.built_in)), context)


async def use(tools: Toolbox, name: str, **arguments: object) -> ToolResult:
    (result,), _ = await tools.run([call(name, **arguments)], lambda event: None)
    return result


async def test_bash_gives_output_and_exit_code_and_a_failure_is_a_result(tools: Toolbox) -> None:
    good = await use(tools, "bash", command="echo out; echo err >&2")
    assert good.content == "out\nerr\n[exit code 0]"
    assert not good.is_error
    bad = await use(tools, "bash", command="echo why; exit 7")
    assert (bad.content, bad.is_error) == ("why\n[exit code 7]", True)


async def test_bash_survives_quotes_heredocs_and_set_e(tools: Toolbox) -> None:
    command = "set -e\ncat <<'X'\nit's \"quoted\" $HOME\nX\nfalse\necho never"
    result = await use(tools, "bash", command=command)
    assert result.content == 'it\'s "quoted" $HOME\n[exit code 1]'


async def test_a_timeout_keeps_the_output_and_says_how_to_get_more_time(tools: Toolbox) -> None:
    result = await use(tools, "bash", command="echo started; sleep 60", timeout=2)
    assert result.content.startswith("started\n[timed out after 2.0s")
    assert "`timeout` may be up to 20" in result.content


async def test_a_background_process_holds_nobody_up(tools: Toolbox) -> None:
    async with asyncio.timeout(60):
        result = await use(tools, "bash", command="sleep 300 & echo on")
    assert result.content == "on\n[exit code 0]"


async def test_a_megabyte_of_output_costs_at_most_16_kb_and_the_rest_can_be_read(tools: Toolbox) -> None:
    result = await use(tools, "bash", command="seq 1 150000")
    assert len(result.content.encode()) <= 16_384
    assert result.content.startswith("1\n2\n3\n")
    assert "149999\n150000\n[exit code 0]" in result.content
    assert "bytes left out; the whole output is in /home/user/.flue-output/" in result.content
    path = result.content.split("whole output is in ")[1].split(" ")[0]
    rest = await use(tools, "read", path=path, offset=75_000, limit=2)
    assert "\t75000\n" in rest.content


@pytest.mark.parametrize("states", [300, 20_000])
async def test_the_states_of_a_progress_bar_are_one_line_and_equal_lines_are_counted(
    tools: Toolbox, states: int
) -> None:
    command = f"seq -f '%.0f of many' {states} | tr '\\n' '\\r'; echo; yes again | head -n {states}"
    lines = (await use(tools, "bash", command=command)).content.splitlines()
    assert lines == [f"{states} of many", "again", f"[the line above {states - 1} more times]", "[exit code 0]"]


async def test_an_optional_argument_that_is_null_counts_as_absent(tools: Toolbox) -> None:
    assert not (await use(tools, "bash", command="true", timeout=None)).is_error
    read = await use(tools, "read", path="src/a.py", offset=None, limit=None)
    assert read.content.startswith("     1\tdef alpha")
    grep = await use(tools, "grep", pattern="needle", path=None, glob=None, ignore_case=None, context=None)
    assert len(grep.content.splitlines()) == 2
    assert "'command' is missing" in (await use(tools, "bash", command=None)).content


async def test_binary_output_is_no_trouble(tools: Toolbox) -> None:
    result = await use(tools, "bash", command="head -c 5000 /dev/urandom")
    assert result.content.endswith("[exit code 0]")


async def test_four_commands_run_together(tools: Toolbox) -> None:
    # Each waits for the others.
    meet = "touch begun-{}; until [ $(ls | grep -c begun) = 4 ]; do sleep 0.05; done; echo met"
    calls = tuple(ToolCall(id=str(n), name="bash", input={"command": meet.format(n)}) for n in range(4))
    running = 0
    most = 0

    def watch(event: ProgressEvent) -> None:
        nonlocal running, most
        running += isinstance(event, ToolStarted)
        running -= isinstance(event, ToolEnded)
        most = max(most, running)

    results, _ = await tools.run(calls, watch)
    assert most == 4
    assert [result.content for result in results] == ["met\n[exit code 0]"] * 4


async def test_read_numbers_lines_and_says_where_it_continues(tools: Toolbox) -> None:
    result = await use(tools, "read", path="src/a.py", offset=2, limit=2)
    assert result.content == "     2\t    return 1\n     3\t\n[lines 2–3 of 6; continues: read again with offset=4]"
    last = await use(tools, "read", path="src/a.py", offset=5)
    assert last.content == "     5\tdef beta():\n     6\t    return 1"


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere.py", "no file 'nowhere.py'"), ("/etc/shadow", "permission denied|no file")],
)
async def test_read_says_why_not(tools: Toolbox, path: str, words: str) -> None:
    result = await use(tools, "read", path=path)
    assert result.is_error
    assert any(word in result.content for word in words.split("|"))


async def test_read_of_a_directory_lists_it_and_of_a_binary_file_says_so(tools: Toolbox) -> None:
    assert "a.py\ndeep/" in (await use(tools, "read", path="src")).content
    await use(tools, "bash", command="printf 'a\\0b' > blob.bin")
    assert "binary file" in (await use(tools, "read", path="blob.bin")).content


async def test_read_of_a_huge_file_is_cut_inside_the_sandbox(tools: Toolbox) -> None:
    await use(tools, "bash", command="seq -f 'line %.0f' 1 400000 > /tmp/huge.txt")
    result = await use(tools, "read", path="/tmp/huge.txt", offset=399_999)
    assert result.content == "399999\tline 399999\n400000\tline 400000"


async def test_a_very_long_line_is_clipped(tools: Toolbox) -> None:
    await use(tools, "bash", command="head -c 100000 /dev/zero | tr '\\0' x > long.txt")
    result = await use(tools, "read", path="long.txt")
    assert len(result.content) < 2_100
    assert "[… line cut]" in result.content


async def test_write_makes_directories_and_edit_keeps_mode_and_the_rest(tools: Toolbox) -> None:
    new_file = await use(tools, "write", path="made/here/x.sh", content="#!/bin/sh\necho one\n")
    assert not new_file.is_error
    await use(tools, "bash", command="chmod +x made/here/x.sh")
    change = await use(tools, "edit", path="made/here/x.sh", old="one", new="two")
    assert change.content == "Replaced 1 occurrence, first at line 2."
    assert (await use(tools, "bash", command="./made/here/x.sh")).content == "two\n[exit code 0]"


async def test_edit_of_a_file_that_is_not_utf8_changes_nothing_else(tools: Toolbox, box: Sandbox) -> None:
    await box.write("repo/latin.txt", b"a\xe9b one\n")
    await use(tools, "edit", path="latin.txt", old="one", new="two")
    assert await box.read("repo/latin.txt") == b"a\xe9b two\n"


async def test_an_ambiguous_edit_is_refused_and_changes_nothing(tools: Toolbox) -> None:
    result = await use(tools, "edit", path="src/a.py", old="return 1", new="return 2")
    assert result.is_error
    assert "lines 2, 6" in result.content
    assert "return 2" not in (await use(tools, "read", path="src/a.py")).content


async def test_grep_honours_ignore_rules_and_finds_untracked_files(tools: Toolbox) -> None:
    result = await use(tools, "grep", pattern="needle")
    assert result.content.splitlines() == ["new.txt:1:needle untracked", "src/deep/b.txt:1:needle here"]


async def test_grep_by_glob_path_case_and_perl_syntax(tools: Toolbox) -> None:
    assert "src/a.py:1:def alpha():" in (await use(tools, "grep", pattern=r"^def\s\w+\(\)", glob="**/*.py")).content
    assert (
        await use(tools, "grep", pattern="NEEDLE", path="src", ignore_case=True)
    ).content == "src/deep/b.txt:1:needle here"
    assert (await use(tools, "grep", pattern="alpha", path="src/a.py")).content == "src/a.py:1:def alpha():"


async def test_grep_says_when_nothing_was_found_when_it_was_cut_and_when_the_pattern_is_wrong(tools: Toolbox) -> None:
    nothing = await use(tools, "grep", pattern="there-is-no-such-word")
    assert nothing.content.startswith("No match.")
    assert not nothing.is_error
    await use(tools, "bash", command="seq -f 'many %.0f' 1 500 > many.txt")
    cut = await use(tools, "grep", pattern="many")
    assert "[the first 100; there are more: narrow the pattern, or set path or glob]" in cut.content
    wrong = await use(tools, "grep", pattern="(")
    assert wrong.is_error
    assert "search failed" in wrong.content
    for name in ("grep", "glob"):
        missing = await use(tools, name, pattern="x", path="no/such/place")
        assert (missing.is_error, "no file or directory 'no/such/place'" in missing.content) == (True, True)


@pytest.mark.family(5)
@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*.py", "src/a.py"),
        ("*.{py,txt}", "new.txt src/a.py src/deep/b.txt"),
        ("src/*.py", "src/a.py"),
        ("b.txt", "src/deep/b.txt"),
        ("src/**", "src/a.py src/deep/b.txt"),
        (".git*", ".gitignore"),
        ("!*.txt", ".gitignore src/a.py"),
        ("{workdir}/src/*.py", "src/a.py"),
        ("*.log", ""),
    ],
)
async def test_glob_means_what_ripgrep_means(tools: Toolbox, box: Sandbox, pattern: str, files: str) -> None:
    result = await use(tools, "glob", pattern=pattern.replace("{workdir}", f"{box.info.home}/repo"))
    assert files.split() == ([] if result.note == "none" else result.content.split())


async def test_places_that_git_ignores_or_does_not_know_can_be_searched_by_name(tools: Toolbox, box: Sandbox) -> None:
    await box.write("elsewhere/x/y.md", b"needle outside\n")
    await box.exec("git init -q repo/inner && echo needle > repo/inner/z.c && echo x > repo/inner/.env", timeout=20)
    home = box.info.home
    assert (await use(tools, "grep", pattern="needle", path="~/elsewhere")).content.startswith(
        f"{home}/elsewhere/x/y.md:1:"
    )
    assert (await use(tools, "glob", pattern="*.md", path="../elsewhere")).content == f"{home}/elsewhere/x/y.md"
    assert (await use(tools, "grep", pattern="needle", path="node_modules")).content.startswith(
        "node_modules/x/index.js:1:"
    )
    assert (await use(tools, "grep", pattern="needle", path="run.log")).content == "run.log:1:needle in a log"
    assert (await use(tools, "grep", pattern="needle", glob="*.c")).content == "inner/z.c:1:needle"


async def test_a_match_is_shown_also_far_into_a_long_line(tools: Toolbox, box: Sandbox) -> None:
    await box.write("repo/long.txt", b"a" * 6_000 + b" needle " + b"b" * 4_000 + b"\n")
    line = (await use(tools, "grep", pattern="needle", path="long.txt")).content
    assert " needle " in line
    assert len(line) < LINE_CHARS + 60
    assert line.endswith("[… line cut]")
    await box.write("repo/long.txt", b"x" * LINE_CHARS + b"\n")
    assert (await use(tools, "grep", pattern="x", path="long.txt")).content == "long.txt:1:" + "x" * LINE_CHARS


@pytest.mark.parametrize(
    ("pattern", "found"),
    [(r"(?<!x)beta", 1), (r"return 1(?!.)", 2), (r"def (?P<n>a\w+)", 1), (r"\):$", 2), (r"^\s*$", 2), (r"a\s+d", 0)],
)
async def test_a_pattern_never_sees_more_than_one_line(tools: Toolbox, pattern: str, found: int) -> None:
    result = await use(tools, "grep", pattern=pattern, path="src/a.py")
    assert result.note == ["no match", "1 match", "2 matches"][found], result.content


@pytest.mark.parametrize("glob", ["*.{py", "*.py}", "[a", "[z-a]"])
async def test_a_glob_that_cannot_be_read_is_an_error(tools: Toolbox, glob: str) -> None:
    result = await use(tools, "glob", pattern=glob)
    assert result.is_error
    assert "glob" in result.content


async def test_glob_lists_at_any_depth_and_says_when_it_was_cut(tools: Toolbox) -> None:
    assert (await use(tools, "glob", pattern="**/*.py")).content == "src/a.py"
    assert (await use(tools, "glob", pattern="*.txt", path="src/deep")).content == "src/deep/b.txt"
    assert (await use(tools, "glob", pattern="**/*.zig")).content.startswith("No file")
    await use(tools, "bash", command="mkdir lots && cd lots && seq 1 1200 | xargs touch")
    cut = await use(tools, "glob", pattern="lots/*")
    assert cut.content.endswith("[the first 1000; there are more: narrow the pattern]")


async def test_names_with_quotes_and_spaces_are_only_names(tools: Toolbox) -> None:
    path = "odd dir/it's $(touch pwned) `x`.txt"
    assert not (await use(tools, "write", path=path, content="inside\n")).is_error
    assert (await use(tools, "read", path=path)).content == "     1\tinside"
    assert "inside" in (await use(tools, "grep", pattern="inside", path="odd dir")).content
    assert (await use(tools, "glob", pattern="pwned")).content.startswith("No file")


async def test_wrong_arguments_are_told_with_what_would_be_right(tools: Toolbox) -> None:
    assert "'command' is missing" in (await use(tools, "bash")).content
    assert "there is no argument 'cmd'" in (await use(tools, "bash", command="x", cmd="y")).content
    assert "must be of type number" in (await use(tools, "bash", command="x", timeout="long")).content


def test_the_definitions_name_the_bounds_of_the_code() -> None:
    assert f" {READ_LINES} lines at most" in Read.spec.description
    assert f"default {DEFAULT_SECONDS:.0f};" in Bash.spec.input_schema["properties"]["timeout"]["description"]


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c", "\x0b", "\x1c", "\r"])
async def test_read_and_grep_and_edit_count_lines_alike(tools: Toolbox, box: Sandbox, odd: str) -> None:
    """Only LF ends a line, as compilers see it; Python's own idea of lines has eight more ends."""
    await box.write("repo/odd.txt", f"a{odd}b\nneedle\r\n".encode())
    assert "     2\tneedle" in (await use(tools, "read", path="odd.txt")).content
    assert "odd.txt:2:" in (await use(tools, "grep", pattern="needle", path="odd.txt")).content
    assert (await use(tools, "edit", path="odd.txt", old="needle", new="pin")).note == "line 2"
