"""The places of this machine that the `.git` of a checkout leads to, read from its files alone.

git follows a gitfile, `commondir`, links and alternates wherever they lead. A checkout may have come in an archive
from a stranger, with its `.git`, so they may lead inside of the checkout, and to a git directory whose own files name
the checkout, as those of worktrees and submodules do. Every other place needs a yes of the user.
"""

import os
import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import one_line
from flue_ci.git.command import run_git

_LIMIT = 1_000_000  # bytes of a file that names places
_DEPTH = 5  # of alternates that have alternates, as in git
_READ_DIRECTORIES = frozenset({"objects", "refs", "info", "reftable"})
# Neither git nor flue-ci reads these where flue-ci runs git.
_UNREAD = frozenset({"annex", "branches", "hooks", "lfs", "logs", "modules", "remotes", "rr-cache", "svn", "worktrees"})
_OBJECTS = re.compile("info|pack|[0-9a-f]{2}")  # the directories of an object store
# An entry of alternates, as git reads it: what follows a closing quote and one more character is the next entry.
_ENTRY = re.compile(rb'(?:#[^\n]*|"((?:[^"\\]|\\(?:[abfnrtv"\\]|[0-3][0-7]{2}))*)"|([^\n]*)).?', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsidePlace:
    """What lies outside of the checkout: `path` in the checkout leads into `directory`, a git directory as a rule, and
    `reason` says how."""

    path: str
    directory: Path
    reason: str

    def __str__(self) -> str:
        return f"{one_line(self.path, 200)} {self.reason} {one_line(str(self.directory), 300)}"

    @property
    def option(self) -> str:
        """The option that allows it, quoted for a shell."""
        return f"--allow-git-dir {shlex.quote(str(self.directory))}"


def check_places(top: Path, allowed: Collection[Path]) -> None:
    """Raises `WorkspaceError` for the first place outside of the work tree `top` that is not below one of `allowed`."""
    for place in outside_places(top, allowed):
        raise WorkspaceError(
            f"{place}, which does not belong to this checkout",
            hint=f"Its commits and files would travel. If they may: {place.option}",
        )


def outside_places(top: Path, allowed: Collection[Path] = ()) -> tuple[OutsidePlace, ...]:
    """The places that `top`/.git leads to and that are not below one of `allowed`. Nothing behind such a place is
    looked at; once it is allowed there may be more."""
    survey = _Survey(top=_real(top), allowed=[_real(path) for path in allowed])
    survey.look_at(survey.top / ".git")
    return tuple(survey.places.values())


@dataclass(slots=True)
class _Survey:
    """`areas` are directories that belong to the checkout, `places` those that do not, by their path."""

    top: Path
    allowed: list[Path]
    areas: list[Path] = field(default_factory=list)
    places: dict[Path, OutsidePlace] = field(default_factory=dict)
    visited: set[Path] = field(default_factory=set)

    def look_at(self, marker: Path) -> None:
        """Follows `.git`, as git does, and everything behind it."""
        git_dir = marker
        if marker.is_file():
            git_dir = self.top / _path_in(marker).removeprefix("gitdir: ")
            if _names(git_dir, self.top):
                self.areas.append(_real(git_dir))
            elif not self._may_follow(marker, git_dir, "points to"):
                return
        elif marker.is_symlink() and not self._may_follow(marker, marker, "is a link to"):
            return
        common = git_dir = _real(git_dir)
        pointer = git_dir / "commondir"
        if os.path.lexists(pointer):
            common = _real(git_dir / _path_in(pointer))
            # A worktree's own directory lies in the repository that it belongs to.
            if marker.is_file() and git_dir.parent == common / "worktrees":
                self.areas.append(common)
            elif not self._may_follow(pointer, common, "points to"):
                return
        for directory in dict.fromkeys((git_dir, common)):
            self._look_into(directory)
        self._follow_alternates(common / "objects", depth=0)

    def _may_follow(self, path: Path, target: Path, reason: str) -> bool:
        """Whether the target belongs to the checkout or is allowed; if not, it is noted."""
        real = _real(target)
        directory, name = _git_directory(real), path
        if directory in self.areas or any(real.is_relative_to(area) for area in (self.top, *self.allowed)):
            return True
        if path.is_relative_to(self.top):
            name = path.relative_to(self.top)
        self.places.setdefault(directory, OutsidePlace(path=str(name), directory=directory, reason=reason))
        return False

    def _look_into(self, directory: Path) -> None:
        """Links at the top of a git directory, and in all that git reads below."""
        for entry in _entries(directory):
            if entry.name not in _UNREAD:
                self._look_at_entry(entry, is_read=entry.name.lower() in _READ_DIRECTORIES)

    def _walk(self, directory: Path) -> None:
        if directory not in self.visited:
            self.visited.add(directory)
            for entry in _entries(directory):
                self._look_at_entry(entry, is_read=True)

    def _look_at_entry(self, entry: os.DirEntry[str], *, is_read: bool) -> None:
        if not entry.is_symlink() and not (is_read and entry.is_dir(follow_symlinks=False)):
            return
        path = Path(entry.path)
        if entry.is_symlink():
            if not self._may_follow(path, path, "is a link to"):
                return
            path = _real(path)
        if is_read:
            self._walk(path)

    def _follow_alternates(self, objects: Path, *, depth: int) -> None:
        if depth > _DEPTH:
            return
        list_file = objects / "info/alternates"
        for target in _alternates(objects, list_file):
            if target.is_dir() and self._may_follow(list_file, target, "takes objects from"):
                for entry in _entries(_real(target)):
                    if _OBJECTS.fullmatch(entry.name):
                        self._look_at_entry(entry, is_read=True)
                self._follow_alternates(_real(target), depth=depth + 1)


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError:  # git cannot read it either
        return


def _names(git_dir: Path, top: Path) -> bool:
    """Whether a git directory names the work tree `top`: by its file `gitdir` (worktrees; a relative path is one from
    there), or by `core.worktree` (submodules)."""
    back = git_dir / "gitdir"
    if back.is_file():
        marker = git_dir / _path_in(back)
        return marker.name == ".git" and _real(marker.parent) == top
    for file in ("config", "config.worktree"):
        if (git_dir / file).is_file():
            result = run_git("config", "--file", str(git_dir / file), "--get", "core.worktree", cwd=top)
            if result.code == 0:
                return _real(git_dir / result.line) == top
    return False


def _git_directory(path: Path) -> Path:
    """The git directory that `path` lies in; itself where it lies in none."""
    for directory in (path, *path.parents):
        if (directory / "HEAD").is_file() and (directory / "objects").is_dir():
            return directory
    return path


def _alternates(objects: Path, list_file: Path) -> Iterator[Path]:
    """The directories in `objects/info/alternates` (gitrepository-layout): a path on each line, from `objects` when it
    is relative, in double quotes with escapes when it begins with one. git takes `..` out of the text, whatever the
    name before it leads to."""
    for quoted, plain in _ENTRY.findall(_read(list_file)):
        if name := plain or _ESCAPE.sub(_unescape, quoted):
            yield Path(os.path.normpath(_real(objects) / os.fsdecode(name)))


def _unescape(match: re.Match[bytes]) -> bytes:
    if len(match[1]) == 3:
        return bytes([int(match[1], 8) & 255])
    return _ESCAPES.get(match[1], match[1])


def _path_in(path: Path) -> str:
    return os.fsdecode(_read(path).rstrip(b"\r\n"))


def _real(path: Path) -> Path:
    """With all links followed; unlike `Path.resolve` also where they lead in a circle."""
    return Path(os.path.realpath(path))


def _read(path: Path) -> bytes:
    """The content up to a NUL, where paths end for git; empty for what is no ordinary file or cannot be read. Raises
    `WorkspaceError` for a file that is too large."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except (OSError, ValueError):
        return b""
    if len(content) > _LIMIT:
        raise WorkspaceError(f"{one_line(str(path), 300)} is too large to say where a repository is")
    return content.partition(b"\0")[0]
