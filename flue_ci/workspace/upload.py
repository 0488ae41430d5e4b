"""Puts a `Source` into a sandbox: a repository for the agent and, out of its reach, one with the base for `collect`."""

import asyncio
import base64
import io
import os
import re
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.core.concurrency import together
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import ExecResult, FileUploader, Sandbox, User
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import one_line, plain
from flue_ci.git.command import split_nul
from flue_ci.git.path_rules import display_name
from flue_ci.git.snapshot import NEUTRAL_ATTRIBUTES
from flue_ci.git.source import LfsFile, Source, repository_config

UPLOAD_SECONDS = 600.0
ARGUMENT_BYTES = 45_000  # of a file that goes along with its command, in base64
_BIG_PACK = 8_000_000  # bytes; sent as a file of its own, which saves copying it into an archive and out of it
WORK_TREE_MISSING = 93  # exit code of scripts that work on a work tree of others
_SIMPLE_PROGRAMS = 92  # exit code of create_store.sh
_NAMES_LINE = re.compile(r"^flue-ci-([a-z-]+)=([0-9]{1,18}) ([A-Za-z0-9+/=]*)$", re.MULTILINE)
_FULL = re.compile("(?m)^.*(?:No space left|quota exceeded|Read-only file system|Permission denied).*")
_MISSING_PROGRAMS = {90: "git", 91: "tar"}  # by exit code of unpack.sh


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The repository inside. `root` is its absolute path, `store` that of root's own repository, for `collect`; whether
    the store holds the base's objects depends on the file systems. `submodules` are by their paths in it."""

    root: str
    store: str
    store_has_objects: bool
    submodules: Mapping[str, "Workspace"] = field(default_factory=dict)


async def upload(source: Source, box: Sandbox) -> Workspace:
    """Puts the repository and its submodules under the sandbox's home: the commit on its branch, and the uncommitted
    work as it was on the host.

    The agent's repository has an identity (`flue-ci agent`) and no other configuration, hook, remote or credential.
    Raises `WorkspaceError` when the sandbox lacks git or tar, or has no room.
    """
    return await _upload(source, box, "", ".flue-ci")


async def _upload(source: Source, box: Sandbox, root: str, store: str) -> Workspace:
    """Into the empty directory `root`, or a new one, with root's own repository at `store` in root's home."""
    home = box.info.home.rstrip("/")
    upload_name = f"{store}-upload".replace("/", "-")
    files = source.object_files()
    packs = [path for path in files if path.suffix == ".pack" and path.stat().st_size >= _BIG_PACK]
    archive = source.git_dir.parent / "upload.tar"
    await asyncio.to_thread(_write_archive, archive, source, [path for path in files if path not in packs])
    values = {"home": home, "name": source.name, "archive": "", "content": ""}
    parts = {pack.name: pack for pack in packs}
    if archive.stat().st_size <= ARGUMENT_BYTES:
        values["content"] = base64.b64encode(archive.read_bytes()).decode()
    else:
        parts["tar"] = archive
    if source.lfs_files:
        contents = parts["lfs"] = source.git_dir.parent / "lfs.tar"
        await asyncio.to_thread(_write_contents, contents, source.lfs_files)
    places = await _bring_files(box, f"{home}/{upload_name}", parts)
    archive.unlink()
    values |= {"archive": places.get("tar", ""), "contents": places.get("lfs", "")}
    values |= {"packs": "".join(f"{pack.name} {places[pack.name]}\n" for pack in packs)}
    values |= {"base": source.base, "tree": source.tree, "staged": source.index_tree, "root": root}
    values |= {"age_files": load_script(__package__, "age_files.pl")}
    root = _printed_value(await run_script(box, values, "unpack.sh", timeout=UPLOAD_SECONDS), "root")
    config = repository_config(source.object_format, bare=True) + load_script(__package__, "store.gitconfig")
    values = {"root": root, "base": source.base, "attributes": NEUTRAL_ATTRIBUTES, "config": config, "name": store}
    result = await run_script(box, values, "create_store.sh", timeout=UPLOAD_SECONDS, user="root")
    objects, _, place = _printed_value(result, "store").partition(":")
    workspace = Workspace(root=root, store=place, store_has_objects=objects == "linked")
    if not source.submodules:
        return workspace
    children = (
        _upload(child, box, f"{root}/{path}", f"{store}/{number}")
        for number, (path, child) in enumerate(source.submodules.items())
    )
    return replace(workspace, submodules=dict(zip(source.submodules, await together(*children), strict=True)))


async def _bring_files(box: Sandbox, prefix: str, files: Mapping[str, Path]) -> dict[str, str]:
    """Brings files of this host into the sandbox for its ordinary user. Returns their paths there, by the same names:
    `prefix` and the name, or where the sandbox likes to have them. Raises `WorkspaceError`."""
    if not isinstance(box, FileUploader):
        places = {name: f"{prefix}.{name}" for name in files}
        await upload_files(box, {places[name]: file for name, file in files.items()})
        return places
    with _upload_errors():
        paths = await together(*(box.upload_file(file) for file in files.values()))
    return dict(zip(files, paths, strict=True))


async def upload_files(box: Sandbox, files: Mapping[str, Path], *, user: User = "user") -> None:
    """Writes files of this host into the sandbox, by the paths there, at the same time. Raises `WorkspaceError` when
    one cannot be written."""
    with _upload_errors():
        await together(*(box.write(path, file, user=user) for path, file in files.items()))


@contextmanager
def _upload_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"the sandbox did not take a file: {one_line(str(error))}",
            hint="Is its disk full, or does its home belong to root or lie on a read-only file system?",
        ) from error


async def run_script(
    box: Sandbox,
    values: Mapping[str, str],
    *names: str,
    timeout: float,
    user: User = "user",
    login: bool = True,
    limit: int = 65_536,
) -> ExecResult:
    """Runs scripts of this package one after the other in one shell, with `values` for variables and no git variables
    of others; those of root's with `root_git.sh`. `login=False` for all that comes after setup; `limit` bounds the
    output in bytes."""
    first = ["clean_environment.sh"]
    if user == "root":
        first.append("root_git.sh")
    body = "".join(load_script(__package__, name) for name in (*first, *names))
    return await box.exec(shell_script(values, body), timeout=timeout, user=user, login=login, limit=limit)


def last_line(result: ExecResult) -> str:
    """The last line that a script printed, where its error message is, or its exit code."""
    text = plain(result.output.decode("utf-8", "replace")).strip()
    return one_line(text.rpartition("\n")[2], 200) or f"exit code {result.exit_code}"


def printed_names(result: ExecResult, label: str) -> tuple[str, ...]:
    """The names that a script printed as `flue-ci-LABEL=COUNT BASE64`, for people; then, where these are fewer than
    COUNT, a last element such as "and 4,213 more". Raises `WorkspaceError` when there are none."""
    text = result.output.decode("utf-8", "replace")
    record = next((match for match in _NAMES_LINE.finditer(text) if match[1] == label), None)
    try:
        data = base64.b64decode(record[3] if record else "?", validate=True)
    except ValueError:
        raise WorkspaceError(f"a script in the sandbox printed no names: {last_line(result)}") from None
    assert record
    names = [display_name(os.fsdecode(name)) for name in split_nul(data)]
    if len(names) < int(record[2]):
        names.append(f"and {int(record[2]) - len(names):,} more")
    return tuple(names)


def _printed_value(result: ExecResult, name: str) -> str:
    """The value that the script printed at its end. Raises `WorkspaceError` with the reason when there is none."""
    if result.timed_out:
        raise WorkspaceError(f"the repository was not unpacked within {UPLOAD_SECONDS:.0f} seconds")
    if result.exit_code == 0:
        for line in reversed(result.output.decode("utf-8", "surrogateescape").splitlines()):
            if line.startswith(f"flue-ci-{name}="):
                return line.partition("=")[2]
    hint = "Use a template that has bash, git, tar and the GNU core utilities; busybox is not enough."
    if result.exit_code in _MISSING_PROGRAMS:
        raise WorkspaceError(f"the sandbox has no {_MISSING_PROGRAMS[result.exit_code]}", hint=hint)
    message = f"the repository could not be unpacked in the sandbox: {last_line(result)}"
    if result.exit_code == _SIMPLE_PROGRAMS:
        message = f"programs of the sandbox lack what flue-ci needs to bring changes back: {last_line(result)}"
    elif match := _FULL.search(plain(result.output.decode("utf-8", "replace"))):
        message = f"the repository could not be unpacked in the sandbox: {one_line(match[0], 200)}"
        hint = "Is its disk full, or does its home belong to root or lie on a read-only file system?"
    raise WorkspaceError(message, hint=hint)


def _write_archive(path: Path, source: Source, files: list[Path]) -> None:
    """A `.git` directory as a tar file: the objects in `files` and a fresh, minimal configuration."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
            entry = _entry(name, mode=0o755)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for file in sorted(files):
            name = f"objects/{file.parent.name}/{file.name}"
            with file.open("rb") as stream:
                archive.addfile(_entry(name, size=file.stat().st_size, mode=0o444), stream)
        for name, data in _git_files(source).items():
            archive.addfile(_entry(name, size=len(data)), io.BytesIO(data))


def _write_contents(path: Path, files: Sequence[LfsFile]) -> None:
    """The contents of files that Git LFS keeps, as a tar file, with a time in the past as all files have inside."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            size, mode = file.content.stat().st_size, int(file.mode[-3:], 8)
            with file.content.open("rb") as stream:
                entry = _entry(f"./{file.path}", size=size, mode=mode)
                entry.mtime = int(time.time()) - 3600
                archive.addfile(entry, stream)


def _entry(name: str, *, size: int = 0, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def _git_files(source: Source) -> dict[str, bytes]:
    """The files of `.git` besides the objects, by their paths in it."""
    shallow = source.git_dir / "shallow"
    user = "[user]\n\tname = flue-ci agent\n\temail = agent@flue-ci.invalid\n"
    files = {
        "HEAD": f"{source.head}\n".encode(),
        "config": (repository_config(source.object_format, bare=False) + user).encode(),
        "info/exclude": (source.git_dir / "info/exclude").read_bytes(),
        "info/attributes": NEUTRAL_ATTRIBUTES.encode(),
        "flue-ci/intent-to-add": b"".join(path + b"\0" for path in source.intent_to_add),
        "flue-ci/contents": b"".join(f"{f.oid}\0".encode() + os.fsencode(f.path) + b"\0" for f in source.lfs_files),
    }
    refs = dict(source.refs)
    if source.ref:
        files["HEAD"] = f"ref: refs/heads/{source.ref}\n".encode()
        refs[f"refs/heads/{source.ref}"] = source.head
    if refs:
        lines = sorted((name.encode(), commit) for name, commit in refs.items())
        files["packed-refs"] = b"# pack-refs with: peeled fully-peeled sorted \n" + b"".join(
            commit.encode() + b" " + name + b"\n" for name, commit in lines
        )
    if shallow.exists():
        files["shallow"] = shallow.read_bytes()
    return files
