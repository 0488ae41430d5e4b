"""Agent Skills of the trusted ref: `.agents/skills/<name>/SKILL.md` with a front matter of `name` and `description`.

Name and description go into the prompt; the files are copied into the sandbox, where the agent reads them when it needs
them. A skill that breaks the format is left out with a note.
"""

import re
from pathlib import Path

from flue_ci.agent.system_prompt import Skill
from flue_ci.core.errors import SpecError, UsageError
from flue_ci.core.text import AGENT_NAME, did_you_mean
from flue_ci.git.path_rules import is_inside_repository, read_repository_file
from flue_ci.spec.hidden_text import hidden_characters
from flue_ci.spec.yaml_document import parse

FOLDER = ".agents/skills"
INSIDE = ".flue/skills"  # relative to the sandbox's home
MAX_FILES, MAX_BYTES = 200, 5_000_000


def load_skills(repo: Path, selection: str | tuple[str, ...]) -> tuple[tuple[Skill, ...], tuple[str, ...]]:
    """The skills of `selection`, and notes about those that are left out. `selection` is `auto` for all, `none`, or
    names. Raises `UsageError` for a name that is missing."""
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
    by_name = {skill.name: skill for skill in skills}
    for name in selection:
        if name not in by_name:
            hint = did_you_mean(name, by_name, "; ".join(notes))
            raise UsageError(f"there is no usable skill {name!r} in {FOLDER}", hint=hint)
    return tuple(by_name[name] for name in selection), tuple(notes)


def _load(repo: Path, folder: Path) -> Skill:
    text = read_repository_file(repo, folder / "SKILL.md", MAX_BYTES).removeprefix("\ufeff")
    if problems := hidden_characters(text, "SKILL.md"):
        raise ValueError(f"SKILL.md, line {problems[0].line}, column {problems[0].column}: {problems[0].message}")
    match = re.match(r"---\r?\n(.*?)\r?\n---\s*(?:\n|$)", text, re.DOTALL)
    if not match:
        raise ValueError("SKILL.md does not begin with a front matter (--- name, description ---)")
    try:
        front = parse(match[1].encode(), str(folder / "SKILL.md")).data
    except SpecError as error:
        raise ValueError(str(error.diagnostics[0].message)) from error
    name, description = front.get("name"), front.get("description")
    if name != folder.name or not isinstance(name, str) or not re.fullmatch(AGENT_NAME, name) or name.endswith("-"):
        raise ValueError(f"its name is {name!r}, but must be the folder's, in lower-case letters, digits and hyphens")
    if not isinstance(description, str) or not description.strip() or len(description) > 1024:
        raise ValueError("its description must be a text of 1 to 1024 characters")
    paths = (path for path in sorted(folder.rglob("*")) if is_inside_repository(repo, path))
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    if len(files) > MAX_FILES or sum(path.stat().st_size for path in files.values()) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_FILES} files or {MAX_BYTES:,} bytes")
    return Skill(name=name, description=" ".join(description.split()), path=f"~/{INSIDE}/{name}", files=files)
