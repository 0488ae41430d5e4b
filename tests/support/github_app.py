"""The GitHub App of the GitHub of the tests: proves by signed tokens, gives out tokens that are limited.

Follows https://docs.github.com/rest/apps/apps (version 2022-11-28).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.support.github_refusal import Refusal

if TYPE_CHECKING:
    from tests.support.github_server import _Handler

JSON = dict[str, Any]
APP_ID = "1234"
INSTALLATION = 77
APP_TOKEN = "ghs_canary1app1canary1app1canary1app1can"


@dataclass
class App:
    """`granted` is what the installation may; `tokens` what was asked of it, `is_installed` whether it is there."""

    is_installed: bool = True
    granted: JSON = field(default_factory=lambda: {"contents": "write", "pull_requests": "write", "metadata": "read"})
    tokens: list[JSON] = field(default_factory=list)


@cache
def private_key() -> str:
    """The App's key, a new one in each process."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def answer(handler: _Handler, path: str, given: JSON) -> JSON | None:
    """What an App is answered; None for requests that are no App's."""
    app = handler.server.app
    if path == f"/repos/{handler.server.name}/installation":
        _check_proof(handler)
        if not app.is_installed:
            raise Refusal(404, "Not Found")
        return {"id": INSTALLATION, "app_id": int(APP_ID), "permissions": app.granted}
    if path == f"/app/installations/{INSTALLATION}/access_tokens":
        _check_proof(handler)
        wanted = given.get("permissions", {})
        if any(app.granted.get(name) != level for name, level in wanted.items()):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
        app.tokens.append(given)
        return {"token": APP_TOKEN, "expires_at": "2099-01-01T00:00:00Z", "permissions": wanted}
    return None


def _check_proof(handler: _Handler) -> None:
    import jwt
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    scheme, _, proof = (handler.headers.get("Authorization") or "").partition(" ")
    public = load_pem_private_key(private_key().encode(), None).public_key()
    try:
        claims = jwt.decode(proof, public, algorithms=["RS256"], issuer=APP_ID)  # type: ignore[arg-type]
    except jwt.exceptions.PyJWTError:
        raise Refusal(401, "A JSON web token could not be decoded") from None
    if scheme != "Bearer" or claims["exp"] > time.time() + 600:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
