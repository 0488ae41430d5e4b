"""Which changes concern setup: manifests and lock files, what its commands name, and everything when they build."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files as package_files

from flue_ci.core.changes import ChangedFile
from flue_ci.run.commands import HostCommand

_WORD = re.compile(r"""[^\s"'`;&|<>()$=]+""")
_BUILDS = re.compile(r"(?<![\w-])(?:build|compile|make|cmake|bundle:|dist)(?![\w-])")
_SOURCES = re.compile(r"(?:^|[;&|({])\s*\.\s+\S+", re.MULTILINE)  # `. .venv/bin/activate`
_INSTALLS_ALL = re.compile(r"""(?<!\S)['"]?\./?(?:\[[^\]\s]*\])?['"]?(?=[\s;&|)]|$)""")
_EDITABLE = re.compile(r"(?<!\S)(?:-e|--editable)[ =]\S+")  # what pip installs so follows the files by itself


def touches_setup(files: Iterable[ChangedFile], setup: Sequence[HostCommand]) -> bool:
    """Whether setup could come to something else with these files: one is a manifest or a lock file, or is named in a
    command (or lies in a directory that is); or there are any, and a command builds or installs the repository."""
    paths = [path for file in files for path in (file.path, file.old_path) if path]
    commands = [_EDITABLE.sub("", command.run) for command in setup]
    if paths and any(_BUILDS.search(each) or _INSTALLS_ALL.search(_SOURCES.sub("", each)) for each in commands):
        return True
    words = {word.removeprefix("./").rstrip("/") for command in commands for word in _WORD.findall(command)}
    return any(_is_manifest(path) or not words.isdisjoint(_names(path)) for path in paths)


def _names(path: str) -> list[str]:
    """What a command may call it: its name, its path, and the directories above it."""
    parts = path.split("/")
    return [parts[-1], *("/".join(parts[:end]) for end in range(1, len(parts) + 1))]


def _is_manifest(path: str) -> bool:
    names = ["/".join(path.split("/")[-length:]) for length in (1, 2)]
    return any(fnmatchcase(name, pattern) for name in names for pattern in _patterns())


@cache
def _patterns() -> tuple[str, ...]:
    lines = (package_files("flue_ci.run") / "manifests.txt").read_text("utf-8").splitlines()
    return tuple(pattern for line in lines if not line.startswith("#") for pattern in line.split())
