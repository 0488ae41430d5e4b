"""The checks judge the base and the patch, and nothing else that the agent left: in a clean sandbox, by default."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.run.commands import HostCommand
from flue_ci.run.verification import touches_setup
from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import HANG_GUARD, Ended, Flow, assert_ended, bash, say
from tests.e2e.test_action import MakeJob, make_job
from tests.support.messages_script import Turn, tool

__all__ = ["make_job"]

WHERE = pytest.mark.parametrize("where", ["local", "e2b"])
TEST = """\
import unittest
import thing
class TestThing(unittest.TestCase):
    def test_it(self):
        self.assertEqual(thing.answer(), 2)
"""
# What an agent left beside the patch so that a check over broken code passed.
BESIDE = {
    "an ignored module that shadows the standard library": (
        "mkdir unittest; echo '*' > unittest/.gitignore;"
        " printf 'raise SystemExit(0)\\n' > unittest/__main__.py; touch unittest/__init__.py"
    ),
    "forged bytecode that is never compared with its source": (
        "mkdir -p __pycache__; echo 'def answer(): return 2' > forged.py; python3 -c 'import py_compile as c;"
        ' c.compile("forged.py", cfile="__pycache__/thing.cpython-311.pyc",'
        " invalidation_mode=c.PycInvalidationMode.UNCHECKED_HASH)';"
        " python3 -c 'import sys; print(sys.implementation.cache_tag)' > tag; tag=$(cat tag);"
        " cp __pycache__/thing.cpython-311.pyc __pycache__/thing.$tag.pyc 2>/dev/null; rm forged.py tag"
    ),
    "a module that Python loads at every start": (
        'd=$(python3 -c "import site; print(site.getusersitepackages())"); mkdir -p "$d";'
        ' echo "import os; os._exit(0)" > "$d/usercustomize.py"'
    ),
    "a start-up file of the shell": "echo 'exit 0' > ~/.bash_profile; echo 'exit 0' > ~/.profile",
    "a program of the user's in the way": (
        "mkdir -p ~/bin ~/.local/bin; for d in ~/bin ~/.local/bin; do printf '#!/bin/sh\\n' > $d/python3;"
        " chmod +x $d/python3; done; echo 'PATH=~/bin:$PATH' >> ~/.bashrc"
    ),
    "an ignored directory that the test imports from": (
        "mkdir thing; echo '*' > thing/.gitignore; echo 'def answer(): return 2' > thing/__init__.py"
    ),
}


def make_project(flow: Flow, **spec: Any) -> None:
    """A module with a bug, its test, and a spec with that test as a check."""
    (flow.repo / "thing.py").write_text("def answer():\n    return 1\n")
    (flow.repo / "test_thing.py").write_text(TEST)
    (flow.repo / ".gitignore").write_text("__pycache__/\n")
    flow.spec(**{"checks": [{"name": "tests", "run": "python3 -m unittest -q"}], **spec})
    flow.commit()


def run_with(flow: Flow, *commands: str, options: tuple[str, ...] = ()) -> Ended:
    flow.model._script = [*(bash(command) for command in commands), say("Done.")]  # type: ignore[attr-defined]
    return flow.run(*options)


def check_of(ended: Ended) -> Any:
    (check,) = ended.report.checks
    return check


TRICKS_THERE = [("local", trick) for trick in BESIDE] + [("e2b", trick) for trick in [*BESIDE][::3]]


@pytest.mark.family(1)
@pytest.mark.parametrize(("where", "trick"), TRICKS_THERE)
def test_a_check_over_broken_code_fails_whatever_lies_beside_it(make_flow: MakeFlow, where: str, trick: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    make_project(flow)
    ended = run_with(flow, f"echo 'def answer(): return 3  # the fix' > thing.py; {BESIDE[trick]}")
    assert check_of(ended).exit_code == 1, ended.err
    assert_ended(ended, "failed", 1, reason="check `tests` failed with exit code 1")
    flow.assert_nothing_is_left()


PROFILES = "tee ~/.bash_profile ~/.bash_login ~/.profile ~/.bashrc ~/.bash_aliases"
FAKES = "for n in false sh bash; do for d in ~/bin ~/.local/bin; do mkdir -p $d; cp /bin/true $d/$n; done; done"
SHELL_TRICKS = {
    "a start-up file that ends the shell": f"echo 'case $BASH_EXECUTION_STRING in *) exit 0 ;; esac' | {PROFILES}",
    "BASH_ENV": f"echo 'exit 0' > ~/env; echo 'export BASH_ENV=~/env ENV=~/env' | {PROFILES}",
    "PATH": f"{FAKES}; echo 'PATH=~/bin:$PATH' | {PROFILES}",
    "an exported function": f"echo 'false() {{ return 0; }}; export -f false' | {PROFILES}",
    "a shell that runs nothing": f"echo 'set -o noexec' | {PROFILES}",
    "a process that writes them again": (
        "(setsid sh -c 'while :; do for p in ~/.profile ~/.bash_profile; do echo exit 0 > $p; done; sleep 0.05; done'"
        " >/dev/null 2>&1 &)"
    ),
}


# Each trick in two of the four places, a process of setup's in all.
PLACES = [("local", "fresh"), ("e2b", "same"), ("e2b", "fresh"), ("local", "same")]
WAYS = {(*PLACES[(number + offset) % 4], trick) for number, trick in enumerate(SHELL_TRICKS) for offset in (0, 1)}
WAYS |= {(*place, "a process that writes them again") for place in PLACES}


@pytest.mark.family(2)
@pytest.mark.parametrize(("where", "verify", "trick"), sorted(WAYS))
def test_a_check_that_is_false_fails_whatever_setup_did(
    make_flow: MakeFlow, where: str, verify: str, trick: str
) -> None:
    flow = make_flow([bash("echo changed > greeting.txt"), say("Done.")], e2b=where == "e2b")
    checks = [{"name": "false", "run": "false"}, {"name": "command", "run": "command false"}]
    flow.spec(sandbox={"setup": [f"{SHELL_TRICKS[trick]} > /dev/null"]}, checks=checks, verify=verify)
    flow.commit()
    ended = flow.run()
    assert [check.passed for check in ended.report.checks] == [False, False], ended.err
    assert ended.report.conclusion == "failed"


@pytest.mark.family(1)
@WHERE
def test_the_report_the_terminal_and_the_reason_say_where_the_checks_ran(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    make_project(flow)
    ended = run_with(flow, "echo 'def answer(): return 2' > thing.py")
    assert_ended(ended, "success", 0, reason="1 file changed, 1 check passed in a clean sandbox")
    verification = ended.report.verification
    assert verification is not None
    assert (verification.where, verification.isolated, verification.ready) == ("fresh", True, True)
    assert verification.sandbox is not None
    assert verification.sandbox.id != ended.report.sandbox.id
    assert verification.sandbox.seconds > 0
    assert ended.report.sandbox.seconds > 0
    sentence = "Verified in a clean sandbox: the base and the changes, and nothing else of the agent's."
    assert sentence in ended.out
    assert sentence in (flow.out / "report.md").read_text()


@pytest.mark.family(1)
@WHERE
def test_in_the_agents_own_sandbox_nothing_claims_to_be_clean(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    make_project(flow, verify="same")
    ended = run_with(flow, "echo 'def answer(): return 2' > thing.py; mkdir __pycache__; touch __pycache__/x ~/left")
    assert_ended(ended, "success", 0, reason="1 check passed in the agent's own sandbox")
    assert "lean sandbox" not in ended.out + (flow.out / "report.md").read_text()
    verification = ended.report.verification
    assert verification is not None
    assert verification.sandbox is None
    assert any("__pycache__" in name for name in verification.beside)
    assert any("left" in name for name in verification.beside)
    assert "Beside the changes the checks saw:" in ended.out
    if where == "e2b":
        assert len(flow.e2b.recorded("create")) == 1


def test_without_checks_there_is_no_second_sandbox(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert len(flow.e2b.recorded("create")) == 1
    assert ended.report.verification is None


@pytest.mark.family(1)
@WHERE
def test_an_agent_that_changes_nothing_is_still_checked(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    make_project(flow)
    assert_ended(run_with(flow), "failed", 1, reason="check `tests` failed")


@pytest.mark.family(1)
@WHERE
def test_setup_and_agent_may_change_the_same_tracked_file(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    (flow.repo / "app.lock").write_text("one\n")
    setup = ["echo of-setup >> app.lock"]
    flow.spec(sandbox={"setup": setup}, checks=[{"name": "lock", "run": "grep -q mine app.lock"}])
    flow.commit()
    ended = run_with(flow, "echo mine >> app.lock")
    assert_ended(ended, "success", 0)


@pytest.mark.family(1)
@WHERE
def test_a_new_dependency_is_set_up_before_the_checks(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    (flow.repo / "requirements.txt").write_text("old\n")
    (flow.repo / ".gitignore").write_text("installed\n")
    install = "cp requirements.txt installed; echo x >> ~/times"
    checks = [{"name": "installed", "run": 'grep -q new installed && test "$(wc -l < ~/times)" = 2'}]
    flow.spec(sandbox={"setup": [install]}, checks=checks)
    flow.commit()
    ended = run_with(flow, "echo new >> requirements.txt")
    assert_ended(ended, "success", 0)
    assert ended.report.verification is not None
    assert ended.report.verification.setup_again
    assert "Setup ran once more after the changes." in ended.out


@pytest.mark.family(1)
@WHERE
@pytest.mark.parametrize(
    "how", ["cp defaults.py thing.py", "rm -f thing.py; ln -s defaults.py thing.py", "rm thing.py"]
)
def test_setup_that_runs_again_does_not_undo_the_changes(make_flow: MakeFlow, where: str, how: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    for name in ("defaults.py", "thing.py"):
        (flow.repo / name).write_text("answer = 2\n")
    checks = [{"name": "answer", "run": "grep -q 3 thing.py"}, {"name": "deleted", "run": "! test -e other.py"}]
    flow.spec(sandbox={"setup": [how, "touch other.py"]}, checks=checks)
    (flow.repo / "other.py").write_text("")
    flow.commit()
    ended = run_with(flow, "rm -f thing.py other.py; echo 'answer = 3' > thing.py")
    assert ended.report.verification is not None
    assert ended.report.verification.setup_again
    assert_ended(ended, "success", 0)


@pytest.mark.parametrize(
    ("setup", "path", "concerned"),
    [
        ("pip install -r requirements/dev.txt", "requirements/base.txt", True),  # which dev.txt includes
        ("pip install -r requirements/dev.txt", "src/thing.py", False),
        ("pip install ./", "thing.py", True),
        ("(cd python && pip install .)", "python/thing.py", True),
        ("pip install .; true", "thing.py", True),
        ("pip install '.[dev]' && true", "thing.py", True),
        (". .venv/bin/activate && pip install -r requirements.txt", "thing.py", False),
        ("python3 -m venv .venv; . .venv/bin/activate\npip install -e .", "thing.py", False),
        ("python3 -m venv .venv && . .venv/bin/activate && pip install .", "thing.py", True),
    ],
)
def test_which_changes_concern_setup(setup: str, path: str, concerned: bool) -> None:
    command = HostCommand(kind="setup", name=setup, run=setup, timeout=1)
    file = ChangedFile(path=path, kind="modified", added=1, deleted=1)
    assert touches_setup([file], [command]) == concerned


@pytest.mark.parametrize(("setup", "times"), [("before", 1), ("after", 2)])
def test_setup_runs_again_only_when_it_has_to(make_flow: MakeFlow, setup: str, times: int) -> None:
    flow = make_flow()
    checks = [{"name": "times", "run": f'test "$(wc -l < ~/times)" = {times}'}]
    flow.spec(sandbox={"setup": ["echo x >> ~/times"]}, checks=checks, verify={"setup": setup})
    flow.commit()
    assert_ended(run_with(flow, "echo new > greeting.txt"), "success", 0)


@pytest.mark.family(1)
@WHERE
def test_what_setup_started_lives_on_for_the_checks(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    service = "import socket as s,time; l=s.socket(); l.bind(('127.0.0.1',0)); l.listen(); "
    service += "open('port','w').write(str(l.getsockname()[1])); time.sleep(600)"
    client = "import socket; socket.create_connection(('127.0.0.1', int(open('port').read())), 5)"
    wait = "for i in $(seq 100); do test -s port && break; sleep 0.1; done"
    start = f'(setsid python3 -c "{service}" >/dev/null 2>&1 &); {wait}'
    (flow.repo / ".gitignore").write_text("port\n")
    sandbox = {"setup": [start], "network": {"setup": "none", "agent": "none"}}
    flow.spec(sandbox=sandbox, checks=[{"name": "service", "run": f'python3 -c "{client}"'}])
    flow.commit()
    assert_ended(run_with(flow, "echo new > greeting.txt"), "success", 0)


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no room for it": ("create", {"status": 429, "times": None, "skip": 1}),
    "none of it": ("create", {"status": 400, "times": None, "skip": 1}),
    "the way to it breaks": ("create", {"drop": "after", "times": None, "skip": 1}),
    "setup cannot be started": ("start", {"status": 403, "times": None, "skip": 1, "text": b"echo ready"}),
    "it dies in the check": ("start", {"kill": True, "times": 1, "text": b"grep -q new"}),
}


@pytest.mark.family(2)
@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_clean_sandbox_no_check_has_passed_and_the_work_is_kept(make_flow: MakeFlow, fault: str) -> None:
    flow = make_flow(e2b=True)
    flow.environment["FLUE_CI_PATIENCE_SECONDS"] = "2"
    checks = [{"name": "first", "run": "grep -q new greeting.txt"}, {"name": "second", "run": "true"}]
    flow.spec(sandbox={"setup": ["echo ready"]}, checks=checks)
    flow.commit()
    route, what = FAULTS[fault]
    flow.e2b.faults.add(route, **what)
    ended = run_with(flow, "echo new > greeting.txt")
    stage = "checks" if "dies" in fault else "verify"
    assert_ended(ended, "failed", 1, stage=stage)
    assert [check.state for check in ended.report.checks] == ["not-run", "not-run"]
    assert not any(check.passed for check in ended.report.checks)
    assert "+new" in (flow.out / "changes.patch").read_text()
    assert "not run" in ended.out
    assert "passed" not in ended.out + (flow.out / "report.md").read_text()
    flow.assert_nothing_is_left()


def test_a_check_that_ran_keeps_its_result_when_the_next_one_cannot_run(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    checks = [{"name": "first", "run": "grep -q new greeting.txt"}, {"name": "second", "run": "echo second"}]
    flow.spec(checks=checks)
    flow.commit()
    flow.e2b.faults.add("start", kill=True, text=b"echo second")
    ended = run_with(flow, "echo new > greeting.txt")
    assert_ended(ended, "failed", 1, stage="checks")
    assert [check.state for check in ended.report.checks] == ["ended", "not-run"]


def test_a_clean_sandbox_that_is_not_needed_is_ended_and_its_time_is_shown(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    make_project(flow)
    flow.environment["LEAKED"] = "hunter2hunter2hunter2"
    flow.spec(checks=[{"name": "tests", "run": "true"}], sandbox={"secrets": ["LEAKED"]})
    flow.commit()

    def finish_late(_: object) -> Turn:
        deadline = time.monotonic() + HANG_GUARD
        while len(flow.e2b.recorded("create")) < 2 and time.monotonic() < deadline:  # the second one is there
            time.sleep(0.05)
        return say("Done.")

    flow.model._script = [bash('echo "$LEAKED" > greeting.txt'), finish_late]  # type: ignore[attr-defined]
    ended = flow.run()
    assert_ended(ended, "failed", 1, stage="collect")
    assert [check.state for check in ended.report.checks] == ["not-run"]
    verification = ended.report.verification
    assert verification is not None
    assert verification.sandbox is not None
    assert verification.sandbox.seconds > 0
    assert "was not used" in ended.out
    flow.assert_nothing_is_left()


def test_a_signal_while_the_second_sandbox_is_created_leaves_none(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo new > greeting.txt; sleep 30"), say("Done.")], e2b=True)
    make_project(flow)
    fault = flow.e2b.faults.add("create", hold=True, skip=1)
    process = flow.start()
    flow.until(process, lambda: fault.times == 0, "the second create")
    process.send(signal.SIGTERM)
    fault.released.set()
    ended = flow.end(process)
    assert_ended(ended, "cancelled", 143, stage="agent")
    assert flow.e2b.sandboxes == {}
    flow.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("answer", "conclusion", "code"), [pytest.param(2, "success", 0, marks=pytest.mark.family(0)), (3, "failed", 1)]
)
def test_changes_that_are_not_published_are_checked_all_the_same(
    make_flow: MakeFlow, answer: int, conclusion: str, code: int
) -> None:
    flow = make_flow()
    make_project(flow, publish={"changes": "none"})
    assert_ended(run_with(flow, f"echo 'def answer(): return {answer}' > thing.py"), conclusion, code)


def test_uncommitted_work_is_part_of_the_base(make_flow: MakeFlow) -> None:
    flow = make_flow()
    make_project(flow)
    (flow.repo / "thing.py").write_text("def answer():\n    return 2\n")
    assert_ended(run_with(flow, "echo new > other.txt"), "success", 0)


def test_without_isolation_the_words_are_other_words(make_flow: MakeFlow) -> None:
    flow = make_flow()
    make_project(flow)
    ended = run_with(flow, "echo 'def answer(): return 2' > thing.py", options=("--no-isolation",))
    assert_ended(ended, "success", 0, reason="1 check passed in a second folder on the same machine")
    assert "lean sandbox" not in ended.out


@pytest.mark.parametrize(
    ("verify", "words"),
    [("fresh", "a second local sandbox from base: the base, setup again"), ("same", "in the agent's own sandbox")],
)
def test_a_dry_run_names_the_second_sandbox(make_flow: MakeFlow, verify: str, words: str) -> None:
    flow = make_flow()
    make_project(flow, sandbox={"setup": ["true"]}, verify=verify)
    code, out, err = flow.call("run", "count", "--sandbox", "local", "--dry-run")
    assert code == 0, err
    assert words in out


def test_the_second_sandbox_waits_for_the_first_change_and_says_what_it_is_for(make_flow: MakeFlow) -> None:
    """It is created when a tool may change something, and not before the agent has looked around. Both carry the run
    and their role."""
    creates: list[int] = []
    flow = make_flow(e2b=True)

    def look(_: object) -> Turn:
        creates.append(len(flow.e2b.recorded("create")))
        return bash("echo 'def answer(): return 2' > thing.py")

    make_project(flow)
    read = Turn(blocks=[tool("read", {"path": "thing.py"})])
    flow.model._script = [read, look, say("Done.")]  # type: ignore[attr-defined]
    assert_ended(flow.run(), "success", 0)
    assert creates == [1]
    first, second = [request.json["metadata"] for request in flow.e2b.recorded("create")]
    assert (first["role"], second["role"]) == ("agent", "verify")
    assert first["run"] == second["run"]


BUILD = """\
#!/bin/sh
# Every way in which the code of a pull request spoke for a check, or became root's, at once.
for file in .bash_profile .bash_login .profile .bashrc .bash_aliases env; do
  printf 'case $BASH_EXECUTION_STRING in *) exit 0 ;; esac\nfalse() { return 0; }\nexport -f false\n' > ~/$file
done
mkdir -p ~/.local/bin ~/bin
for name in false bash sh env; do cp /bin/true ~/.local/bin/$name; cp /bin/true ~/bin/$name; done
{ echo '#!/bin/sh'
  echo 'id -un >> /tmp/who; for d in ~ ~root; do echo exit 0 > $d/.bash_profile; done'
} > /tmp/hook
chmod +x /tmp/hook
for place in lib lib/deep other; do
  mkdir -p $place && git init -q $place && git -C $place config core.fsmonitor /tmp/hook
  git -C $place config filter.x.clean /tmp/hook; echo '* filter=x' > $place/.gitattributes; echo x > $place/file
  chmod 000 $place/file
done
"""


@pytest.mark.parametrize("verify", [pytest.param("fresh", marks=pytest.mark.family(0)), "same"])
def test_a_forks_build_script_cannot_turn_false_into_a_success(make_job: MakeJob, verify: str) -> None:
    """The whole way: a fork's pull request with a link to a repository, its script in setup, and an honest model."""
    write = Turn(blocks=[tool("write", {"path": "other.txt", "content": "fixed\n"})])
    job = make_job([write, say("Done.")])
    checks = [{"name": "lint", "run": "false"}, {"name": "who", "run": "! grep -q root /tmp/who"}]
    work = job.start(fix_tests={"sandbox": {"setup": ["sh ready.sh"]}, "checks": checks, "verify": verify})
    for arguments in (["init", "-q", "lib"], ["-C", "lib", "commit", "-q", "--allow-empty", "-m", "lib"]):
        subprocess.run(["git", *arguments], cwd=work, check=True)
    pull = job.github.pull(work, {"other.txt": "new\n", "ready.sh": BUILD}, author="stranger", fork=True)
    comment = job.github.say(pull["number"], "ada", "/flue fix-tests")
    done = job.run(["action"], job.github.env("issue_comment", job.github.commented(pull, comment)))
    assert done.outputs["conclusion"] == "failed", done.log
    report = json.loads(Path(done.outputs["report-path"]).read_text())
    assert [check["exit_code"] for check in report["checks"]] == [1, 0], done.log
    assert report["setup"][0]["exit_code"] == 0
    assert "other.txt" in {file["path"] for file in report["changes"]["files"]}
