"""What the user has allowed for good: each yes with its checkout, in one file of the user's state folder.

The file counts only when nobody else can have written it: it belongs to the user, so does its folder, neither is a
link, and it lies outside of the checkout in question.
"""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from flue_ci.core.private_file import write_private_file

_VERSION = 1
_LIMIT = 10_000_000
_OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """`checkout` is the real path of a work tree, `digest` the SHA-256 of what was allowed, `items` the same for
    people, `date` the day (UTC)."""

    checkout: str
    digest: str
    items: tuple[str, ...]
    date: str


class ConsentStore:
    """The consents in `folder`/consents.json. A file that is missing, broken or not the user's own holds none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "consents.json"

    def all(self) -> list[Consent]:
        """Every yes, oldest first."""
        try:
            if not _is_own(self._folder, stat.S_ISDIR):
                return []
            with open(self.path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
                if not _is_own(file.fileno(), stat.S_ISREG):
                    return []
                content = json.loads(file.read(_LIMIT))
            return [_consent(entry) for entry in content["allowed"] if content["version"] == _VERSION]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def holds(self, checkout: Path, digest: str) -> bool:
        """Whether exactly this was allowed for this checkout."""
        if self._lies_in(checkout):
            return False
        return any((consent.checkout, consent.digest) == (str(checkout), digest) for consent in self.all())

    def add(self, checkout: Path, digest: str, items: tuple[str, ...]) -> str:
        """Remembers a yes. Returns why it cannot be remembered, or ""."""
        if self._lies_in(checkout):
            return f"{self.path} lies in the checkout"
        consent = Consent(checkout=str(checkout), digest=digest, items=items, date=f"{datetime.now(UTC):%Y-%m-%d}")
        try:
            self._write([*self.all(), consent])
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return ""

    def forget(self, checkout: Path | None) -> list[Consent]:
        """Removes the consents of a checkout, or all of them; returns those that were removed. Raises `OSError`."""
        everything = self.all()
        rest = [consent for consent in everything if checkout is not None and consent.checkout != str(checkout)]
        if len(rest) < len(everything):
            self._write(rest)
        return [consent for consent in everything if consent not in rest]

    def _lies_in(self, checkout: Path) -> bool:
        return Path(os.path.realpath(self.path)).is_relative_to(checkout)

    def _write(self, consents: list[Consent]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError(0, "its folder is a link, or another user's")
        self._folder.chmod(0o700)
        content = {"version": _VERSION, "allowed": [asdict(consent) for consent in consents]}
        write_private_file(self.path, json.dumps(content, indent=1).encode() + b"\n")


def _consent(entry: dict[str, object]) -> Consent:
    items = entry["items"]
    if not isinstance(items, list):
        raise TypeError("`items` is no list")
    texts = {name: str(entry[name]) for name in ("checkout", "digest", "date")}
    return Consent(items=tuple(map(str, items)), **texts)


def _is_own(place: Path | int, is_kind: Callable[[int], bool]) -> bool:
    """Whether a path (its last part no link) or open file is of the kind, the user's own, and writable by nobody
    else."""
    status = os.fstat(place) if isinstance(place, int) else os.lstat(place)
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY_WRITE
