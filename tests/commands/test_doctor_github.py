"""What `flue-ci doctor --github` sees of a repository, and what it says where it may not look."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flue_ci.commands.doctor import examine
from flue_ci.commands.local_publishing import remote_repository
from flue_ci.core.errors import UsageError
from flue_ci.settings import read_settings
from flue_ci.spec.starter import starter_spec, starter_workflow
from tests.support.github_server import TOKEN, GitHubServer

WORKFLOW = ".github/workflows/flue.yml"
AGENT = ".flue/agents/fix-tests.yml"
FILES = {WORKFLOW: starter_workflow(), AGENT: starter_spec("fix-tests")}
Rows = list[tuple[str, str, str, str]]  # state, name, text, hint
Doctor = Callable[[], tuple[int, Rows]]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.secrets = {"actions": ["ANTHROPIC_API_KEY"], "organization": ["E2B_API_KEY"]}
        yield server


@pytest.fixture
def doctor(github: GitHubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    def call() -> tuple[int, Rows]:
        if not (github.root / "ada/tools.git").exists():
            github.repo("ada/tools", FILES)
        (tmp_path / "checkout").mkdir(exist_ok=True)
        environ = {"GITHUB_REPOSITORY": "ada/tools", "GITHUB_TOKEN": TOKEN, "HOME": str(tmp_path)}
        environ |= {"GITHUB_API_URL": f"{github.url}/api/v3", "GITHUB_SERVER_URL": github.url}
        code = examine(tmp_path / "checkout", environ, offline=False, as_json=True, github=True)
        out = capsys.readouterr().out
        assert TOKEN not in out
        return code, [(row["state"], row["name"], row["text"], row["hint"]) for row in json.loads(out)]

    return call


def problems(rows: Rows) -> dict[str, str]:
    return {name: f"{text} → {hint}" for state, name, text, hint in rows if state == "problem"}


def test_what_init_writes_is_a_complete_set_up(doctor: Doctor) -> None:
    code, rows = doctor()
    assert (code, problems(rows)) == (0, {})
    assert [(state, name) for state, name, _, _ in rows] == [
        ("ok", name) for name in ("repository", "Actions", "workflow", "permissions", "secrets", "agents")
    ]


def test_every_line_has_a_mark(github: GitHubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    github.repo("ada/tools", FILES)
    github.secrets = {}
    environ = {"GITHUB_REPOSITORY": "ada/tools", "GH_TOKEN": TOKEN, "GITHUB_API_URL": f"{github.url}/api/v3"}
    assert examine(tmp_path, environ, offline=False, as_json=False, github=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines if not line.startswith(" ")] == list("✓✓✓✓✗✓")
    assert any("→ gh secret set E2B_API_KEY --repo ada/tools" in line for line in lines)


def test_nothing_on_the_default_branch(github: GitHubServer, doctor: Doctor, tmp_path: Path) -> None:
    github.repo("ada/tools", {"README.md": "x"})
    local = tmp_path / "checkout" / AGENT
    local.parent.mkdir(parents=True)
    local.write_text(starter_spec("fix-tests"))
    code, rows = doctor()
    assert code == 1
    assert "flue-ci init --github" in problems(rows)["workflow"]
    assert "none in .flue/agents on main" in problems(rows)["agents"]
    assert ("note", "agents", "only in this checkout: fix-tests.yml") in [row[:3] for row in rows]


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        ({"actions": {"enabled": False}}, "Actions", "disabled in this repository → allow them: "),
        ({"actions": {"enabled": True, "allowed_actions": "local_only"}}, "Actions", "/settings/actions"),
        (
            {"actions": {"enabled": True, "allowed_actions": "selected"}, "action_patterns": ["ada/*"]},
            "Actions",
            "add flue-ci/flue-ci@*",
        ),
        (
            {"actions": {"enabled": True, "allowed_actions": "selected"}, "allows_own_actions": False},
            "Actions",
            "add actions/upload-artifact@*",
        ),
        ({"secrets": {"actions": ["E2B_API_KEY"]}}, "secrets", "ANTHROPIC_API_KEY: missing → gh secret set ANTHROPIC"),
        ({"workflow_states": {WORKFLOW: "disabled_inactivity"}}, "workflow", "gh workflow enable flue.yml"),
        ({"archived": True}, "repository", "archived"),
    ],
)
def test_what_is_not_set_up_is_one_line_with_a_remedy(
    github: GitHubServer, doctor: Doctor, change: dict[str, object], name: str, text: str
) -> None:
    for key, value in change.items():
        setattr(github, key, value)
    code, rows = doctor()
    assert (code, list(problems(rows))) == (1, [name])
    assert text in problems(rows)[name]


REPAIRS = {AGENT: (Path(__file__).parents[2] / "examples/agents/repair-ci.yml").read_text(encoding="utf-8")}
OPENS_PULLS = {AGENT: "version: 1\nprompt: x\npublish: {changes: pull-request}\n"}


@pytest.mark.parametrize(
    ("files", "may_open", "expected"),
    [
        ({}, False, {}),  # no agent opens any
        (OPENS_PULLS | {WORKFLOW: starter_workflow(["pull-request"])}, True, {}),
        (
            OPENS_PULLS | {WORKFLOW: starter_workflow(["pull-request"])},
            False,
            {"pull requests": "“Allow GitHub Actions to create and approve pull requests” is off → allow it: "},
        ),
        (
            REPAIRS | {WORKFLOW: starter_workflow(["commit"])},
            True,
            {"permissions": "agents repair CI, for which no workflow has the permission"},
        ),
        (OPENS_PULLS, True, {"permissions": "for which no workflow has the permission → in the job that publishes:"}),
        (
            OPENS_PULLS | {WORKFLOW: starter_workflow() + "# contents: write\n"},
            True,
            {"permissions": "contents: write"},
        ),
        (
            OPENS_PULLS | {WORKFLOW: starter_workflow().replace("contents: read", "contents: write")},
            True,
            {},
        ),
    ],
)
def test_agents_that_open_pull_requests_may_do_so(
    github: GitHubServer, doctor: Doctor, files: dict[str, str], may_open: bool, expected: dict[str, str]
) -> None:
    github.repo("ada/tools", FILES | files)
    github.pull_settings.may_create = may_open
    code, rows = doctor()
    assert (code, list(problems(rows))) == (int(bool(expected)), list(expected))
    for name, text in expected.items():
        assert text in problems(rows)[name]


def test_a_setting_that_cannot_be_seen_is_a_note_with_its_place(github: GitHubServer, doctor: Doctor) -> None:
    github.repo("ada/tools", FILES | OPENS_PULLS | {WORKFLOW: starter_workflow(["pull-request"])})
    github.actions = None
    code, rows = doctor()
    assert code == 0
    (note,) = [row for row in rows if row[:2] == ("note", "pull requests")]
    assert "/ada/tools/settings/actions" in note[3]


NO_PERMISSIONS = starter_workflow().replace("permissions:", "x-permissions:").replace("x-permissions: {}", "")


@pytest.mark.parametrize(
    ("files", "name", "text"),
    [
        (
            {
                WORKFLOW: starter_workflow()
                .replace("issues: write", "")
                .replace("pull-requests: write", "# issues: write")
            },
            "permissions",
            "issues: write, pull-requests: write",
        ),
        ({WORKFLOW: starter_workflow().replace("contents: read", "")}, "permissions", "contents: read"),
        ({WORKFLOW: NO_PERMISSIONS.replace("x-permissions", "env")}, "permissions", "may write no comment"),
        ({WORKFLOW: starter_workflow().replace("secrets.E2B_API_KEY", "secrets.OTHER")}, "secrets", "OTHER: missing"),
        ({AGENT: "version: 1\npromt: x\n"}, "agents", "promt"),
        (
            {AGENT: "version: 1\nprompt: x\nsandbox: {secrets: [NPM_TOKEN]}\n"},
            "agents",
            "NPM_TOKEN: ${{ secrets.NPM_TOKEN",
        ),
    ],
)
def test_files_of_the_default_branch_are_read(
    github: GitHubServer, doctor: Doctor, files: dict[str, str], name: str, text: str
) -> None:
    github.repo("ada/tools", FILES | files)
    code, rows = doctor()
    assert (code, list(problems(rows))) == (1, [name])
    assert text in problems(rows)[name]


@pytest.mark.parametrize(
    "text", ["keys", "{name: keys}", "\n      name: keys\n      url: https://example.com", "'keys'"]
)
def test_secrets_of_an_environment_count(github: GitHubServer, doctor: Doctor, text: str) -> None:
    workflow = starter_workflow().replace("    runs-on:", f"    environment: {text}\n    runs-on:")
    github.repo("ada/tools", FILES | {WORKFLOW: workflow})
    github.secrets = {"keys": ["ANTHROPIC_API_KEY", "E2B_API_KEY"]}
    assert doctor()[0] == 0


def test_what_the_token_may_not_see_is_said_and_is_no_problem(github: GitHubServer, doctor: Doctor) -> None:
    github.actions = github.secrets = None
    code, rows = doctor()
    assert code == 0
    notes = {name: (text, hint) for state, name, text, hint in rows if state == "note"}
    assert list(notes) == ["Actions", "secrets"]
    assert "403" in notes["secrets"][0]
    assert "looked for: ANTHROPIC_API_KEY, E2B_API_KEY" in notes["secrets"][0]
    assert "/ada/tools/settings/secrets/actions" in notes["secrets"][1]


FAULTS: list[dict[str, object]] = [
    {"status": 403},
    {"status": 404},
    {"status": 429},
    {"status": 502},
    {"drop": "before"},
    {"status": 200, "body": b"<html>"},
    {"status": 200, "body": b'[1, null, {"name": 3}]'},
]
ROUTES = ("permissions", "workflow", "workflows", "secrets", "organization-secrets", "agents", "flue.yml")


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_whatever_github_answers_there_is_a_line_for_everything(
    github: GitHubServer, doctor: Doctor, fault: dict[str, object]
) -> None:
    for route in ROUTES:
        github.faults.add(f"GET {route}", times=None, **fault)
    _, rows = doctor()
    names = {name for _, name, text, hint in rows if text and (hint or name == "repository")}
    assert {"repository", "Actions", "workflow", "secrets", "agents"} <= names, rows
    github.faults.add("GET tools", times=None, **fault)
    _, rows = doctor()
    assert rows
    assert all(text for _, _, text, _ in rows)


def test_a_server_out_of_reach_is_one_line(doctor: Doctor, github: GitHubServer) -> None:
    github.repo("ada/tools", FILES)
    github.faults.add("GET tools", times=None, drop="before")
    code, rows = doctor()
    assert (code, list(problems(rows))) == (1, ["repository"])
    assert "cannot be reached" in problems(rows)["repository"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/ada/tools", "ada/tools"),
        ("https://github.com/ada/tools.git", "ada/tools"),
        ("https://ada:secret@github.com/ada/to.ols.git/", "ada/to.ols"),
        ("git@github.com:ada/tools.git", "ada/tools"),
        ("ssh://git@github.com/ada/tools", "ada/tools"),
        ("ssh://git@ssh.github.com:443/ada/tools.git", "ada/tools"),
        ("https://evil.example.com/ada/tools", ""),
        ("https://github.com.evil.example.com/ada/tools", ""),
        ("../elsewhere", ""),
        ("", ""),
    ],
)
def test_the_repository_is_that_of_the_remote_and_the_token_goes_to_no_other_server(
    tmp_path: Path, address: str, expected: str
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    if address:
        subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    if expected:
        assert remote_repository(tmp_path, read_settings({})) == expected
    else:
        with pytest.raises(UsageError) as caught:
            remote_repository(tmp_path, read_settings({}))
        assert "GITHUB_" in caught.value.hint


@pytest.mark.parametrize("address", ["git@work:ada/tools.git", "work:ada/tools", "git@github.com-work:ada/tools.git"])
def test_a_name_of_ssh_is_not_taken_for_an_enterprise_server_only(tmp_path: Path, address: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    with pytest.raises(UsageError) as caught:
        remote_repository(tmp_path, read_settings({}))
    assert "when ssh knows github.com by that name: GITHUB_REPOSITORY=ada/tools" in caught.value.hint
