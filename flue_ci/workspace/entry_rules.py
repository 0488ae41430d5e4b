"""Which changed paths are left out of the changes, and why. One bad entry does not cost the others."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flue_ci.core.text import human_bytes
from flue_ci.git.command import read_objects, split_nul
from flue_ci.git.diffs import Entry
from flue_ci.git.path_rules import display_name, fold_path, link_problem, path_problem
from flue_ci.git.source import Source

SECONDS = 120.0  # for one git
_TARGET_LIMIT = 4096  # the longest path that Linux follows
_LINK, _MODULE = "120000", "160000"
_LINK_LINE = re.compile(rb"(?:^|\0)120000 blob [0-9a-f]+\t([^\0]+)")
_NAMES, _REASONS = 3, 20  # that notes have at most


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLimits:
    """How much may come back: bytes of the patch, files changed, bytes of one changed file, bytes of all of them."""

    patch_bytes: int = 20_000_000
    files: int = 10_000
    file_bytes: int = 50_000_000
    total_bytes: int = 500_000_000


LIMITS = PatchLimits()


async def find_problems(
    source: Source, tree: str, entries: Sequence[Entry], sizes: Mapping[str, int], limits: PatchLimits
) -> dict[str, str]:
    """The reason for each path of `entries` that breaks a rule, by path. `entries` lead from the base to `tree`;
    `sizes` are those of their blobs in bytes.

    Where there is too much, files of the base go first, then new ones in the order of their paths.
    """
    problems: dict[str, str] = {}
    for entry in entries:
        if reason := _name_problem(entry):
            problems[entry.path] = reason
    present = [entry for entry in entries if entry.status != "D" and entry.path not in problems]
    for entry in present:
        if sizes.get(entry.blob, 0) > limits.file_bytes:
            size = human_bytes(sizes[entry.blob])
            problems[entry.path] = f"it has {size}, more than {human_bytes(limits.file_bytes)}"
    problems |= await _link_problems(source, [entry for entry in present if entry.mode == _LINK], sizes)
    problems |= await _case_problems(source, tree, entries)
    problems |= _excess([entry for entry in entries if entry.path not in problems], sizes, limits)
    return problems | _dependents(entries, problems)


def describe_omissions(problems: Mapping[str, str]) -> tuple[str, ...]:
    """A note for each reason, with the first names."""
    names = defaultdict[str, list[str]](list)
    for path, reason in problems.items():
        names[reason].append(display_name(path))
    notes = []
    for reason, paths in list(names.items())[:_REASONS]:
        text = ", ".join(paths[:_NAMES])
        if len(paths) > _NAMES:
            text += f" and {len(paths) - _NAMES:,} more"
        notes.append(f"{text}: left out of the changes, because {reason}")
    rest = sum(map(len, list(names.values())[_REASONS:]))
    if rest:
        notes.append(f"{rest:,} more paths were left out of the changes for reasons of this kind")
    return tuple(notes)


def _name_problem(entry: Entry) -> str | None:
    for path, in_base in ((entry.path, entry.status in "MDT"), (entry.old_path or "", True)):
        if problem := path_problem(path, in_base=in_base):
            return problem
    if _MODULE in (entry.old_mode, entry.mode):
        return "it is a repository inside the repository (submodule link)"
    return None


def _excess(entries: Sequence[Entry], sizes: Mapping[str, int], limits: PatchLimits) -> dict[str, str]:
    """What is over the limits of number and of bytes."""
    problems: dict[str, str] = {}
    total = count = 0
    for entry in sorted(entries, key=lambda entry: entry.status in "AC"):
        size = sizes.get(entry.blob, 0) + sizes.get(entry.old_blob, 0)  # a patch has both
        if count >= limits.files:
            problems[entry.path] = f"more than {limits.files:,} files changed"
        elif total + size > limits.total_bytes:
            problems[entry.path] = f"the changes have more than {human_bytes(limits.total_bytes)} together"
        else:
            total, count = total + size, count + 1
    return problems


def _dependents(entries: Sequence[Entry], problems: Mapping[str, str]) -> dict[str, str]:
    """What cannot be without an entry that is left out: a file in a directory that stays a file, or the contrary."""
    problems = dict(problems)
    dependents: dict[str, str] = {}
    while True:
        present = {
            path
            for entry in entries
            if entry.path in problems and entry.status not in "AC"
            for path in (entry.old_path or entry.path,)
        }
        folders = {path[:end] for path in present for end, sign in enumerate(path) if sign == "/"}
        more = {
            entry.path: f"{display_name(entry.path.split('/')[0])} was left out"
            for entry in entries
            if entry.path not in problems
            and entry.status != "D"
            and (entry.path in folders or any(entry.path.startswith(f"{path}/") for path in present))
        }
        if not more:
            return dependents
        problems |= more
        dependents |= more


async def _link_problems(source: Source, links: Sequence[Entry], sizes: Mapping[str, int]) -> dict[str, str]:
    blobs = [entry.blob for entry in links if sizes.get(entry.blob, 0) <= _TARGET_LIMIT]
    targets = await read_objects(source.git, blobs)
    problems: dict[str, str] = {}
    for entry in links:
        problem: str | None = "its target is no path"
        if (target := targets.get(entry.blob)) is not None:
            problem = link_problem(entry.path, target)
        if problem:
            problems[entry.path] = f"it is a symbolic link that is not accepted: {problem}"
    return problems


async def _case_problems(source: Source, tree: str, entries: Sequence[Entry]) -> dict[str, str]:
    """Paths where a symbolic link and a directory differ in case only, such as `A` and `a/b`: on a file system that
    ignores case, `a/b` would be written to the place that the link `A` leads to."""
    new = {entry.path for entry in entries if entry.status in "ARCT"}
    if not new:
        return {}
    lines = (await source.git.run("ls-tree", "-r", "-z", "--full-tree", tree, timeout=SECONDS)).out
    links = {fold_path(path): path for path in map(os.fsdecode, _LINK_LINE.findall(lines))}
    if not links:
        return {}
    paths = new
    if any(entry.mode == _LINK for entry in entries):
        paths = {os.fsdecode(line.partition(b"\t")[2]) for line in split_nul(lines)}
    problems: dict[str, str] = {}
    for path in paths:
        parents = fold_path(path).split("/")[:-1]
        for end in range(len(parents)):
            link = links.get("/".join(parents[: end + 1]))
            if link is None or not {link, path} & new:
                continue
            name = link if path not in new else path
            problems[name] = f"on some file systems the way to {display_name(path)} leads over {display_name(link)}"
    return problems
