"""Protected paths: files that run or configure something as soon as somebody works in a checkout, such as specs,
workflows, hooks and the tasks of editors. The table is `protected_paths.txt`.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from flue_ci.core.changes import ChangedFile
from flue_ci.git.path_rules import fold_path

# Windows' short names, such as `VSCODE~1` for `.vscode`: what is written to one lands in the file of the long name.
_SHORT_NAME = r"[^/.~]{1,6}~[1-9][0-9]{0,5}(?:\.[^/.]{1,3})?"


def protected_paths(files: Iterable[ChangedFile], folders: Collection[str] = ()) -> tuple[str, ...]:
    """The protected ones among the paths of `files`, the old names of renames and copies included, each once.
    `folders` are further ones with all that is in them, relative to the top; "" is the top itself."""
    names = (name for file in files for name in (file.old_path, file.path) if name)
    return tuple(dict.fromkeys(name for name in names if is_protected(name, folders)))


def is_protected(path: str, folders: Collection[str] = ()) -> bool:
    """Whether `path`, relative to the top of a repository, is protected. What only case, or an ignored character of a
    file system, tells from a protected path counts as one."""
    name = fold_path(path.replace("\\", "/"))
    if _table().search(name):
        return True
    return any(not folder or f"{name}/".startswith(f"{fold_path(folder)}/") for folder in folders)


def protected_folders(top: Path, hooks: str, git_hooks: Path = Path(os.devnull)) -> tuple[str, ...]:
    """Folders and files of the work tree `top` that are protected besides the table: that of `core.hooksPath`, whose
    value is `hooks` ("" when it is not set), where links with protected names at the top lead, and where `git_hooks`
    (the hooks of the git directory) and links among the hooks do."""
    places = [entry.path for entry in os.scandir(top) if entry.is_symlink() and is_protected(entry.name)]
    folders = [Path(os.path.normpath(top / hooks))] if hooks else []
    places += map(str, folders)
    links = [link for folder in (*folders, git_hooks) for link in (folder, *folder.glob("*")) if link.is_symlink()]
    return tuple(dict.fromkeys(_inside(top, [*places, *map(os.path.realpath, links)])))


def _inside(top: Path, places: Iterable[str]) -> Iterator[str]:
    for place in places:
        for path in (Path(place), Path(os.path.realpath(place))):
            for root in (top, Path(os.path.realpath(top))):
                if path.is_relative_to(root):
                    yield "/".join(path.relative_to(root).parts)


@cache
def _table() -> re.Pattern[str]:
    lines = (package_files("flue_ci.git") / "protected_paths.txt").read_text(encoding="utf-8").splitlines()
    patterns = [re.escape(line).replace(r"\*", "[^/]*") for line in lines if line and not line.startswith("#")]
    return re.compile(f"(?:^|/)(?:{'|'.join([*patterns, _SHORT_NAME])})(?:/|$)")
