"""Reads what a checkout of the user is: the repository around a directory, the commit checked out, the settings about
files. Writes nothing.

A checkout may have come in an archive from a stranger, with its `.git`. A `.git` that refers to places elsewhere on
this machine is refused (`places` has the rules), because the files there would be sent into the sandbox.
"""

import asyncio
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import one_line
from flue_ci.git.command import Git, GitCommandError, GitResult, check_version
from flue_ci.git.path_rules import is_inside_repository
from flue_ci.git.places import check_places
from flue_ci.git.protected import protected_folders

_SETTINGS = (
    r"^(core\.(filemode|symlinks|ignorecase|precomposeunicode|trustctime|checkstat|autocrlf|eol|excludesfile|hookspath|sparsecheckout)"
    r"|remote\..*\.promisor|filter\..*\.(clean|smudge|process))$"
)
# What `git rev-parse` is asked: three words, six lines of paths, and the commit. It prints them up to where it fails.
_KIND = ("--is-bare-repository", "--is-inside-work-tree", "--show-object-format")
_PATHS = (
    *("--path-format=absolute", "--show-toplevel", "--git-dir", "--git-path", "objects", "--git-path", "index"),
    *("--git-path", "shallow", "--git-path", "info/exclude"),
)
_EXCLUDE_LIMIT = 1_000_000
_SHALLOW_LIMIT = 10_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A user's checkout. Paths are absolute; `top` is the work tree's root.

    `head` is the commit, `ref` its branch (None: detached), `shallow` the commits at which history was cut off.
    `settings` are the user's git settings about files (lower-case keys); `exclude` is the text of ignore rules
    outside the tree, `protected` the folders that are protected here besides the table in `protected`. `additions` are
    object directories on this host with what the checkout lacks.
    """

    top: Path
    git_dir: Path
    objects: Path
    index: Path
    object_format: str
    head: str
    ref: str | None
    shallow: frozenset[str]
    settings: Mapping[str, str]
    exclude: bytes
    protected: tuple[str, ...] = ()
    additions: tuple[Path, ...] = ()

    @property
    def partial(self) -> bool:
        """Objects may be missing, also some of the current commit."""
        return any(key.endswith(".promisor") for key in self.settings)

    @property
    def sparse(self) -> bool:
        """Only some of the files of the current commit are on disk."""
        return self.settings.get("core.sparsecheckout", "").lower() in ("true", "yes", "on", "1")

    def with_objects(self, git: Git) -> Git:
        """`git`, which also sees the objects of the checkout."""
        # `:` separates the entries, and `"` starts a quoted one.
        texts = (str(path).replace("\\", "\\\\").replace('"', '\\"') for path in (self.objects, *self.additions))
        return git.with_env(GIT_ALTERNATE_OBJECT_DIRECTORIES=":".join(f'"{text}"' for text in texts))


async def find_checkout(repo: Path, git_dirs: Collection[Path] = ()) -> Checkout:
    """The checkout that `repo` is, or lies in; its `.git` may lead to places in `git_dirs`. Raises `WorkspaceError`
    with a hint when it is not a usable one."""
    real = Path(os.path.realpath(repo))
    root = next((folder for folder in (real, *real.parents) if os.path.lexists(folder / ".git")), None)
    if root is not None:
        check_places(root, git_dirs)
    git = Git(cwd=repo, user_config=True)
    version, place, branch, config = await asyncio.gather(
        git.run("version", ok=None),
        git.run("rev-parse", *_KIND, *_PATHS, "HEAD^{commit}", ok=None),
        git.run("symbolic-ref", "--quiet", "HEAD", ok=None),
        git.run("config", "-z", "--show-scope", "--type=path", "--get-regexp", _SETTINGS, ok=None),
    )
    check_version(version)
    object_format = _check_kind(repo, place)
    head, (top, git_dir, objects, index, shallow, exclude) = _head_and_paths(repo, place)
    _check_places(top, git_dir, index, exclude)
    if root is not None and not root.samefile(top):
        raise WorkspaceError(
            f"{root}/.git is not a repository, so git takes the one around it, {top}",
            hint=f"If you mean that one: --repo {top}",
        )
    settings = _settings(config, top)
    hooks = settings.pop("core.hookspath", "")
    return Checkout(
        top=top,
        git_dir=git_dir,
        objects=objects,
        index=index,
        object_format=object_format,
        head=head,
        ref=_branch(branch),
        shallow=_shallow(shallow),
        settings=settings,
        exclude=_exclude(settings, exclude),
        protected=protected_folders(top, hooks, objects.parent / "hooks"),
    )


def index_entries(index: Path) -> int:
    """The number of files in an index, by its header (git's `gitformat-index`); 0 when there is none."""
    try:
        with index.open("rb") as file:
            return int.from_bytes(file.read(12)[8:], "big")
    except FileNotFoundError:
        return 0


def _check_kind(repo: Path, result: GitResult) -> str:
    """The object format (`sha1`, `sha256`). Raises for what is not a work tree."""
    if "dubious ownership" in result.err:
        raise WorkspaceError(
            f"{repo} belongs to another user, and git refuses to read it",
            hint=f"If you trust it: git config --global --add safe.directory {repo.absolute()}",
        )
    if result.code and "not a git repository" in result.err:
        raise WorkspaceError(
            f"{repo} is not a git repository", hint="Run this in a checkout, or name one with --repo DIR."
        )
    words = result.out.split(b"\n", 3)[:3]
    if len(words) < 3:
        raise GitCommandError(f"{repo} cannot be read", result)
    bare, inside, object_format = (word.decode() for word in words)
    if bare == "true":
        raise WorkspaceError(
            f"{repo} is a bare repository", hint="Name a checkout, one with files: git clone, or git worktree add."
        )
    if inside != "true":
        raise WorkspaceError(f"{repo} is inside a .git directory", hint="Name the checkout itself.")
    return object_format


def _head_and_paths(repo: Path, result: GitResult) -> tuple[str, list[Path]]:
    """The commit, and the paths in the order of `_PATHS`."""
    lines = result.out.removesuffix(b"\n").split(b"\n")[3:]
    if len(lines) > 7:
        raise WorkspaceError(f"{repo} has a line break in its path", hint="Move it to a directory with a plainer name.")
    if len(lines) < 6:
        raise GitCommandError(f"{repo} cannot be read", result)
    if len(lines) == 6:  # without git's message, which may repeat what is in a file
        raise WorkspaceError(
            f"{repo} is a damaged repository: git cannot read the commit that is checked out",
            hint="git fsck says what is wrong with it.",
        )
    *paths, head = (os.fsdecode(line) for line in lines)
    if not _COMMIT.fullmatch(head):  # what is no commit is printed as it was asked for
        raise WorkspaceError(
            f"{repo} has no commits yet", hint="Commit something first: changes are measured against a commit."
        )
    return head, [Path(path) for path in paths]


def _shallow(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    with path.open("rb") as file:
        words = file.read(_SHALLOW_LIMIT).decode("ascii", "replace").split()
    return frozenset(word for word in words if _COMMIT.fullmatch(word))


def _branch(result: GitResult) -> str | None:
    """The branch's short name; None for a detached HEAD and for names that are not UTF-8 (reports cannot hold them)."""
    try:
        match = re.fullmatch(r"refs/heads/(.+)\n", result.out.decode())
    except UnicodeDecodeError:
        return None
    return match and match[1]


def _check_places(top: Path, git_dir: Path, index: Path, exclude: Path) -> None:
    """Raises `WorkspaceError` when something that is read lies elsewhere: `core.worktree` or a link in `.git` could
    name any files of this machine."""
    if not _leads_to(top / ".git", git_dir):
        raise WorkspaceError(
            f"the repository in {git_dir} takes {top} for its work tree, which is another directory's",
            hint="Files of that directory would travel. git config --unset core.worktree, if this is your repository.",
        )
    for path, names in ((index, ("index",)), (exclude, ("info", "exclude"))):  # git has resolved links in both
        if path.exists() and not (path.is_file() and path.parts[-len(names) :] == names):
            raise WorkspaceError(
                f"{git_dir}/{'/'.join(names)} is not an ordinary file",
                hint="A link there could send any file; put the file itself there.",
            )


def _leads_to(marker: Path, git_dir: Path) -> bool:
    """Whether `marker`, which is `.git`, is the directory `git_dir` or a file with its path."""
    try:
        if marker.is_file():
            with marker.open("rb") as file:
                target = file.read(_EXCLUDE_LIMIT).removeprefix(b"gitdir: ").rstrip(b"\r\n")
            marker = marker.parent / os.fsdecode(target)
        return marker.samefile(git_dir)
    except (OSError, ValueError):
        return False


def _settings(result: GitResult, top: Path) -> dict[str, str]:
    """Reads `scope NUL key LF value NUL`, repeated; the last of several values counts, as in git. A key without value
    is true."""
    if result.code not in (0, 1):
        raise GitCommandError("git config", result)
    fields = [os.fsdecode(field) for field in result.out.split(b"\0")]
    settings: dict[str, str] = {}
    for scope, entry in zip(fields[::2], fields[1::2], strict=False):
        key, separator, value = entry.partition("\n")
        value = value if separator else "true"
        if scope == "command":  # our own
            continue
        if key.lower() == "core.excludesfile":
            if scope not in ("system", "global") or not Path(value).is_absolute():
                _check_own_rules(top, value)
            value = str(top / value)
        settings[key.lower()] = value
    return settings


def _check_own_rules(top: Path, name: str) -> None:
    """Raises `WorkspaceError` when the repository's configuration takes ignore rules from a file outside of it: their
    text is sent into the sandbox. The user's own configuration may name any file."""
    path = top / name
    if os.path.lexists(path) and not is_inside_repository(top, path):
        raise WorkspaceError(
            f"this repository's core.excludesFile is {one_line(name)}, which is not a file of its own",
            hint="If you want these rules: git config --global core.excludesFile FILE",
        )


def _exclude(settings: Mapping[str, str], info_exclude: Path) -> bytes:
    """The user's ignore rules, then the repository's own ones, which win because they come later."""
    files = [info_exclude]
    home, folder = os.environ.get("HOME"), os.environ.get("XDG_CONFIG_HOME")
    if user := settings.get("core.excludesfile"):
        files.insert(0, Path(user))
    elif folder or home:  # without either git reads none
        files.insert(0, Path(folder or f"{home}/.config", "git/ignore"))
    texts: list[bytes] = []
    for path in files:
        try:
            with path.open("rb") as file:
                texts.append(file.read(_EXCLUDE_LIMIT).removesuffix(b"\n") + b"\n")
        except OSError:  # to git a missing or unreadable one is empty, too
            continue
    return b"".join(texts)
