"""A GitHub App's own token for one repository, made of its id and private key when it is needed first.

Source: https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flue_ci.core.errors import ForgeError, UsageError
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github import parse
from flue_ci.forges.github.client import GitHub
from flue_ci.forges.github.http import ApiRequest, ApiResponse, ConnectionPool, FindExisting
from flue_ci.forges.github.retry import RETRY_POLICY
from flue_ci.settings import GitHubSettings, Settings

_SECONDS = 300  # that the proof is good for; GitHub takes 600 at most, and clocks differ
_BACKDATE = 60
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)  # a number, or a client id
_KEY_HINT = "give the whole file that GitHub made for the App, from `-----BEGIN` to the end, as a secret"


def open_push_forge(
    settings: Settings, notify: Callable[[str], None], learn: Callable[[str], None], *, pull_requests: bool
) -> GitHub | None:
    """GitHub with the token of the input `push-token`, or of a GitHub App: that one is asked for when it is needed
    first, and `learn` gets it; `pull_requests`: it has to open them, too. None: neither is there."""
    github = settings.github
    retry = replace(RETRY_POLICY, timeout=settings.retry_timeout_seconds or RETRY_POLICY.timeout)
    if github.push_token:
        return GitHub(token=github.push_token, retry=retry, notify=notify, **_place(github))
    if github.app_id or github.app_private_key:
        return AppGitHub(github, retry=retry, notify=notify, learn=learn, pull_requests=pull_requests)
    return None


def _place(settings: GitHubSettings) -> dict[str, str]:
    return {"repo": settings.repo, "api_url": settings.api_url, "graphql_url": settings.graphql_url}


class AppGitHub(GitHub):
    """A `Forge` as the App of `settings` sees it. Its token is limited to this repository, and to writing contents
    (with `pull_requests` those as well); `learn` gets it before it is used."""

    def __init__(
        self,
        settings: GitHubSettings,
        *,
        retry: RetryPolicy,
        notify: Callable[[str], None],
        learn: Callable[[str], None],
        pull_requests: bool = False,
    ) -> None:
        super().__init__(token="", retry=retry, notify=notify, **_place(settings))
        self._settings, self._learn = settings, learn
        self._permissions = {"contents": "write"}
        if pull_requests:
            self._permissions["pull_requests"] = "write"
        self._token_lock = asyncio.Lock()

    async def _send(self, request: ApiRequest, find_existing: FindExisting | None = None) -> ApiResponse:
        async with self._token_lock:
            if not self._token:
                token = await self._fetch_token()
                self._learn(token)
                self._token = token
                self._rest_connections = ConnectionPool(self._settings.api_url, token)
                self._graphql_connections = ConnectionPool(self._graphql_url, token)
        return await super()._send(request, find_existing)

    async def _fetch_token(self) -> str:
        """Raises `UsageError` for an id or a key that is none, `ForgeError` when GitHub gives no token."""
        settings = self._settings
        proof = await asyncio.to_thread(make_proof, settings.app_id, settings.app_private_key)
        app = GitHub(token=proof, retry=self._retry_policy, notify=self._notify, **_place(settings))
        try:
            installation = parse.number(await _ask(app, settings.repo), "id")
            body = {"repositories": [settings.repo.partition("/")[2]], "permissions": self._permissions}
            request = ApiRequest(
                "get a token for the App", "POST", f"/app/installations/{installation}/access_tokens", body=body
            )
            token = parse.text((await app._send(request)).data, "token")
        finally:
            await app.close()
        if not token:
            raise ForgeError("GitHub's answer is not understood (get a token for the App)")
        return token


async def _ask(app: GitHub, repo: str) -> Any:
    """The App's installation in the repository."""
    try:
        return (await app._send(ApiRequest("find the App's installation", "GET", f"/repos/{repo}/installation"))).data
    except ForgeError as error:
        if error.status == 404:
            raise ForgeError(
                f"the GitHub App is not installed in {repo}",
                hint="install it there, with the permission to write contents",
                status=404,
            ) from None
        if error.status == 401:
            hint = "do the inputs `app-id` and `app-private-key` belong together?"
            raise ForgeError(f"GitHub does not know the App: {error}", hint=hint, status=401) from None
        raise


def make_proof(app_id: str, private_key: str) -> str:
    """What proves the App to GitHub: a signed JSON Web Token (RS256). Blocks. Raises `UsageError`; its text never shows
    the key."""
    import jwt

    if not _ID.fullmatch(app_id):
        raise UsageError("input `app-id` is missing or is no App's id", hint="the number on the App's page")
    if not private_key:
        raise UsageError("input `app-private-key` is empty", hint=_KEY_HINT)
    now = int(time.time())
    claims = {"iat": now - _BACKDATE, "exp": now + _SECONDS, "iss": app_id}
    key = private_key.replace("\\n", "\n")  # as some stores of secrets keep it
    try:
        return jwt.encode(claims, f"{key}\n", algorithm="RS256")
    except (jwt.exceptions.PyJWTError, ValueError, TypeError, AttributeError) as error:  # the latter: of another kind
        reason = f"input `app-private-key` is no private key of a GitHub App ({type(error).__name__})"
        raise UsageError(reason, hint=_KEY_HINT) from None
