"""Agent Skills of the trusted ref: `.agents/skills/<name>/SKILL.md` with a front matter of `name` and `description`.

Only name and description go into the prompt; the files are copied into the sandbox and read on demand. A skill that
breaks the format is left out with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flue_ci.agent.system_prompt import Skill
from flue_ci.core.errors import SpecError, UsageError
from flue_ci.core.text import closest_match
from flue_ci.git.own_files import is_inside_repository, read_repository_file
from flue_ci.spec.yaml_document import parse

FOLDER = ".agents/skills"
INSIDE = ".flue/skills"  # relative to the sandbox's home
MAX_FILES, MAX_BYTES = 200, 5_000_000
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFiles:
    """A skill with its files: path inside the skill's folder → path on the host."""

    name: str
    description: str
    files: tuple[tuple[str, Path], ...]

    def inside(self, home: str) -> Skill:
        return Skill(name=self.name, description=self.description, path=f"{home}/{INSIDE}/{self.name}")


def load_skills(repo: Path, selection: str | tuple[str, ...]) -> tuple[tuple[SkillFiles, ...], tuple[str, ...]]:
    """The skills and notes about those left out. `wanted`: `auto` (all), `none`, or names; a name that is missing is
    a `UsageError`."""
    if selection == "none":
        return (), ()
    folders = sorted(path.parent for path in (repo / FOLDER).glob("*/SKILL.md"))
    skills, notes = [], []
    for folder in folders:
        try:
            skills.append(_load(repo, folder))
        except ValueError as error:
            notes.append(f"skill {folder.name} is left out: {error}")
    if selection == "auto":
        return tuple(skills), tuple(notes)
    found = {skill.name: skill for skill in skills}
    for name in selection:
        if name not in found:
            near = closest_match(name, found)
            raise UsageError(
                f"there is no usable skill {name!r} in {FOLDER}",
                hint=f"did you mean {near!r}?" if near else "; ".join(notes),
            )
    return tuple(found[name] for name in selection), tuple(notes)


def _load(repo: Path, folder: Path) -> SkillFiles:
    text = read_repository_file(repo, folder / "SKILL.md", MAX_BYTES)
    match = re.match(r"---\r?\n(.*?)\r?\n---\s*(?:\n|$)", text, re.DOTALL)
    if not match:
        raise ValueError("SKILL.md does not begin with a front matter (--- name, description ---)")
    try:
        front = parse(match[1].encode(), str(folder / "SKILL.md")).data
    except SpecError as error:
        raise ValueError(str(error.diagnostics[0].message)) from error
    name, description = front.get("name"), front.get("description")
    if name != folder.name or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"its name is {name!r}, but must be the folder's, in small letters, digits and hyphens")
    if not isinstance(description, str) or not description.strip() or len(description) > 1024:
        raise ValueError("its description must be a text of 1 to 1024 characters")
    files = tuple(_files(repo, folder))
    if len(files) > MAX_FILES or sum(path.stat().st_size for _, path in files) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_FILES} files or {MAX_BYTES:,} bytes")
    return SkillFiles(name=name, description=" ".join(description.split()), files=files)


def _files(repo: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if is_inside_repository(repo, path):
            yield path.relative_to(folder).as_posix(), path
