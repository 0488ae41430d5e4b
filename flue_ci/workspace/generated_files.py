"""Which files the repository itself calls generated: the attribute `linguist-generated` in the `.gitattributes` of the
base. Those of the agent's tree do not count: it could fold its own work away."""

import os
import tempfile
from collections.abc import Collection
from pathlib import PurePosixPath

from flue_ci.git.command import TooMuchOutput, join_lines, read_objects
from flue_ci.git.source import Source
from flue_ci.workspace.entries import index_line

_NAME = b"linguist-generated"
_MAX_BYTES = 1_000_000  # of all files of attributes together; more are not read


async def read_generated(source: Source, paths: Collection[str]) -> dict[str, bool]:
    """True for the paths that are called generated, False for those that are called none; others are left out."""
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    files = sorted(f"{folder}/.gitattributes".removeprefix("./") for folder in folders)
    names = [f"{source.tree}:{file}" for file in files]
    try:
        contents = await read_objects(source.git, names, limit=_MAX_BYTES)
    except TooMuchOutput:
        return {}
    if not any(_NAME in content for content in contents.values()):
        return {}
    objects = await source.git.run("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=join_lines(names))
    lines = [line.split(" ") for line in objects.out.decode("ascii", "replace").splitlines()]
    blobs = {file: line[1] for file, line in zip(files, lines, strict=True) if line[0] == "blob"}
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="attributes-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        index = b"".join(index_line("100644", blob, file) for file, blob in blobs.items())
        await git.run("update-index", "-z", "--index-info", stdin=index)
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        result = await git.run("check-attr", "--cached", "-z", "--stdin", _NAME.decode(), stdin=stdin)
    fields = result.out.split(b"\0")
    values = {os.fsdecode(path): value for path, value in zip(fields[::3], fields[2::3], strict=False)}
    return {path: value not in (b"unset", b"false") for path, value in values.items() if value != b"unspecified"}
