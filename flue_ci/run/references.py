"""Which files of the commit an agent's answer names, so that a report can link them."""

import json
from contextlib import suppress

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.messages import Outcome
from flue_ci.git.command import split_nul
from flue_ci.git.source import Source
from flue_ci.report.links import possible_paths


async def find_references(source: Source, outcome: Outcome) -> tuple[str, ...]:
    """The paths in the summary and the result that are files of the commit that was checked out; none when git cannot
    tell."""
    paths = possible_paths(f"{outcome.summary}\n{json.dumps(outcome.result, ensure_ascii=False)}")
    if not paths:
        return ()
    with suppress(WorkspaceError):
        out = (await source.git.run("ls-tree", "-z", source.head, "--", *paths)).out
        entries = (entry.decode("utf-8", "replace").partition("\t") for entry in split_nul(out))
        return tuple(path for kind, _, path in entries if " blob " in kind)
    return ()
