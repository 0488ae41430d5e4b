"""Each event that a spec may name starts an agent: it passes the gate, is selected, and has a commit to run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flue_ci.action.target import find_target
from flue_ci.forges.github.client import GitHub
from flue_ci.gate import policy as gate
from flue_ci.gate.event import AFTER_CHECKS, AUTOMATIC, WITH_COMMIT, Event, event_names, parse_event
from flue_ci.git.fetch import Remote, resolve
from flue_ci.spec.values import event_flaw
from tests.support.github_server import TOKEN, GitHubServer

SETTINGS = gate.GateSettings()
TAG_SHA = "7" * 40


@dataclass(frozen=True, kw_only=True)
class World:
    """A repository with a pull request of `mona` and an issue, as GitHub serves them."""

    github: GitHubServer
    pull: dict[str, Any]
    issue: dict[str, Any]

    @property
    def head(self) -> str:
        return str(self.pull["head"]["sha"])

    def event(self, signature: str, sender: str = "mona", **changes: Any) -> Event:
        """The event with a payload as GitHub documents it."""
        name, _, action = signature.partition(".")
        environ = self.github.env(name, self.github.payload(sender))
        if name == "release":
            environ |= {"GITHUB_SHA": TAG_SHA, "GITHUB_REF": "refs/tags/v1.0"}
        payload = self.github.payload(sender, **self._parts(name) | changes)
        if action:
            payload["action"] = action
        return parse_event(name, payload, environ)

    def _parts(self, name: str) -> dict[str, Any]:
        suite = {"head_sha": self.head, "head_branch": self.pull["head"]["ref"], "conclusion": "failure"}
        pull = {"number": self.pull["number"], "pull_request": self.pull}
        review = {"id": 5, "body": "Please rename it.", "user": self.pull["user"], "state": "changes_requested"}
        parts: dict[str, dict[str, Any]] = {
            "pull_request": pull,
            "pull_request_target": pull,
            "pull_request_review": pull | {"review": review | {"submitted_at": "2026-11-25T10:00:00Z"}},
            "issues": {"issue": self.issue},
            "release": {"release": {"tag_name": "v1.0", "html_url": "https://github.example.com/r/v1.0"}},
            "check_run": {"check_run": {"head_sha": self.head, "check_suite": suite, "conclusion": "failure"}},
            "check_suite": {"check_suite": suite},
            "workflow_run": {"workflow_run": {"head_sha": self.head, "head_repository": self.pull["head"]["repo"]}},
        }
        return parts.get(name, {})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with GitHubServer(tmp_path_factory.mktemp("world")) as github:
        work = github.repo("ada/tools", {"greeting.txt": "hello\n"})
        yield World(github=github, pull=github.pull(work, {"other.txt": "new\n"}), issue=github.issue())


@pytest.fixture
async def forge(world: World) -> AsyncIterator[GitHub]:
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{world.github.url}/api/v3")
    yield forge
    await forge.close()


@pytest.fixture
def remote(world: World, tmp_path: Path) -> Remote:
    return Remote(url=f"{world.github.url}/ada/tools.git", token=TOKEN, scratch=tmp_path)


@pytest.mark.family(14)
@pytest.mark.parametrize("signature", event_names())
async def test_an_event_that_a_spec_may_name_starts_its_agent(
    signature: str, world: World, forge: GitHub, remote: Remote
) -> None:
    assert event_flaw(signature) is None
    listener = gate.AgentTriggers(name="listener", events=(signature,))
    event = world.event(signature)
    assert event.signature == signature
    assert gate.decide(event, SETTINGS) == gate.Allow()
    assert gate.choose_agent(event, None, [gate.AgentTriggers(name="other"), listener]) == gate.SelectedAgent(listener)
    assert gate.authorize(event, listener, gate.ActorRoles("write", "write")) == gate.Allow()
    denial = gate.authorize(event, listener, gate.ActorRoles("none", "none"))
    assert isinstance(denial, gate.Deny) == (event.name not in AUTOMATIC)
    target = await find_target(event.without_request(), forge, remote)
    if event.name.startswith("pull_request") or event.name in AFTER_CHECKS:
        assert (target.number, target.head, target.base_ref) == (world.pull["number"], world.head, "main")
    elif event.name in WITH_COMMIT:
        assert target.head == event.sha
    else:
        assert target.ref == "main"
    assert target.trusted_sha == await resolve(remote, "main")
    if event.name in ("issues", "repository_dispatch"):
        assert (target.issue is not None) == (event.name == "issues")


async def test_a_release_runs_on_the_commit_of_its_tag_by_the_default_branchs_specs(
    world: World, forge: GitHub, remote: Remote
) -> None:
    target = await find_target(world.event("release.published"), forge, remote, trusted_branches=["**"])
    assert (target.head, target.ref, target.fetch_ref) == (TAG_SHA, "v1.0", "refs/tags/v1.0")
    assert target.trusted_sha == await resolve(remote, "main")


async def test_checks_of_a_forks_commit_need_an_open_pull_request(world: World, forge: GitHub, remote: Remote) -> None:
    suite = {"head_sha": "9" * 40, "head_branch": None}  # as GitHub sends it for a fork
    event = parse_event("check_suite", world.github.payload("mona", check_suite=suite, action="completed"), {})
    with pytest.raises(Exception, match="no open pull request's head"):
        await find_target(event, forge, remote)


@pytest.mark.parametrize("action", ["submitted", "edited", "dismissed"])
def test_a_review_that_asks_for_nothing_starts_only_agents_that_listen_to_reviews(world: World, action: str) -> None:
    event = world.event(f"pull_request_review.{action}")
    assert gate.decide(event, SETTINGS) == gate.Allow()
    choice = gate.choose_agent(event, None, [gate.AgentTriggers(name="fix-tests")], workflow_agent="fix-tests")
    assert isinstance(choice, gate.Skip)
    assert "no agent listens" in choice.reason


def test_a_review_of_a_forks_pull_request_is_skipped_because_it_gets_no_secrets(world: World) -> None:
    fork = world.pull | {"head": world.pull["head"] | {"repo": {"id": 77}}}
    decision = gate.decide(world.event("pull_request_review.submitted", pull_request=fork), SETTINGS)
    assert isinstance(decision, gate.Skip)
    assert "Two ways work" in decision.reason


@pytest.mark.parametrize(
    ("signature", "remedy"),
    [
        ("discussion.created", "issues.opened"),
        ("discussion", "issues.opened"),
        ("milestone.closed", "issues.milestoned"),
        ("issues.deleted", "issues.closed"),
        ("issues.transferred", "issues.opened"),
    ],
)
def test_an_event_that_no_agent_can_work_on_is_refused_with_one_to_use(signature: str, remedy: str) -> None:
    flaw = event_flaw(signature)
    assert flaw is not None
    assert "starts no agent" in flaw.message
    assert remedy in flaw.hint
    assert all(event_flaw(word) is None for word in flaw.hint.replace(",", "").split() if "." in word)
