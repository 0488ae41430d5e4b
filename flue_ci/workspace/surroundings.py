"""What checks in the agent's own sandbox see beside the patch: files of the work tree that git ignores or does not
know, and files of the user's home.

Two lists by root, one before the agent and one after it, are compared. No file is opened and no link is followed.
"""

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.workspace.upload import Workspace, last_line, printed_names, run_script

MAX_NAMES = 20
_SECONDS = 120.0
_HINT = "Are there very many files in the home directory of the sandbox, or is its disk full?"


async def save_surroundings(workspace: Workspace, box: Sandbox) -> None:
    """Remembers, out of the agent's reach, which files there are. Call it after setup and our own files, before the
    agent starts. Raises `WorkspaceError`, `SandboxLost`."""
    await _list_files(workspace, box, "files.before")


async def list_surroundings(workspace: Workspace, box: Sandbox, changes: ChangeSet) -> tuple[str, ...]:
    """Names of the files that appeared, changed or vanished since `save_surroundings` and are not in `changes`.

    At most 20, for people: those of the work tree relative to it, those of the home with `~/`, vanished ones with
    " (removed)"; then a last element such as "and 4,213 more" for the rest. Tracked files are not among them: what
    differs in those is in the patch. Of git's own files there are configuration, hooks and `info`.

    Raises `WorkspaceError`, `SandboxLost`.
    """
    # The new names in a change set hold no control characters, see `path_problem`.
    result = await _list_files(workspace, box, "files.after", "\n".join(file.path for file in changes.files))
    return printed_names(result, "surroundings")


async def _list_files(workspace: Workspace, box: Sandbox, name: str, changed: str = "") -> ExecResult:
    values = {"root": workspace.root, "store": workspace.store, "home": box.info.home, "list": name}
    values |= {"changed": changed, "most": str(MAX_NAMES)}
    scripts = ("print_names.sh", "list_files.sh")
    result = await run_script(box, values, *scripts, timeout=_SECONDS, user="root", login=False)
    if result.exit_code:
        reason = f"no end after {_SECONDS:.0f} seconds" if result.timed_out else last_line(result)
        raise WorkspaceError(f"the files in the home of the sandbox could not be listed: {reason}", hint=_HINT)
    return result
