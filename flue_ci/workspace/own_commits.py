"""The commits that the agent made on the base, when all of them can be kept: linear, and each verified as the changes
are.

The ordinary user writes a patch against the base for each inside the sandbox; here they pass the same rules.
"""

import base64
import os
import re

from flue_ci.core.changes import CommittedChanges
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.source import Source, repository_config
from flue_ci.workspace.entry_rules import LIMITS, PatchLimits
from flue_ci.workspace.upload import Workspace, last_line, run_script
from flue_ci.workspace.verify import verify_patch

MAX_COMMITS = 20
MAX_MESSAGE_BYTES = 20_000
_SECONDS = 150.0
_END_LINE = re.compile(r"^flue-ci-commits=([0-9]{1,2}) ([a-z]+) ([A-Za-z0-9+/=]*)$", re.MULTILINE)
_PROBLEMS = {
    "merge": "they are not one line on the base",
    "many": f"there are more than {MAX_COMMITS}",
    "large": "their patches are too large",
}


async def collect_commits(
    workspace: Workspace, source: Source, box: Sandbox, *, limits: PatchLimits = LIMITS
) -> tuple[CommittedChanges, ...]:
    """The commits from the base to HEAD, oldest first; none where there are none. What they change is measured against
    the base, and each changes something.

    Raises `ChangesRefused` when not all of them can be kept, `WorkspaceError` when nothing can be found out, and
    `SandboxLost`.
    """
    values = {
        "root": workspace.root,
        "base": source.base,
        "tree": source.tree,
        "config": repository_config(source.object_format, bare=True),
        "patch_limit": str(limits.patch_bytes),
        "most": str(MAX_COMMITS),
    }
    scripts = ("root_git.sh", "list_commits.sh")  # the first, so that git starts no program
    result = await run_script(box, values, *scripts, timeout=_SECONDS, login=False)
    end = _END_LINE.search(result.output.decode("utf-8", "replace"))
    if result.timed_out or result.exit_code or not end:
        raise WorkspaceError(f"the agent's commits could not be looked at: {last_line(result)}")
    if end[2] not in ("none", "whole"):
        raise ChangesRefused(_PROBLEMS.get(end[2], "objects of them are missing or broken"))
    folder = os.fsdecode(base64.b64decode(end[3]))
    commits: list[CommittedChanges] = []
    tree = source.tree
    for number in range(int(end[1])):
        try:
            patch = await box.read(f"{folder}/{number}.patch", limit=limits.patch_bytes)
            message = await box.read(f"{folder}/{number}.message", limit=MAX_MESSAGE_BYTES)
        except (OSError, ValueError) as error:
            raise ChangesRefused("a patch of them cannot be read") from error
        changes = await verify_patch(source, patch, limits=limits)
        if changes.tree != tree:
            commits.append(CommittedChanges(message=message.decode("utf-8", "replace"), changes=changes))
        tree = changes.tree
    return tuple(commits)
