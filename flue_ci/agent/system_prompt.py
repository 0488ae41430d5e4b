"""The agent's task: the system prompt (`system_prompt.md`, the surroundings, the trusted spec and the repository's
guidance) and the prompt.

The same job gives the same bytes, so that the provider's prompt cache hits on every turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.ports import Limits, Network, Task
from flue_ci.core.proposals import ProposalRules
from flue_ci.core.text import clip, human_seconds

GUIDANCE_CHARS = 32_000
_RULES = Path(__file__).with_name("system_prompt.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill. `path` is the folder of its files inside the sandbox, `files` are those of the host, by their paths in
    that folder."""

    name: str
    description: str
    path: str
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParts:
    """Everything the task is made of. `prompt` and `instructions` are rendered already; `guidance` is AGENTS.md of
    the trusted ref, `rules` what the agent may propose for publication; `notes` say what of the repository is not, or
    not as it was, in the sandbox."""

    instructions: str
    prompt: str
    guidance: str = ""
    notes: tuple[str, ...] = ()
    skills: tuple[Skill, ...] = ()
    network: Network
    check_commands: tuple[str, ...] = ()
    tools: tuple[str, ...]
    limits: Limits
    result_schema: Mapping[str, object] | None = None
    rules: ProposalRules = field(default_factory=ProposalRules)


def build_task(parts: PromptParts, workdir: str) -> Task:
    """The engine's task. `workdir` is the repository's absolute path in the sandbox."""
    rules = _RULES.read_text("utf-8").removesuffix("\n").format(workdir=workdir)
    sections = [rules, _surroundings(parts)]
    if parts.instructions.strip():
        sections.append(f"# Instructions\n{parts.instructions.strip()}")
    if guidance := clip(parts.guidance.strip(), GUIDANCE_CHARS, "\n[… cut; the rest is in AGENTS.md]"):
        sections.append(f"# The repository's AGENTS.md\n{guidance}")
    if parts.skills:
        skills = "\n".join(
            f"- {skill.name}: {skill.description} (read {skill.path}/SKILL.md)" for skill in parts.skills
        )
        sections.append(f"# Skills\nRead a skill's file before you do what it is for.\n{skills}")
    return Task(
        system="\n\n".join(sections),
        prompt=parts.prompt.strip() or "Do what your instructions say.",
        workdir=workdir,
        tools=parts.tools,
        limits=parts.limits,
        result_schema=parts.result_schema,
        rules=parts.rules,
    )


def _surroundings(parts: PromptParts) -> str:
    """Network, limits, checks and the way to give a result, one line each."""
    networks = {"none": "no network", "open": "open network"}
    network = networks.get(parts.network.mode, f"network to {parts.network} only")
    bounds = []
    if parts.limits.turns:
        bounds.append(f"{parts.limits.turns} turns")
    if parts.limits.minutes:
        bounds.append(f"{parts.limits.minutes:g} minutes")
    lines = [
        f"Surroundings: {network}; {', '.join(bounds) or 'no limit of turns'}; "
        f"a command may take {human_seconds(parts.limits.command_seconds)} at most."
    ]
    if parts.notes:
        notes = "\n".join(f"- {note}" for note in parts.notes)
        lines.append(f"Of the repository:\n{notes}")
    if parts.check_commands:
        commands = "\n".join(f"- {command}" for command in parts.check_commands)
        lines.append(f"Afterwards these checks decide whether the run passes:\n{commands}")
    if parts.rules.labels:
        lines.append(f"Labels that you may add: {', '.join(parts.rules.labels)}.")
    if parts.rules.assignees:
        lines.append(f"People whom you may assign: {', '.join(parts.rules.assignees)}.")
    if parts.result_schema:
        lines.append("Give your result by calling `finish`, alone, when everything else is done.")
    return "\n".join(lines)
