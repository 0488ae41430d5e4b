"""The `grep` and `glob` tools' shell scripts and the reading of their output. Both stand on git, so ignore rules are
git's own."""

from __future__ import annotations

import shlex

from flue_ci.core.text import plural

MATCHES = 100
LINE_BYTES = 500
PATHS = 1_000
_CLEAN_GIT = "git -c core.quotePath=false -c core.fsmonitor=false -c color.ui=false"
_LS = f"{_CLEAN_GIT} ls-files --cached --others --exclude-standard --deduplicate"


def grep_script(pattern: str, path: str, glob: str, *, ignore_case: bool, syntax: str = "-P") -> str:
    """Prints at most one line more than `MATCHES`; paths count from the repository's top. `syntax`: `-P` Perl's,
    `-E` POSIX extended.

    The exit code is git's own: 0 found, 1 nothing, more for an error whose text is then the output; 141 when its
    output was cut.
    """
    place = shlex.quote(path)
    flags = f"-n -I --untracked --full-name {syntax}" + (" -i" if ignore_case else "")
    only = shlex.quote(f":(glob){glob}") if glob else '"${only:-.}"'
    return (
        f"only=; if [ -d {place} ]; then cd -- {place}; "
        f'else cd -- "$(dirname -- {place})" && only=$(basename -- {place}); fi || exit 9\n'
        f"{_CLEAN_GIT} grep {flags} -e {shlex.quote(pattern)} -- {only} 2>&1 "
        f"| cut -b 1-{LINE_BYTES + 1} | head -n {MATCHES + 1}\n"
        "exit ${PIPESTATUS[0]}"
    )


def glob_script(pattern: str, path: str) -> str:
    """Prints at most one existing path more than `PATHS`, relative to `path`."""
    return (
        f"cd -- {shlex.quote(path)} || exit 9\n"
        f"{_LS} -- {shlex.quote(':(glob)' + pattern)} 2>&1 | "
        f'while IFS= read -r file; do [ -e "$file" ] && printf \'%s\\n\' "$file"; done | head -n {PATHS + 1}'
    )


def read_grep(exit_code: int, output: str) -> tuple[str, str]:
    """(text for the model, note for people). Raises `ValueError` with git's words for a bad pattern or path."""
    lines = output.splitlines()
    if exit_code == 1 or (exit_code in (0, 141) and not lines):
        return "No match. (Files that git ignores were not searched.)", "no match"
    if exit_code not in (0, 141):
        raise ValueError(f"The search failed: {output.strip() or 'no such file or directory'}")
    lines = [f"{line} [… line cut]" if len(line.encode()) > LINE_BYTES else line for line in lines]
    return _cut(lines, MATCHES, "match", "narrow the pattern, or set path or glob")


def read_glob(exit_code: int, output: str) -> tuple[str, str]:
    """The same for names."""
    lines = output.splitlines()
    if exit_code == 9 or (lines and lines[0].startswith("fatal:")):
        raise ValueError(f"The listing failed: {output.strip()}")
    if not lines:
        return "No file has such a name. (Files that git ignores are not listed; `**/` matches any depth.)", "none"
    return _cut(lines, PATHS, "file", "narrow the pattern")


def _cut(lines: list[str], most: int, noun: str, advice: str) -> tuple[str, str]:
    shown = lines[:most]
    if len(lines) > most:
        return "\n".join([*shown, f"[the first {most}; there are more: {advice}]"]), f"first {most}"
    count = plural(len(shown), noun) if noun != "match" or len(shown) == 1 else f"{len(shown)} matches"
    return "\n".join(shown), count
