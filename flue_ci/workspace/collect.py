"""Brings back what the agent changed: a patch made by root inside the sandbox, where the agent's git has no say,
verified on the host.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.core.text import human_bytes, one_line, plain, plural
from flue_ci.git.command import object_sizes
from flue_ci.git.source import Source
from flue_ci.workspace.upload import Workspace, shell_script, upload_files
from flue_ci.workspace.verify import PatchLimits, display_name, verify_patch

COLLECT_SECONDS = 300.0
_GONE, _NO_STORE = 93, 94
_KEPT = "The rest of the changes is kept in the patch file for you to look at; nothing of it was used."

# As root, with its own repository, index and configuration. Only names are taken from the agent's index, and only to
# find files that it tracks although they are ignored. What ends the work early is said on the last line, together
# with what there is.
_ADD = """
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
[ -f "$store/base.index" ] || exit 94
[ -d "$root" ] && [ ! -L "$root" ] && cd -P -- "$root" && [ "$(pwd -P)" = "$root" ] || exit 93
export GIT_DIR=$store GIT_WORK_TREE=$root GIT_INDEX_FILE=$store/work.index
errors=$store/errors
rm -rf "$store/work.index"* "$store/changes.patch"
cp "$store/base.index" "$GIT_INDEX_FILE"
# git would read all files again that are as young as its index. Which of them changed is known better, see below.
touch -d "@$(($(date +%s) + 10))" "$GIT_INDEX_FILE"
new=0
problem=

# One look at everything: what git cannot keep, how many files there are, and which ones changed since the base was laid
# out. The size and the time of a file may be made to look unchanged; the time of its last status change may not.
look() {
  find . -name .git -prune -o \\
    \\( -type f -size +"${cap}c" -o ! -type f ! -type d ! -type l \\) -fprint0 "$store/special" , \\
    -type f -fprintf "$store/dots" . , \\
    \\( -type f -o -type l \\) -cnewer "$store/base.index" -fprintf "$store/newer" '%P\\0' 2>/dev/null
}
# Huge files stay out, pipes and devices count as deleted. Very many new files, such as packages that nobody told git to
# ignore, would take minutes: they stay out, too.
leave_out() {
  : > "$store/oversize"
  printf ':(top)\\0' > "$store/paths"
  which=-A
  if [ "$(wc -c < "$store/dots")" -gt "$((base_files + files))" ]; then
    new=$(git ls-files -z -o --exclude-standard 2>/dev/null | tr -dc '\\0' | wc -c)
    if [ "$new" -gt "$files" ]; then which=-u; problem=crowded; fi
  fi
  while IFS= read -r -d '' path; do
    if [ ! -f "$path" ]; then
      printf '%s\\0' "${path#./}" | git update-index --force-remove -z --stdin
    elif [ -n "$(git ls-files -o -m --exclude-standard -- ":(top,literal)${path#./}" | head -c 1)" ]; then
      printf ':(top,exclude,literal)%s\\0' "${path#./}" >> "$store/paths"
      printf '%s\\0' "${path#./}" >> "$store/oversize"
    fi
  done < "$store/special"
}
add_all() {
  git add "$which" --ignore-errors --pathspec-from-file="$store/paths" --pathspec-file-nul > "$errors" 2>&1 || return 1
  ! grep -q 'could not open directory' "$errors"
}
add_disguised() {
  git ls-files -z > "$store/ours"
  sort -z "$store/newer" | comm -z -12 - "$store/ours" > "$store/again"
  [ -s "$store/again" ] || return 0
  git update-index --force-remove -z --stdin < "$store/again"
  git update-index --add --remove -z --stdin < "$store/again" > "$errors" 2>&1
}
make_readable() {
  find . -name .git -prune -o \\
    \\( -type d ! \\( -readable -executable \\) -o -type f ! -readable \\) -exec chmod u+rwX {} + 2>/dev/null
}
added=no
for attempt in 1 2 3 4; do   # a file that is just being replaced needs no more than another look
  look
  leave_out
  if add_all && add_disguised; then added=yes; break; fi
  make_readable
done
[ "$added" = yes ] || problem=unreadable

# Of the agent's own index only names are taken: ignored files that it tracks all the same.
if [ -d .git ] && [ ! -L .git ] && [ -f .git/index ] && [ ! -L .git/index ]; then
  head -c 300000000 .git/index > "$store/agent.index"
  GIT_INDEX_FILE=$store/agent.index git ls-files -z > "$store/theirs" 2>/dev/null
  comm -z -23 "$store/theirs" "$store/ours" 2>/dev/null | while IFS= read -r -d '' path; do
    case /$path/ in */.git/*|*/../*) continue ;; esac
    if [ -L "$path" ] || { [ -f "$path" ] && [ "$(stat -c %s -- "$path")" -le "$cap" ]; }; then
      printf '%s\\0' "$path"
    fi
  done > "$store/extra"
  [ ! -s "$store/extra" ] || git update-index --add -z --stdin < "$store/extra" > /dev/null 2>&1
fi

# Only what differs goes on: the entries before and after. Their digest tells the host what the patch has to lead to.
[ -f "$store/before" ] || GIT_INDEX_FILE=$store/base.index git ls-files -s -z | sort -z > "$store/before"
git ls-files -s -z 2>>"$errors" | sort -z > "$store/after"
[ "${PIPESTATUS[*]}" = "0 0" ] || { tail -n 1 "$errors"; exit 95; }
comm -z -23 "$store/before" "$store/after" > "$store/old"
comm -z -13 "$store/before" "$store/after" > "$store/new"
cut -z -c 8- "$store/old" | cut -z -d ' ' -f 1 | tr '\\0' '\\n' > "$store/needed"
digest=$({ cat "$store/old"; printf '\\0'; cat "$store/new"; } | sha256sum | cut -c 1-64)
printf 'digest=%s\\nproblem=%s\\ncrowd=%s\\n' "$digest" "$problem" "$((new))" > "$store/state"
[ -s "$store/old" ] || [ -s "$store/new" ] || [ -n "$problem" ] || [ -s "$store/oversize" ] || digest=none
printf '\\nflue-ci-added=%s\\n' "$digest"
[ "$digest" != none ] || exit 0
"""

# Makes the patch; the base's files are in `objects`, or have just been sent as `needed.pack`.
_DIFF = """
set -u
umask 077
export GIT_DIR=$store
errors=$store/errors
. "$store/state"
if [ -f "$store/needed.pack" ]; then
  git index-pack --stdin < "$store/needed.pack" > /dev/null 2>>"$errors" || { tail -n 1 "$errors"; exit 95; }
  rm -f "$store/needed.pack"
fi
small_tree() {
  rm -f "$store/small.index"
  GIT_INDEX_FILE=$store/small.index git update-index -z --index-info < "$1" 2>>"$errors" &&
    GIT_INDEX_FILE=$store/small.index git write-tree --missing-ok 2>>"$errors"
}
old=$(small_tree "$store/old") && new=$(small_tree "$store/new") || { tail -n 1 "$errors"; exit 95; }
count=$(git diff-tree -r -z --name-only --no-renames "$old" "$new" | tr -dc '\\0' | wc -c)
git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color "$old" "$new" \\
  2>>"$errors" | head -c "$((limit + 1))" > "$store/changes.patch"
code=${PIPESTATUS[0]}
bytes=$(wc -c < "$store/changes.patch")
[ "$code" = 0 ] || [ "$bytes" -gt "$limit" ] || { tail -n 1 "$errors"; exit 95; }
[ "$problem" != crowded ] || echo "$crowd"
[ "$problem" != unreadable ] || grep -a '^error\\|^warning\\|^fatal' "$errors" | head -n 1 | cut -c 1-300
[ ! -s "$store/oversize" ] || { problem=oversize; tr '\\0\\n' '\\n?' < "$store/oversize" | head -n 3 | cut -c 1-200; }
printf '\\nflue-ci-collected=%s %s %s %s\\n' "$digest" "$((bytes))" "$((count))" "$problem"
"""
_ADDED = re.compile(r"^flue-ci-added=([0-9a-f]{64}|none)$", re.MULTILINE)
_COLLECTED = re.compile(r"^flue-ci-collected=([0-9a-f]{64}) ([0-9]{1,18}) ([0-9]{1,18}) (\w*)$", re.MULTILINE)
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collected:
    """What the scripts said: the tree that the files make, the size of the patch file, how many files, and what went
    wrong.
    """

    digest: str
    patch_bytes: int
    files: int
    problem: str
    details: tuple[str, ...]


async def collect(workspace: Workspace, source: Source, box: Sandbox, *, caps: PatchLimits | None = None) -> ChangeSet:
    """Everything in the work tree that differs from the base, committed or not; ignored files only when the agent
    tracks them.

    Can be called again. Raises `ChangesRefused` (with the patch, as far as there is one) for what breaks a rule of
    `verify_patch`, and when the work tree is gone or cannot be read; `WorkspaceError` when collecting itself fails;
    `SandboxLost`.
    """
    caps = caps or PatchLimits()
    values = {"root": workspace.root, "store": workspace.store}
    values |= {
        "cap": str(caps.file_bytes),
        "limit": str(caps.patch_bytes),
        "files": str(caps.files),
        "base_files": str(source.files),
    }
    first = _ADD + _DIFF if workspace.store_has_objects else _ADD
    result = await box.exec(shell_script(values, first), timeout=COLLECT_SECONDS, user="root")
    added = _match(_ADDED, result)
    if added[1] == "none":
        return ChangeSet(tree=source.tree)
    if not workspace.store_has_objects:
        await _send_needed(workspace, source, box)
        result = await box.exec(shell_script(values, _DIFF), timeout=COLLECT_SECONDS, user="root")
    found = _match(_COLLECTED, result)
    details = tuple(line for line in found.string[: found.start()].splitlines() if line and not _ADDED.match(line))
    collected = _Collected(
        digest=found[1], patch_bytes=int(found[2]), files=int(found[3]), problem=found[4], details=details
    )
    patch = await _download(workspace, box, caps) if collected.patch_bytes else b""
    _check_answer(collected, caps, patch)
    return await verify_patch(source, patch, caps=caps, digest=collected.digest)


async def _send_needed(workspace: Workspace, source: Source, box: Sandbox) -> None:
    """The base's content of the files that changed, from this host: the agent's own copy of it may say anything."""
    try:
        # One line for each file of the base at most.
        limit = (source.files + 1) * (len(source.tree) + 1)
        listed = await box.read(f"{workspace.store}/needed", limit=limit, user="root")
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"the list of changed files could not be read: {one_line(str(error))}") from error
    await source.settle()  # or a name could be that of another object of the checkout
    names = [name for name in listed.decode("ascii", "replace").split() if _NAME.fullmatch(name)]
    known = await object_sizes(source.git, names)
    if not known:
        return
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="needed-") as directory:
        lines = "".join(f"{name}\n" for name in known).encode()
        done = await source.git.run("pack-objects", "--delta-base-offset", "-q", f"{directory}/pack", stdin=lines)
        pack = Path(directory, f"pack-{done.line}.pack")
        await upload_files(box, {f"{workspace.store}/needed.pack": pack}, user="root")


def _match(pattern: re.Pattern[str], result: ExecResult) -> re.Match[str]:
    """The line that a script ends with, or the reason why it did not get there."""
    text = result.output.decode("utf-8", "replace")
    match = None if result.exit_code or result.timed_out else pattern.search(text)
    if match:
        return match
    if result.timed_out:
        raise ChangesRefused(
            f"the changes could not be collected within {COLLECT_SECONDS:.0f} seconds",
            hint="Are there very many files?",
        )
    if result.exit_code == _GONE:
        raise ChangesRefused(
            "the work tree in the sandbox was deleted or replaced",
            hint="That counts as no result: deleting every file is not a change that anybody asked for.",
        )
    if result.exit_code == _NO_STORE:
        raise ChangesRefused(
            "the base for comparison was deleted in the sandbox", hint="Something inside acted as root."
        )
    last = one_line(plain(text).strip().rpartition("\n")[2], 200) or f"exit code {result.exit_code}"
    raise WorkspaceError(f"the changes could not be collected: {last}", hint="Is the disk of the sandbox full?")


async def _download(workspace: Workspace, box: Sandbox, caps: PatchLimits) -> bytes:
    try:
        return await box.read(f"{workspace.store}/changes.patch", limit=caps.patch_bytes + 1, user="root")
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"the patch could not be read from the sandbox: {one_line(str(error))}") from error


def _check_answer(collected: _Collected, caps: PatchLimits, patch: bytes) -> None:
    """What the sandbox itself reports. It may lie, so `verify_patch` looks again; this gives the better messages."""
    few = ", ".join(display_name(name) for name in collected.details[:3])
    if collected.problem == "oversize":
        raise ChangesRefused(
            f"larger than {human_bytes(caps.file_bytes)}: {few}", hint=f"Name it in .gitignore. {_KEPT}", patch=patch
        )
    if collected.problem == "crowded":
        raise ChangesRefused(
            f"{few} new files, more than {caps.files:,}",
            hint=f"Is a directory missing in .gitignore? {_KEPT}",
            patch=patch,
        )
    if collected.problem:
        raise ChangesRefused(f"a file could not be read: {few or 'no reason given'}", hint=_KEPT, patch=patch)
    if collected.files > caps.files:
        raise ChangesRefused(
            f"{plural(collected.files, 'file')} changed, more than {caps.files:,}",
            hint="Is a directory missing in .gitignore? " + _KEPT.replace("rest", "beginning"),
            patch=patch,
        )
    if len(patch) > caps.patch_bytes:
        raise ChangesRefused(
            f"the changes are a patch of more than {human_bytes(caps.patch_bytes)}",
            hint=_KEPT.replace("rest", "beginning"),
            patch=patch,
        )
