"""Downloads contents by the batch API of Git LFS (its specification: `docs/api/batch.md`), from the forge alone.

The token goes to the repository's own address and is never redirected; where that sends us for the contents, only the
headers that it names go along, and to the first address alone.
"""

import asyncio
import base64
import hashlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from flue_ci.core.concurrency import together
from flue_ci.core.errors import ForgeError
from flue_ci.core.retry import Retry
from flue_ci.core.text import one_line, origin
from flue_ci.git.fetch import Remote
from flue_ci.git.submodules import is_public

_TYPE = "application/vnd.git-lfs+json"
_BATCH = 100  # objects in one request, which GitHub takes
_AT_ONCE = 4
_SECONDS = 60.0  # of silence
_ANSWER_BYTES = 10_000_000
_CHUNK = 1 << 18
_REDIRECTS = 5
_HEADERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LfsPointer:
    """A content by its SHA-256 and its size in bytes, and the file of the tree (`mode` is git's) that stands for it."""

    oid: str
    size: int
    path: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a content is, and the headers to ask with."""

    url: str
    headers: Mapping[str, str]


class _Temporary(ForgeError):
    """It may go better the next time."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: what is sent along to the next address is decided here."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _PublicConnection(http.client.HTTPSConnection):
    """Asks no address that is not public. Behind a proxy it is the proxy that has the address."""

    is_direct = True

    def set_tunnel(self, *arguments: Any, **options: Any) -> None:
        self.is_direct = False
        super().set_tunnel(*arguments, **options)

    def connect(self) -> None:
        super().connect()
        address = self.sock.getpeername()[0]
        if self.is_direct and not is_public(address):
            self.close()
            raise ForgeError(f"{self.host} is at {address}, an address that is not public")


class _PublicHandler(urllib.request.HTTPSHandler):
    """For servers other than the forge: what a stranger's file names is not to lead into the network of this machine,
    nor are the places that such a server names."""

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_PublicConnection, request)


async def download(remote: Remote, objects: Sequence[LfsPointer], folder: Path) -> dict[str, str]:
    """Writes contents to `folder`, each in a file with its `oid` for a name. Returns a reason for each that could not
    be had. Raises `ForgeError` when the API cannot be asked."""
    problems: dict[str, str] = {}
    slots, end = asyncio.Semaphore(_AT_ONCE), threading.Event()

    async def fetch(each: LfsPointer, place: _Place) -> None:
        async with slots:
            try:
                await _retry(remote, _download, remote, place, each, folder, end)
            except ForgeError as error:
                problems[each.oid] = str(error)

    try:
        for start in range(0, len(objects), _BATCH):
            batch = objects[start : start + _BATCH]
            answer = await _retry(remote, _ask, remote, batch)
            places, more = _read_answer(remote, answer, batch)
            problems |= more
            await together(*(fetch(each, places[each.oid]) for each in batch if each.oid in places))
    finally:
        end.set()  # for threads that a cancellation leaves behind
    return problems


async def _retry(remote: Remote, call: Any, *arguments: Any) -> Any:
    retry = Retry(remote.retry)
    while True:
        try:
            return await asyncio.to_thread(call, *arguments)
        except _Temporary as error:
            wait = retry.next_wait()
            if wait is None:
                raise ForgeError(str(error), hint=error.hint) from None
            await asyncio.sleep(wait)


def _ask(remote: Remote, batch: Sequence[LfsPointer]) -> Any:
    """The answer to one request for the places of contents."""
    wishes = [{"oid": each.oid, "size": each.size} for each in batch]
    body = {"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": wishes}
    headers = {"Accept": _TYPE, "Content-Type": _TYPE} | _authorization(remote)
    url = f"{remote.url.removesuffix('.git')}.git/info/lfs/objects/batch"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 (an address that git takes)
    with _open(remote, request) as answer:
        if answer.status != 200:
            raise ForgeError(_describe(answer.status, url))
        text = answer.read(_ANSWER_BYTES)
    try:
        return json.loads(text)
    except ValueError:
        raise ForgeError(f"{urlsplit(url).hostname} does not answer as Git LFS does") from None


def _read_answer(remote: Remote, answer: Any, batch: Sequence[LfsPointer]) -> tuple[dict[str, _Place], dict[str, str]]:
    """The places by oid, and a reason for each content without one."""
    places: dict[str, _Place] = {}
    problems = {each.oid: "the forge does not have them" for each in batch}
    entries = []
    if isinstance(answer, dict) and isinstance(answer.get("objects"), list):
        entries = [entry for entry in answer["objects"] if isinstance(entry, dict) and entry.get("oid") in problems]
    for entry in entries:
        try:
            if error := entry.get("error"):
                problems[entry["oid"]] = f"the forge answers: {one_line(str(error['message']), 100)}"
                continue
            action = entry["actions"]["download"]
            headers = {str(name): str(value) for name, value in (action.get("header") or {}).items()}
            places[entry["oid"]] = _checked_place(remote, str(action["href"]), headers)
            del problems[entry["oid"]]
        except (KeyError, TypeError, AttributeError, ValueError):
            problems[entry["oid"]] = "the forge names no address for them"
    return places, problems


def _checked_place(remote: Remote, url: str, headers: Mapping[str, str]) -> _Place:
    """Raises `ValueError` for an address that is not asked."""
    if not _may_ask(remote, url) or len(headers) > _HEADERS:
        raise ValueError(url)
    own = origin(url) == origin(remote.url)
    if own and "authorization" not in (name.lower() for name in headers):
        headers = {**headers, **_authorization(remote)}
    return _Place(url, headers)


def _download(remote: Remote, place: _Place, content: LfsPointer, folder: Path, end: threading.Event) -> None:
    """Brings one content; the file gets its name when size and hash are right."""
    part = folder / f"{content.oid}.part"
    digest, size = hashlib.sha256(), 0
    with _follow(remote, place) as answer, part.open("wb") as file:
        try:
            while chunk := answer.read(min(_CHUNK, content.size - size + 1)):
                digest.update(chunk)
                file.write(chunk)
                size += len(chunk)
                if end.is_set() or size > content.size:
                    break
        except (OSError, http.client.HTTPException) as error:
            raise _Temporary(f"the transfer broke off: {one_line(str(error), 100)}") from None
    if size < content.size and not end.is_set():
        raise _Temporary("the transfer broke off")
    if size != content.size or digest.hexdigest() != content.oid:
        raise ForgeError("what the forge gives out is not what the pointer names")
    part.rename(folder / content.oid)


def _follow(remote: Remote, place: _Place) -> Any:
    """The answer with the content. Where it redirects, no header goes along."""
    url, headers = place.url, place.headers
    for _ in range(_REDIRECTS):
        try:
            request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 (see `_may_ask`)
            answer = _open(remote, request)
        except ValueError:
            raise ForgeError("the forge names an address or a header that cannot be asked with") from None
        if answer.status == 200:
            return answer
        status, target = answer.status, answer.headers.get("Location", "")
        answer.close()
        if not 300 <= status < 400 or not target:
            raise ForgeError(_describe(status, url))
        url, headers = urljoin(url, target), {}
        if not _may_ask(remote, url):
            raise ForgeError("the forge redirects to an address that is not https")
    raise ForgeError("the forge redirects again and again")


def _open(remote: Remote, request: urllib.request.Request) -> Any:
    """The answer, whatever its status. Raises `_Temporary` for a server out of reach, or in trouble."""
    url = request.full_url
    handlers: list[Any] = [_NoRedirect]
    if remote.addresses:
        handlers.append(_PublicHandler)
    try:
        answer = urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        answer = error
    except (OSError, http.client.HTTPException) as error:
        reason = one_line(str(getattr(error, "reason", error)), 100)
        raise _Temporary(f"{urlsplit(url).hostname} cannot be reached: {reason}") from None
    if answer.status == 429 or answer.status >= 500:
        answer.close()
        raise _Temporary(_describe(answer.status, url))
    return answer


def _may_ask(remote: Remote, url: str) -> bool:
    scheme, host, _ = origin(url)
    return bool(host) and (scheme == "https" or origin(url) == origin(remote.url))


def _authorization(remote: Remote) -> dict[str, str]:
    if not remote.token:
        return {}
    basic = base64.b64encode(f"x-access-token:{remote.token.strip()}".encode()).decode()
    return {"Authorization": f"Basic {basic}"}


def _describe(status: int, url: str) -> str:
    host = urlsplit(url).hostname
    if status in (401, 403, 404):
        return f"{host} does not give them out with this token, or without one ({status})"
    if 300 <= status < 400:
        return f"{host} leads to another address ({status}), where no token is sent"
    return f"{host} answers {status}"
