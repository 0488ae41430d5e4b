"""Which paths and symbolic links from strangers are accepted. The strictest file system among those of users decides:
names that only Windows or macOS would take for `.git` are refused everywhere. And which files of a checkout are read:
its text is trusted, but its links may lead elsewhere.
"""

import re
import unicodedata
from pathlib import Path

from flue_ci.core.text import one_line

# HFS+ (macOS) ignores these characters in names.
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_GIT_ALIASES = re.compile(r"\.git|git~\d+")
# What an interpreter or compiler makes beside the sources; also an extended regular expression of grep's.
BYTECODE = r"(^|/)__pycache__/|\.(py[co]|class|beam)$"
_MODULES_ALIASES = re.compile(r"\.gitmodules|gitmod~\d+|(?=.{8}$)gi?7?e?b?a?~[1-9]\d*")


def path_problem(path: str, *, in_base: bool = False) -> str | None:
    """Why a path (as from `os.fsdecode`) may not change; None when it may. Rules beyond those that git has itself.

    `in_base`: the repository has the path already, so control characters in it are not the patch's doing.
    """
    if not path:
        return None
    if _SURROGATES.search(path):
        return "the name is not UTF-8"
    if _UNPRINTABLE.search(path) and not in_base:
        return "the name holds control characters"
    parts = path.split("/")
    windows_parts = re.split(r"[/\\]", path)
    if "" in parts or "." in parts or ".." in windows_parts:
        return "the path is not a plain relative one"
    if any(_is_git(part) for part in windows_parts):
        return "the path leads into a .git directory"
    if _MODULES_ALIASES.fullmatch(_fold_name(parts[-1])):
        return "submodules cannot be changed here"
    return None


def link_problem(path: str, target: bytes) -> str | None:
    """Why a symbolic link at `path` is not accepted; None when it stays inside the repository for certain.

    `..` is accepted at the start only: after a name it means the parent of the place that the name leads to, which may
    be another link.
    """
    try:
        text = target.decode()
    except UnicodeDecodeError:
        return "its target is not UTF-8"
    if not text or _UNPRINTABLE.search(text):
        return "its target is no plain path"
    if text.startswith("/") or "\\" in text or re.match(r"[A-Za-z]:", text):
        return f"its target {display_name(text)} is not relative"
    parts = [part for part in text.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs > path.count("/"):
        return f"its target {display_name(text)} is outside of the repository"
    if ".." in parts[climbs:]:
        return f"its target {display_name(text)} has .. after a name"
    if any(_is_git(part) for part in parts):
        return f"its target {display_name(text)} leads into a .git directory"
    return None


def display_name(name: str) -> str:
    """A name from a stranger (as from `os.fsdecode`) for one line of a message; unprintable ones are escaped."""
    if _UNPRINTABLE.search(name) or _SURROGATES.search(name):
        name = name.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()
    return one_line(name)


def fold_path(path: str) -> str:
    """The same text for all paths that some file system takes for one: without case, accents composed or not."""
    return "/".join(map(_fold_name, path.split("/")))


def is_inside_repository(root: Path, path: Path) -> bool:
    """True for a regular file that, all links followed, lies in `root` and not in its `.git`."""
    try:
        real, top = path.resolve(strict=True), root.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return real.is_file() and real.is_relative_to(top) and ".git" not in real.relative_to(top).parts


def read_repository_file(root: Path, path: Path, limit: int) -> str:
    """At most `limit` bytes of such a file as text; empty for any other. Raises `OSError` when it cannot be read."""
    if not is_inside_repository(root, path):
        return ""
    with path.resolve().open("rb") as file:
        return file.read(limit).decode("utf-8", "replace")


def _is_git(part: str) -> bool:
    return bool(_GIT_ALIASES.fullmatch(_fold_name(part)))


def _fold_name(part: str) -> str:
    """NTFS drops trailing dots and spaces, and what follows a colon; HFS+ ignores some characters."""
    if not part.isascii():
        part = unicodedata.normalize("NFD", _IGNORED_BY_HFS.sub("", part))
    return part.partition(":")[0].rstrip(". ").casefold()
