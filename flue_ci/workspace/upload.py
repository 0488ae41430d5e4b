"""Puts a `Source` into a sandbox: a repository for the agent, and, out of its reach, one that knows the base for
`collect`.
"""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import ExecResult, Sandbox, User
from flue_ci.core.text import one_line, plain
from flue_ci.git.snapshot import NEUTRAL_ATTRIBUTES
from flue_ci.git.source import Source

UPLOAD_SECONDS = 600.0
_ALONE = 8_000_000  # bytes; a bigger pack travels as a file of its own, which saves copying it in and out of an archive
_NO_GIT = 90
_NO_TAR = 91

# Every git of ours inside: nobody's configuration, nobody's environment.
CLEAN_SHELL = """
for name in ${!GIT_@}; do unset "$name"; done
export LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1
"""

# As the user. The tree is laid out from the base; then the index is made what it was outside, so that `git status`
# says the same.
_UNPACK = """
set -eu
umask 022
command -v git >/dev/null 2>&1 || exit 90
command -v tar >/dev/null 2>&1 || exit 91
root=$home/$name
number=1
while [ -e "$root" ] || [ -L "$root" ]; do
  number=$((number + 1))
  root=$home/$name-$number
done
mkdir -p "$root/.git"
cd "$root"
root=$(pwd -P)
tar -xof "$home/$upload.tar" -C .git
rm -f "$home/$upload.tar"
for pack in $packs; do
  mv "$home/$upload.$pack" ".git/objects/pack/$pack"
  chmod 444 ".git/objects/pack/$pack"
done
workers=$((2 * $(nproc 2>/dev/null || echo 2)))  # half of them wait for the disk
git -c checkout.workers=$workers -c core.protectNTFS=false -c core.protectHFS=false read-tree -u --reset "$base"
mkdir -p .git/flue-ci
cp -p .git/index .git/flue-ci/index
if [ "$staged" != "$tree" ]; then git read-tree --reset "$staged"; fi
if [ -s .git/flue-ci/announced ]; then
  GIT_LITERAL_PATHSPECS=1 git add -f -N --pathspec-from-file=.git/flue-ci/announced --pathspec-file-nul
fi
rm -f .git/info/attributes
printf 'flue-ci-root=%s\\n' "$root"
"""

# As root. Hard links cost nothing, and with root as their owner the agent cannot write through them. Where there is
# another file system in between, nothing is copied: `collect` sends the few objects that it needs.
_KEEP = """
set -eu
umask 077
store=$HOME/.flue-ci
rm -rf "$store"
mkdir -p "$store/refs" "$store/info"
kept=linked
cp -al "$root/.git/objects" "$store/objects" 2>/dev/null || {
  rm -rf "$store/objects"
  mkdir -p "$store/objects"
  kept=empty
}
cp "$root/.git/info/exclude" "$store/info/exclude"
mv "$root/.git/flue-ci/index" "$store/base.index"
rm -rf "$root/.git/flue-ci"
printf '%s' "$attributes" > "$store/info/attributes"
printf '%s' "$config" > "$store/config"
printf '%s\\n' "$base" > "$store/HEAD"
if [ "$(id -u)" = 0 ]; then chown -R 0:0 "$store" 2>/dev/null || :; fi
printf 'flue-ci-store=%s:%s\\n' "$kept" "$store"
"""

# What git is to do with the agent's files when changes are collected: take them as they are, start nothing.
_STORE_SETTINGS = """\
	fileMode = true
	symlinks = true
	ignoreCase = false
	autocrlf = false
	safecrlf = false
	hooksPath = /dev/null
	fsmonitor = false
	checkStat = minimal
	untrackedCache = false
	protectNTFS = false
	protectHFS = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	looseCompression = 1
	fsync = none
[gc]
	auto = 0
[advice]
	addEmbeddedRepo = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The repository inside. `root` is its absolute path, `head` the commit checked out, `base_sha` what changes are
    measured against.

    `store` is root's own repository, for `collect`; whether it holds the base's objects depends on the file systems.
    """

    root: str
    head: str
    base_sha: str
    store: str
    store_has_objects: bool


async def upload(source: Source, box: Sandbox) -> Workspace:
    """Puts the repository under the sandbox's home: the commit on its branch, uncommitted work laid over it as it was
    outside.

    The agent's repository has an identity (`flue-ci agent`) and no other configuration, hook, remote or credential.
    Raises `WorkspaceError` when the sandbox lacks git or tar, or has no room.
    """
    home = box.info.home.rstrip("/")
    upload_name = ".flue-ci-upload"
    files = await source.is_sendable()
    packs = [path for path in files if path.suffix == ".pack" and path.stat().st_size >= _ALONE]
    archive = source.git_dir.parent / "upload.tar"
    await asyncio.to_thread(_write_archive, archive, source, [path for path in files if path not in packs])
    await upload_files(
        box, {f"{home}/{upload_name}.tar": archive} | {f"{home}/{upload_name}.{pack.name}": pack for pack in packs}
    )
    archive.unlink()
    values = {"home": home, "name": source.name, "upload": upload_name, "packs": " ".join(pack.name for pack in packs)}
    values |= {"base": source.base, "tree": source.tree, "staged": source.index_tree}
    unpacked = await box.exec(shell_script(values, _UNPACK), timeout=UPLOAD_SECONDS)
    root = _answer(unpacked, "root")
    values = {"root": root, "base": source.base, "attributes": NEUTRAL_ATTRIBUTES, "config": _store_config(source)}
    kept, _, store = _answer(
        await box.exec(shell_script(values, _KEEP), timeout=UPLOAD_SECONDS, user="root"), "store"
    ).partition(":")
    return Workspace(root=root, head=source.head, base_sha=source.base, store=store, store_has_objects=kept == "linked")


async def upload_files(box: Sandbox, files: Mapping[str, Path], *, user: User = "user") -> None:
    """Writes our own files into the sandbox, by the paths there. Raises `WorkspaceError` when it takes one not."""
    try:
        async with asyncio.TaskGroup() as together:
            for path, file in files.items():
                together.create_task(box.write(path, file, user=user))
    except ExceptionGroup as several:
        first = several.exceptions[0]
        if isinstance(first, OSError):
            raise WorkspaceError(
                f"the sandbox did not take a file: {one_line(str(first))}",
                hint="Is its disk full, or did the template or setup make its home read-only?",
            ) from first
        raise first from None


def shell_script(values: dict[str, str], body: str) -> str:
    """`body` after assignments: no value is ever read as shell."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()) + CLEAN_SHELL + body


def _answer(result: ExecResult, name: str) -> str:
    """The value that the script printed at its end, or the reason why it did not get there."""
    text = result.output.decode("utf-8", "surrogateescape")
    if result.exit_code == 0 and not result.timed_out:
        for line in reversed(text.splitlines()):
            if line.startswith(f"flue-ci-{name}="):
                return line.partition("=")[2]
    hint = "Use a template that has bash, git, tar and the GNU core utilities."
    if result.timed_out:
        raise WorkspaceError(f"the repository was not unpacked within {UPLOAD_SECONDS:.0f} seconds")
    if result.exit_code in (_NO_GIT, _NO_TAR):
        raise WorkspaceError(f"the sandbox has no {'git' if result.exit_code == _NO_GIT else 'tar'}", hint=hint)
    last = one_line(plain(text).strip().rpartition("\n")[2], 200) or f"exit code {result.exit_code}"
    raise WorkspaceError(f"the repository could not be unpacked in the sandbox: {last}", hint=hint)


def _write_archive(path: Path, source: Source, files: list[Path]) -> None:
    """A `.git` directory as a tar file: the objects (without the packs that travel alone) and a fresh, minimal
    set-up.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
            archive.addfile(_entry(name, directory=True))
        for file in sorted(files):
            name = f"objects/{file.parent.name}/{file.name}"
            with file.open("rb") as stream:
                archive.addfile(_entry(name, size=file.stat().st_size, mode=0o444), stream)
        for name, data in _set_up(source).items():
            archive.addfile(_entry(name, size=len(data)), io.BytesIO(data))


def _entry(name: str, *, size: int = 0, mode: int = 0o644, directory: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o755 if directory else mode
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    return entry


def _set_up(source: Source) -> dict[str, bytes]:
    shallow = source.git_dir / "shallow"
    branch = source.ref
    files = {
        "HEAD": (f"ref: refs/heads/{branch}" if branch else source.head).encode() + b"\n",
        "config": (
            _config(source, bare=False) + "[user]\n\tname = flue-ci agent\n\temail = agent@flue-ci.invalid\n"
        ).encode(),
        "info/exclude": (source.git_dir / "info/exclude").read_bytes(),
        "info/attributes": NEUTRAL_ATTRIBUTES.encode(),
        "flue-ci/announced": b"".join(path + b"\0" for path in source.intent_to_add),
    }
    refs = dict(source.refs) | ({f"refs/heads/{branch}": source.head} if branch else {})
    if refs:
        lines = sorted((name.encode(), commit) for name, commit in refs.items())
        files["packed-refs"] = b"# pack-refs with: peeled fully-peeled sorted \n" + b"".join(
            commit.encode() + b" " + name + b"\n" for name, commit in lines
        )
    if shallow.exists():
        files["shallow"] = shallow.read_bytes()
    return files


def _config(source: Source, *, bare: bool) -> str:
    extensions = f"[extensions]\n\tobjectFormat = {source.object_format}\n" if source.object_format != "sha1" else ""
    version = 1 if extensions else 0
    return f"{extensions}[core]\n\trepositoryformatversion = {version}\n\tbare = {'true' if bare else 'false'}\n"


def _store_config(source: Source) -> str:
    return _config(source, bare=True) + _STORE_SETTINGS
