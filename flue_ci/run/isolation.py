"""Keeps what the agent did to the machine out of the checks: before they run, its processes are ended and the shell's
start-up files are as they were.

What git ignores and what was installed stays the agent's: only a fresh sandbox could do without.
"""

from __future__ import annotations

from flue_ci.core.errors import SandboxError
from flue_ci.core.ports import Sandbox
from flue_ci.core.shell import load_script, shell_script

_SECONDS = 60.0
# What a login bash reads from the home directory. The copies are root's.
_FILES = ".bash_profile .bash_login .profile .bashrc .bash_logout .bash_aliases"


async def save_shell_profile(box: Sandbox) -> None:
    """Before the agent: copies the start-up files out of its reach. Raises `SandboxError` when that fails."""
    await _run_as_root(box, "save_shell_profile.sh")


async def restore_shell_profile(box: Sandbox) -> None:
    """After the agent: ends every process of the ordinary user and puts the start-up files back.

    Raises `SandboxError` when that fails.
    """
    await box.end_processes()
    await _run_as_root(box, "restore_shell_profile.sh")


async def _run_as_root(box: Sandbox, name: str) -> None:
    script = shell_script({"home": box.info.home, "files": _FILES}, load_script("flue_ci.run", name))
    result = await box.exec(script, timeout=_SECONDS, user="root")
    if result.exit_code:
        output = result.output.decode("utf-8", "replace").strip()
        raise SandboxError(f"the checks could not be kept apart from the agent: {output or result.exit_code}")
