"""The command line as people and scripts meet it: what is printed where, exit codes, and the commands around a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flue_ci.report.folder import load
from flue_ci.report.report import from_json
from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import CANARIES, assert_ended, bash, counting, say
from tests.support.messages_server import Turn, tool

# What is printed where


@pytest.mark.family(1)
@pytest.mark.parametrize("where", ["local", "e2b"])
def test_the_result_is_on_standard_output_and_the_story_on_standard_error(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow(e2b=where == "e2b")
    flow.cold = True
    flow.spec(sandbox={"setup": ["echo ready"]}, checks=[{"name": "file", "run": "test -s log.txt"}])
    flow.commit()
    ended = flow.run("only the numbers, please")
    assert_ended(ended, "success", 0, reason="1 file changed, 1 check passed")
    for told in ("Counted.", "log.txt", "file", f"git apply {flow.out}/changes.patch"):
        assert told in ended.out
        assert told in ("log.txt", "file") or told not in ended.err
    for told in ("Setting up", "ready", "bash echo 1 >> log.txt", "Collecting", "Checking"):
        assert told in ended.err
        assert told not in ended.out
    assert b"only the numbers, please" in flow.model.requests[0].raw
    report = ended.report
    assert (report.agent, report.instruction, report.summary) == ("count", "only the numbers, please", "Counted.")
    assert (report.base.ref, report.base.sha) == ("main", flow.git("rev-parse", "HEAD").strip())
    assert [file.path for file in report.changes.files] == ["log.txt"]
    assert list(report.timings) == ["prepare", "upload", "setup", "agent", "collect", "verify", "checks", "total"]
    assert (report.sandbox.provider, report.model) == (where, "claude-sonnet-5-5")
    flow.git("apply", "--check", str(flow.out / "changes.patch"))


def test_json_is_one_document_and_the_same_as_the_file(make_flow: MakeFlow) -> None:
    flow = make_flow()
    ended = flow.run("--json")
    assert from_json(ended.out) == ended.report
    assert json.loads(ended.out) == json.loads((flow.out / "report.json").read_text())
    assert "Agent at work" in ended.err


def test_quiet_prints_only_the_result(make_flow: MakeFlow) -> None:
    ended = make_flow().run("-q")
    assert ended.err == ""
    assert "Counted." in ended.out


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A command line, a spec or an environment that cannot be: what is said, and what to do."""

    told: str
    hint: str
    options: tuple[str, ...] = ()
    agent: str = "count"
    spec: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    stage: str = "start"
    e2b: bool = True


REFUSALS = {
    "no key for E2B": Refusal(environment={"E2B_API_KEY": ""}, told="E2B_API_KEY is not set", hint="--sandbox local"),
    "no key for the model": Refusal(
        environment={"ANTHROPIC_API_KEY": ""}, told="ANTHROPIC_API_KEY is not set", hint="export ANTHROPIC_API_KEY"
    ),
    "no secret": Refusal(spec={"sandbox": {"secrets": ["NPM_TOKEN"]}}, told="NPM_TOKEN", hint="export NPM_TOKEN"),
    "unknown key": Refusal(spec={"promt": "x"}, told="promt", hint="prompt", stage="spec"),
    "part that is not run yet": Refusal(
        spec={"engine": {"program": "claude-code"}}, told="not supported yet", hint="", stage="spec"
    ),
    "unknown agent": Refusal(agent="cuont", told="cuont", hint="count"),
    "wrong setting": Refusal(
        options=("--set", "limits.turn=3"), told="limits.turn", hint="did you mean `turns`", stage="spec"
    ),
    "wrong patience": Refusal(
        environment={"FLUE_CI_PATIENCE_SECONDS": "soon"}, told="FLUE_CI_PATIENCE_SECONDS", hint="=60"
    ),
    "no isolation at E2B": Refusal(options=("--no-isolation",), told="--no-isolation", hint=""),
    "replay of something else": Refusal(options=("--replay", "greeting.txt"), told="greeting.txt", hint=""),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_is_said_before_anything_starts(make_flow: MakeFlow, refusal: Refusal) -> None:
    flow = make_flow(e2b=True)
    if refusal.spec:
        flow.spec(**refusal.spec)
        flow.commit()
    flow.environment |= refusal.environment
    ended = flow.run("--json", *refusal.options, agent=refusal.agent)
    assert_ended(ended, "failed", 2, stage=refusal.stage)
    for where in (ended.err, ended.report.failure.message + ended.report.failure.hint if ended.report.failure else ""):
        assert refusal.told in where
        assert refusal.hint in where
    assert from_json(ended.out) == ended.report
    assert flow.e2b.requests == []
    assert flow.model.requests == []


HOSTS = ["packages.example.com"]
HEADER = {"host": "packages.example.com", "header": "Authorization", "value": "Bearer ${NPM_TOKEN}"}
# Each is impossible in the agent's phase only.
IMPOSSIBLE_NETWORKS: dict[str, tuple[dict[str, Any], str]] = {
    "local": ({"setup": "open", "agent": HOSTS}, "cannot restrict the network to hosts"),
    "e2b": ({"setup": "none", "agent": HOSTS, "inject": [HEADER]}, "is not one that HTTP can carry"),
}


@pytest.mark.parametrize("sandbox", IMPOSSIBLE_NETWORKS)
def test_a_network_that_the_agent_cannot_have_is_refused_before_anything_starts(
    make_flow: MakeFlow, sandbox: str
) -> None:
    network, reason = IMPOSSIBLE_NETWORKS[sandbox]
    flow = make_flow(e2b=sandbox == "e2b")
    secrets = ["NPM_TOKEN"] if sandbox == "e2b" else []
    flow.spec(sandbox={"setup": ["touch /tmp/started"], "network": network, "secrets": secrets})
    flow.commit()
    flow.environment |= {"NPM_TOKEN": "two\nlines"}
    code, out, err = flow.call("run", "count", "--sandbox", sandbox, "--dry-run", "--out", str(flow.out), *flow.consent)
    assert (code, out) == (1, "")
    assert reason in err
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason=reason, stage="prepare")
    assert not flow.has_reached("command_started", kind="setup")
    assert flow.model.requests == []
    assert sandbox == "local" or flow.e2b.requests == []


def test_a_wrong_option_is_a_usage_error(make_flow: MakeFlow) -> None:
    code, out, err = make_flow().call("run", "count", "--sandbox", "cloud")
    assert (code, out) == (2, "")
    assert "local" in err


def test_a_directory_without_repository_is_said(make_flow: MakeFlow, tmp_path: Path) -> None:
    flow = make_flow(e2b=True)
    (tmp_path / "plain" / ".flue" / "agents").mkdir(parents=True)
    (tmp_path / "plain" / ".flue" / "agents" / "count.yml").write_text(flow.spec().read_text())
    ended = flow.run("--repo", str(tmp_path / "plain"))
    assert_ended(ended, "failed", 1, reason="is not a git repository", stage="prepare", hint="--repo")
    assert flow.model.requests == []


# Without doing it


@pytest.mark.parametrize("keys", [True, False], ids=["with keys", "without keys"])
def test_a_dry_run_asks_nobody_and_leaves_nothing(make_flow: MakeFlow, keys: bool) -> None:
    flow = make_flow(e2b=True)
    if not keys:
        flow.environment |= {"E2B_API_KEY": "", "ANTHROPIC_API_KEY": ""}
    flow.spec(checks=[{"name": "file", "run": "make check-it"}], sandbox={"setup": ["make ready"]})
    flow.commit()
    code, out, err = flow.call("run", "count", "--dry-run", "--out", str(flow.out))
    assert code == 0
    for told in ("count", "template base", "make check-it", "make ready", "60 turns", "claude-sonnet-5-5", "open"):
        assert told in out
    assert "nothing was spent" in err
    assert not flow.out.exists()
    assert flow.e2b.requests == []
    assert flow.model.requests == []
    assert flow.model.connections == 0
    flow.assert_nothing_is_left()
    shown = json.loads(flow.call("run", "count", "--dry-run", "--json")[1])
    assert "files" in shown["upload"]


# Applying


def test_apply_shows_the_diff_and_changes_the_working_tree(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo changed > greeting.txt; mkdir new; echo 1 > 'new/log.txt'"), say("Done.")])
    ended = flow.run("--apply")
    assert_ended(ended, "success", 0)
    assert "+changed" in ended.out
    assert flow.git("status", "--porcelain", "-uall").splitlines() == [" M greeting.txt", "?? new/log.txt"]
    assert (flow.repo / "greeting.txt").read_text() == "changed\n"


def test_without_apply_nothing_local_changes(make_flow: MakeFlow) -> None:
    flow = make_flow()
    assert_ended(flow.run(), "success", 0)
    assert flow.git("status", "--porcelain") == ""


MOVES = {
    "a file of the patch": lambda flow: (flow.repo / "greeting.txt").write_text("edited meanwhile\n"),
    "another file": lambda flow: (flow.repo / "other.txt").write_text("new meanwhile\n"),
    "a new commit": lambda flow: flow.git("commit", "-q", "--allow-empty", "-m", "meanwhile"),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_apply_refuses_when_the_tree_has_moved(make_flow: MakeFlow, move: Any) -> None:
    def second(body: object) -> Turn:
        move(flow)
        return say("Done.")

    flow = make_flow([bash("echo changed > greeting.txt"), second])
    code = flow.wait(flow.start("--apply"))
    assert code == 1
    assert "not applied" in flow.said("stderr")
    assert "while the agent worked" in flow.said("stderr")
    assert f"git apply --3way {flow.out}/changes.patch" in flow.said("stderr")
    assert (flow.repo / "greeting.txt").read_text() != "changed\n"
    report, patch = load(flow.out)
    assert b"+changed" in patch
    assert (report.conclusion, report.exit_code) == ("failed", 1)
    assert report.failure
    assert report.failure.stage == "apply"


def test_apply_leaves_the_tree_alone_when_a_check_fails(make_flow: MakeFlow) -> None:
    flow = make_flow()
    flow.spec(checks=[{"name": "no", "run": "false"}])
    flow.commit()
    ended = flow.run("--apply")
    assert_ended(ended, "failed", 1, reason="check `no` failed")
    assert "Not applied" in ended.err
    assert flow.git("status", "--porcelain") == ""


@pytest.mark.parametrize("again", [False, True], ids=["new folder", "folder of an earlier run"])
def test_files_of_the_run_inside_the_checkout_are_no_change_of_it(make_flow: MakeFlow, again: bool) -> None:
    flow = make_flow(by_history=True)
    flow.out = flow.repo / "flue-run"
    if again:
        assert_ended(flow.run(), "success", 0)
    ended = flow.run("--apply")
    assert_ended(ended, "success", 0)
    assert (flow.repo / "log.txt").read_text() == "1\n2\n"
    assert not ended.report.base.dirty
    assert [file.path for file in ended.report.changes.files] == ["log.txt"]
    assert flow.git("status", "--porcelain").split() == ["??", "log.txt"]


# Record and replay


def test_a_replay_gives_the_same_result_without_the_model(make_flow: MakeFlow) -> None:
    flow = make_flow(counting(10))
    first = flow.run("--record", str(flow.home / "recording.jsonl"))
    flow.assert_no_secret_is_told(flow.home / "recording.jsonl")
    flow.environment |= {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    second = flow.run("--replay", str(flow.home / "recording.jsonl"))
    assert_ended(second, "success", 0)
    assert second.patch == first.patch
    assert second.report.summary == first.report.summary
    assert second.report.usage == first.report.usage
    assert len(flow.model.requests) == 10


def test_a_replay_that_no_longer_fits_says_where(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo 1 >> log.txt"), bash("grep hello greeting.txt"), say("Done.")])
    assert_ended(flow.run("--record", str(flow.home / "recording.jsonl")), "success", 0)
    (flow.repo / "greeting.txt").write_text("bye\n")
    ended = flow.run("--replay", str(flow.home / "recording.jsonl"))
    assert_ended(ended, "failed", 1, reason="no longer fits at turn 3", stage="agent", hint="--record")
    assert "exit code 1 now" in ended.report.reason
    assert ended.added() == ["1"]


# Setup, checks and other endings


def test_a_failing_setup_stops_before_the_model_is_asked(make_flow: MakeFlow) -> None:
    flow = make_flow()
    flow.spec(
        sandbox={"setup": ["echo fine", "echo it broke; exit 7", "touch never"]}, checks=[{"name": "x", "run": "true"}]
    )
    flow.commit()
    ended = flow.run()
    assert (ended.report.conclusion, ended.code) == ("failed", 1)
    assert "setup command `echo it broke; exit 7` failed with exit code 7" in ended.report.reason
    assert [result.exit_code for result in ended.report.setup] == [0, 7]
    assert "it broke" in ended.out
    assert ended.report.checks == ()
    assert flow.model.requests == []


def test_a_failing_check_fails_the_run_and_the_others_still_run(make_flow: MakeFlow) -> None:
    flow = make_flow()
    flow.spec(
        checks=[
            {"name": "first", "run": "test -s log.txt"},
            {"name": "broken", "run": "echo because of this; exit 3"},
            {"name": "last", "run": "grep -q 2 log.txt"},
        ]
    )
    flow.commit()
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="check `broken` failed with exit code 3")
    assert [(check.name, check.exit_code) for check in ended.report.checks] == [
        ("first", 0),
        ("broken", 3),
        ("last", 0),
    ]
    assert "because of this" in ended.out
    assert ended.added() == ["1", "2"]


SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}},
    "required": ["count"],
    "additionalProperties": False,
}


def test_a_typed_result_is_checked_and_lands_in_the_report(make_flow: MakeFlow) -> None:
    def finish(**result: object) -> Turn:
        return Turn(blocks=[tool("finish", {"summary": "Two numbers.", "result": result})])

    flow = make_flow([say("Done, I think."), finish(count="two"), finish(count=2)])
    flow.spec(result=SCHEMA)
    flow.commit()
    ended = flow.run("--json")
    assert_ended(ended, "success", 0)
    assert ended.report.result == {"count": 2}
    assert ended.report.summary == "Two numbers."
    assert json.loads(ended.out)["result"] == {"count": 2}
    assert len(flow.model.requests) == 3


def test_giving_up_is_a_failure_with_the_agents_reason(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo 1 > log.txt"), Turn(blocks=[tool("give_up", {"reason": "no compiler here"})])])
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="the agent gave up: no compiler here", stage="agent")
    assert ended.added() == ["1"]


def test_no_change_is_no_failure(make_flow: MakeFlow) -> None:
    ended = make_flow([bash("cat greeting.txt"), say("Nothing to do.")]).run("--apply")
    assert_ended(ended, "no-op", 0, reason="the agent changed nothing")
    assert ended.report.changes.patch is None


def test_what_breaks_the_rules_is_left_out_and_named_and_the_rest_is_applied(make_flow: MakeFlow) -> None:
    ended = (flow := make_flow([bash("ln -s /etc/passwd out; echo 1 > log.txt"), say("Done.")])).run("--apply")
    assert_ended(ended, "success", 0)
    assert "out: left out of the changes, because it is a symbolic link" in ended.report.notes[-1]
    assert flow.git("status", "--porcelain") == "?? log.txt\n"


# Secrets

LOOK = "{ env; cat /proc/*/environ /proc/*/cmdline; cat ~/.* /root/* /run/secrets/*; } 2>/dev/null | tr '\\0' '\\n'"


@pytest.mark.parametrize("where", ["local", "e2b"])
def test_no_secret_of_the_host_is_visible_inside(make_flow: MakeFlow, where: str) -> None:
    look = LOOK if where == "local" else "env"  # the processes of the test server's sandboxes are those of this machine
    flow = make_flow([bash(f"{look} > seen.txt; git config --list >> seen.txt"), say("Done.")], e2b=where == "e2b")
    flow.spec(sandbox={"setup": [f"{look} > setup.txt"], "env": {"COLOUR": "blue"}})
    flow.commit()
    flow.git("config", "http.https://git.example.com/.extraheader", f"Authorization: {CANARIES['DEPLOY_TOKEN']}")
    ended = flow.run("--record", str(flow.home / "recording.jsonl"))
    assert_ended(ended, "success", 0)
    seen = ended.added("seen.txt")
    assert "COLOUR=blue" in seen
    assert any(line.startswith("HOME=") and line.endswith("/home/user") for line in seen)
    names = {line.partition("=")[0] for line in seen}
    assert not names & {*CANARIES, "ANTHROPIC_API_KEY", "E2B_API_KEY", "ANTHROPIC_BASE_URL", "PYTHONPATH", "TMPDIR"}
    assert not any(str(flow.home) in line for line in seen)
    flow.assert_no_secret_is_told(flow.home / "recording.jsonl")


def test_a_secret_that_the_spec_lets_in_comes_out_nowhere(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo token is $DEPLOY_TOKEN"), bash("echo $DEPLOY_TOKEN | base64"), say("I used it.")])
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]}, checks=[{"name": "use", "run": "echo $DEPLOY_TOKEN; exit 1"}])
    flow.commit()
    ended = flow.run(f"It is {CANARIES['DEPLOY_TOKEN']}.", "--record", str(flow.home / "recording.jsonl"))
    assert (ended.report.conclusion, ended.code) == ("failed", 1)
    assert [event["data"]["prompt"] for event in ended.events if event["event"] == "prompt"] == ["It is ***."]
    assert "***" in ended.err
    assert ended.report.checks[0].output == "***\n"
    assert ended.report.sandbox.secrets == ("DEPLOY_TOKEN",)
    assert CANARIES["DEPLOY_TOKEN"].encode() in flow.model.requests[1].raw  # that is what letting it in means
    flow.assert_no_secret_is_told(flow.home)


def test_a_patch_with_a_secret_in_it_is_withheld(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("env > log.txt"), say("Done.")])
    flow.spec(sandbox={"secrets": ["DEPLOY_TOKEN"]})
    flow.commit()
    ended = flow.run("--apply")
    assert_ended(ended, "failed", 1, reason="secret", stage="collect", hint="sandbox.secrets")
    assert flow.git("status", "--porcelain") == ""


# The commands around a run


def test_a_saved_run_can_be_shown_again(make_flow: MakeFlow) -> None:
    flow = make_flow()
    ended = flow.run()
    code, out, _ = flow.call("show", str(flow.out), "--diff")
    assert code == 0
    assert "Counted." in out
    assert "+1" in out
    assert flow.call("show", str(flow.out), "--json")[1].strip() == (flow.out / "report.json").read_text().strip()
    assert flow.call("show", str(flow.out), "--markdown")[1].strip() == (flow.out / "report.md").read_text().strip()
    assert ended.out.strip() == flow.call("show", str(flow.out))[1].strip()
    for option in ((), ("--html",)):
        code, _, err = flow.call("show", str(flow.repo), *option)
        assert code == 1
        assert "holds no saved run" in err


def test_the_page_of_a_saved_run_is_made_anew(make_flow: MakeFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = make_flow()
    flow.run()
    page = flow.out / "report.html"
    former = page.read_text()
    page.write_text("<script>a stranger's</script>")
    assert flow.call("show", str(flow.out), "--html")[:2] == (0, f"{page.resolve()}\n")
    assert page.read_text() == former
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    page.unlink()
    code, _, err = flow.call("show", str(flow.out), "--open")
    assert code == 1
    assert f"open {page.resolve().as_uri()} yourself" in err
    page.unlink()
    (flow.out / "transcript.jsonl").unlink()
    page.with_suffix(".html.part").mkdir()
    code, _, err = flow.call("show", str(flow.out), "--html")
    assert code == 1
    assert "the page cannot be made in" in err


def test_agents_are_listed_made_and_validated(make_flow: MakeFlow) -> None:
    flow = make_flow()
    assert flow.call("init", "review")[0] == 0
    assert flow.call("init", "review")[0] == 2  # it is never overwritten
    code, out, _ = flow.call("list", "--json")
    assert (code, [agent["name"] for agent in json.loads(out)]) == (0, ["count", "review"])
    assert "review" in flow.call("list")[1]
    code, out, _ = flow.call("validate", "--json")
    assert (code, json.loads(out)) == (0, {"valid": True, "problems": [], "notes": []})
    flow.spec("broken", promt="x", limits={"turns": "many"})
    code, out, _ = flow.call("validate", "--json")
    found = json.loads(out)
    assert (code, found["valid"], {problem["key"] for problem in found["problems"]}) == (
        2,
        False,
        {"promt", "limits.turns"},
    )
    assert all(problem["line"] and problem["column"] for problem in found["problems"])
    assert "broken.yml" in flow.call("validate")[1]
    assert flow.call("list")[0] == 2
    schema = json.loads(flow.call("schema")[1])
    assert "prompt" in schema["properties"]


def test_doctor_asks_the_services_and_says_what_to_do(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)

    def states(*options: str) -> tuple[int, dict[str, str]]:
        code, out, _ = flow.call("doctor", "--json", *options)
        flow.assert_no_secret_is_told()
        return code, {finding["name"]: finding["state"] for finding in json.loads(out)}

    code, found = states()
    assert (code, set(found.values())) == (0, {"ok"})
    flow.environment |= {"E2B_API_KEY": "e2b_" + "0" * 40}
    code, found = states()
    assert (code, found["E2B"], found["Anthropic"]) == (1, "problem", "ok")
    requests = len(flow.e2b.requests)
    assert states("--offline")[0] == 0
    assert len(flow.e2b.requests) == requests
    flow.environment |= {"E2B_API_KEY": ""}
    assert "→ export E2B_API_KEY" in flow.call("doctor")[1]


def test_sandboxes_of_others_are_neither_listed_nor_ended(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    flow.environment |= {"E2B_API_KEY": ""}
    code, _, err = flow.call("sandboxes", "list")
    assert code != 0
    assert "E2B_API_KEY" in err
    code, out, err = flow.call("sandboxes", "list", "--sandbox", "local")
    assert (code, out) == (0, "")
    assert flow.call("sandboxes", "kill", "--sandbox", "local")[0] == 2


@pytest.mark.parametrize("outside", [False, True], ids=["in a repository", "in an empty directory"])
def test_the_demo_fixes_its_bug_without_keys_and_network(make_flow: MakeFlow, tmp_path: Path, outside: bool) -> None:
    flow = make_flow()
    flow.environment |= {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    if outside:
        flow.repo = tmp_path / "empty"
        flow.repo.mkdir()
    ended = flow.end(flow.command("demo", "--out", str(flow.out)))
    assert_ended(ended, "success", 0)
    assert [file.path for file in ended.report.changes.files] == ["slugs.py"]
    assert [(check.exit_code, check.name) for check in ended.report.checks] == [(0, "tests")]
    assert "diff --git a/slugs.py b/slugs.py" in ended.out
    assert flow.model.requests == []
    assert not outside or not any(flow.repo.iterdir())
