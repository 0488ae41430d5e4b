"""A GitHub App's id and key become a token that may little, when it is needed first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flue_ci.assembly import make_push_forge
from flue_ci.core.errors import FlueError, ForgeError, UsageError
from flue_ci.core.ports import Forge
from flue_ci.forges.github.app import make_proof
from flue_ci.safety.redact import Redactor
from flue_ci.settings import read_settings
from tests.support.github_app import APP_ID, APP_TOKEN, private_key
from tests.support.github_server import TOKEN, GitHubServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.pulls[1] = server._thing(1, "mona", "x", "y") | {"base": {}, "head": {}}
        yield server


def forge_of(server: GitHubServer, learn: Any = lambda _: None, *, wide: bool = False, **environ: str) -> Forge | None:
    place = {"GITHUB_REPOSITORY": "ada/tools", "GITHUB_API_URL": f"{server.url}/api/v3", "GITHUB_TOKEN": TOKEN}
    settings = read_settings(place | {f"FLUE_CI_{name}": value for name, value in environ.items()})
    return make_push_forge(settings, lambda _: None, learn, pull_requests=wide)


async def use(forge: Forge | None) -> None:
    assert forge
    try:
        await asyncio.gather(forge.issue(1), forge.issue(1))
    finally:
        await forge.close()


async def test_the_token_is_got_once_and_is_limited_to_the_repository_and_to_contents(server: GitHubServer) -> None:
    learned: list[str] = []
    forge = forge_of(server, learned.append, APP_ID=APP_ID, APP_PRIVATE_KEY=private_key())
    assert server.requests == []
    await use(forge)
    assert server.app.tokens == [{"repositories": ["tools"], "permissions": {"contents": "write"}}]
    assert learned == [APP_TOKEN]
    assert all(value.endswith(APP_TOKEN) for value in server.authorizations[2:])
    assert len(server.requests) == 4


async def test_pull_requests_are_asked_for_where_they_are_opened(server: GitHubServer) -> None:
    await use(forge_of(server, wide=True, APP_ID=APP_ID, APP_PRIVATE_KEY=private_key().replace("\n", "\\n")))
    assert server.app.tokens[0]["permissions"] == {"contents": "write", "pull_requests": "write"}


async def test_a_token_of_somebody_is_used_as_it_is(server: GitHubServer) -> None:
    await use(forge_of(server, PUSH_TOKEN=f" {APP_TOKEN}\n"))
    assert {value.rpartition(" ")[2] for value in server.authorizations} == {APP_TOKEN}
    assert forge_of(server) is None


async def failure(forge: Forge | None) -> FlueError:
    with pytest.raises(FlueError) as caught:
        await use(forge)
    assert "PRIVATE KEY" not in str(caught.value)
    return caught.value


async def test_what_is_wrong_with_an_app_is_said(server: GitHubServer) -> None:
    other = await failure(forge_of(server, APP_ID="99", APP_PRIVATE_KEY=private_key()))
    assert "belong together" in other.hint
    server.app.granted["contents"] = "read"
    narrow = await failure(forge_of(server, APP_ID=APP_ID, APP_PRIVATE_KEY=private_key()))
    assert "not granted" in str(narrow)
    server.app.is_installed = False
    absent = await failure(forge_of(server, APP_ID=APP_ID, APP_PRIVATE_KEY=private_key()))
    assert isinstance(absent, ForgeError)
    assert "not installed in ada/tools" in str(absent)


@pytest.mark.parametrize(
    ("app", "key", "words"),
    [
        ("", "x", "app-id"),
        ("12 34", "x", "app-id"),
        (APP_ID, "", "app-private-key"),
        (APP_ID, "no key", "app-private-key"),
        (APP_ID, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "app-private-key"),
    ],
)
def test_an_id_or_a_key_that_is_none_is_a_wrong_input(app: str, key: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_proof(app, key)


def test_a_redactor_learns_what_came_later() -> None:
    redact = Redactor(["first-secret"])
    assert redact("first-secret later-secret") == "*** later-secret"
    redact.learn("later-secret")
    assert redact("first-secret later-secret") == "*** ***"
