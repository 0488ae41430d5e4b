"""Keeps what the agent did to the machine from speaking for the checks: before they run, its processes are ended and
the shell's start-up files are as they were.

What git ignores and what was installed stays the agent's: only a fresh sandbox could do without.
"""

from __future__ import annotations

import shlex

from flue_ci.core.errors import SandboxError
from flue_ci.core.ports import Sandbox

_SECONDS = 60.0
# What a login bash reads from the home directory. The copies are root's.
_FILES = ".bash_profile .bash_login .profile .bashrc .bash_logout .bash_aliases"
_REMEMBER = """
store=$HOME/.flue-guard; rm -rf "$store"; mkdir -p "$store" && chmod 700 "$store" && cd -- {home} || exit 1
for file in {files}; do if [ -f "$file" ]; then cp -pP -- "$file" "$store/$file" || exit 1; fi; done
"""
_RESTORE = """
store=$HOME/.flue-guard; cd -- {home} && [ -d "$store" ] || exit 1
for file in {files}; do
  rm -rf -- "$file"
  if [ -f "$store/$file" ]; then cp -pP -- "$store/$file" "$file" || exit 1; fi
done
"""


async def save_shell_profile(box: Sandbox) -> None:
    """Before the agent: copies the start-up files out of its reach. Raises `SandboxError` when that fails."""
    await _as_root(box, _REMEMBER)


async def restore_shell_profile(box: Sandbox) -> None:
    """After the agent: ends every process of the ordinary user and puts the start-up files back."""
    await box.end_processes()
    await _as_root(box, _RESTORE)


async def _as_root(box: Sandbox, script: str) -> None:
    command = script.format(home=shlex.quote(box.info.home), files=_FILES)
    result = await box.exec(command, timeout=_SECONDS, user="root")
    if result.exit_code:
        message = result.output.decode("utf-8", "replace").strip()
        raise SandboxError(f"the checks could not be kept apart from the agent: {message or result.exit_code}")
