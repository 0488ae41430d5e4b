"""What two specs of one folder cannot both have: a name, the word of a comment that starts them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.spec.load import ENDINGS, load_spec
from flue_ci.spec.problems import Problems
from flue_ci.spec.schema import AgentSpec


def find_conflicts(paths: Sequence[Path]) -> list[Diagnostic]:
    """The problems of the specs in `paths` with each other and with the valid ones beside them. Each is reported at one
    of the two."""
    own = {path.resolve() for path in paths}
    specs = dict(_valid_specs(sorted({file for path in own for file in _siblings(path)} | own)))
    problems: list[Diagnostic] = []
    for path, spec in specs.items():
        for other, other_spec in specs.items():
            is_reported_here = other < path or (other not in own and other != path)
            if path in own and other.parent == path.parent and is_reported_here:
                problems += _compare(spec, other_spec, other.name)
    return problems


def _siblings(path: Path) -> list[Path]:
    return [file for file in path.parent.iterdir() if file.suffix in ENDINGS and file.is_file()]


def _valid_specs(paths: Sequence[Path]) -> Iterator[tuple[Path, AgentSpec]]:
    for path in paths:
        try:
            yield path, load_spec(path)
        except SpecError:
            continue


def _compare(spec: AgentSpec, other: AgentSpec, file: str) -> tuple[Diagnostic, ...]:
    problems = Problems(spec.document)
    if spec.name.lower() == other.name.lower():
        problems.add(("name",), f"{file} has the name `{other.name}` as well", "give each agent a name of its own")
    word, other_word = spec.triggers.comment, other.triggers.comment
    if word and other_word and word.lower() == other_word.lower():
        message = f"`{other_word}` starts the agent of {file} as well, and only one of them would run"
        problems.add(("triggers", "comment"), message, "give each agent a word of its own")
    return problems.in_file_order()
