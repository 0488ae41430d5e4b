"""Agent specs: finds them, reads them with every problem at its place, and names what this version does not do yet, and
what two specs of one folder cannot both have."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from flue_ci.core.errors import Diagnostic, SpecError, UsageError
from flue_ci.core.text import did_you_mean, human_bytes, one_line
from flue_ci.git.path_rules import is_inside_repository
from flue_ci.models.registry import NOT_SUPPORTED_YET
from flue_ci.spec.overrides import apply_overrides
from flue_ci.spec.problems import Problems
from flue_ci.spec.schema import AgentSpec, ProgramSpec
from flue_ci.spec.validation import check_document
from flue_ci.spec.yaml_document import MAX_BYTES, parse

FOLDER = Path(".flue/agents")
ENDINGS = (".yml", ".yaml")


def find_root(start: Path) -> Path:
    """The top of the checkout that `start` is in: the nearest directory with `.git`; `start` itself where there is
    none. Absolute. Raises `UsageError` in a working directory that was deleted."""
    try:
        start = start.resolve()
    except FileNotFoundError:
        raise UsageError("the working directory does not exist any more", hint="cd to one that does") from None
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), start)


def display_path(path: Path) -> str:
    """`path` as people write it in the working directory."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return str(path)
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def find_specs(repo: Path) -> list[Path]:
    """The agent specs of a repository, sorted by name."""
    files = (repo / FOLDER).glob("*")  # none when there is no such folder
    return sorted(file for file in files if file.suffix in ENDINGS and is_inside_repository(repo, file))


def find_spec(repo: Path, name: str) -> Path:
    """The spec of the agent `name` in `repo`, or the file when `name` is the path of one. Raises `UsageError`."""
    if "/" in name or name.endswith(ENDINGS):
        for file in (Path(name), repo / name):
            if file.is_file():
                return file
        raise UsageError(f"there is no file {one_line(name)}", hint="`flue-ci list` shows the agents of a repository")
    specs = find_specs(repo)
    matches = [file for file in specs if file.stem == name]
    if len(matches) > 1:
        message = f"two files for the agent {name}: {matches[0].name} and {matches[1].name}"
        raise UsageError(message, hint="remove one of them")
    if matches:
        return matches[0]
    names = [file.stem for file in specs]
    if not names:
        raise UsageError(f"there are no agents in {FOLDER}", hint="`flue-ci init` writes one to start from")
    message = f"there is no agent {one_line(name, 60)}; there are: {', '.join(names)}"
    raise UsageError(message, hint=did_you_mean(name, names))


def load_spec(path: Path, text: bytes | None = None, *, overrides: Sequence[str] = ()) -> AgentSpec:
    """The spec in the file `path`; with `text`, its content is that and `path` only names it.

    `overrides` are changes such as `limits.turns=10`, checked like the keys of the file.
    Raises `SpecError` with every problem that can be seen, in the order of the file.
    """
    file = display_path(path)
    document = apply_overrides(parse(_read(path, file) if text is None else text, file), overrides)
    spec, problems = check_document(document, default_name=path.stem)
    if problems:
        raise SpecError(problems)
    assert spec is not None  # no spec, then an error of its shape
    return spec.read_from(document)


def load_valid_specs(paths: Iterable[Path]) -> dict[Path, AgentSpec]:
    """Those that can be read, by their files. What is wrong with the others `validate` says."""
    specs = {}
    for path in paths:
        with suppress(SpecError):
            specs[path] = load_spec(path)
    return specs


def find_conflicts(paths: Sequence[Path]) -> list[Diagnostic]:
    """The problems of the specs in `paths` with each other and with the valid ones beside them, which have a name or
    the word of a comment as well. Each is reported at one of the two."""
    own = {path.resolve() for path in paths}
    siblings = {file for path in own for file in path.parent.iterdir() if file.suffix in ENDINGS and file.is_file()}
    specs = load_valid_specs(sorted(siblings | own))
    problems: list[Diagnostic] = []
    for path, spec in specs.items():
        for other, other_spec in specs.items():
            is_reported_here = other < path or (other not in own and other != path)
            if path in own and other.parent == path.parent and is_reported_here:
                problems += _compare(spec, other_spec, other.name)
    return problems


def _compare(spec: AgentSpec, other: AgentSpec, file: str) -> tuple[Diagnostic, ...]:
    problems = Problems(spec.document)
    if spec.name.lower() == other.name.lower():
        problems.add(("name",), f"{file} has the name `{other.name}` as well", "give each agent a name of its own")
    word, other_word = spec.triggers.comment, other.triggers.comment
    if word and other_word and word.lower() == other_word.lower():
        message = f"`{other_word}` starts the agent of {file} as well, and only one of them would run"
        problems.add(("triggers", "comment"), message, "give each agent a word of its own")
    return problems.in_file_order()


def not_supported_yet(spec: AgentSpec) -> tuple[Diagnostic, ...]:
    """The keys of the spec that this version reads but does not do. A run refuses them."""
    provider = spec.model.provider
    candidates = (
        (isinstance(spec.engine, ProgramSpec), "engine", "running another agent's program is", "use `engine: agent`"),
        (provider in NOT_SUPPORTED_YET, "model.provider", f"the provider `{provider}` is", "use anthropic"),
    )
    problems = Problems(spec.document)
    for is_set, key, subject, hint in candidates:
        if is_set:
            problems.add(tuple(key.split(".")), f"{subject} not supported yet", hint)
    return tuple(problems.diagnostics)


def only_on_github(spec: AgentSpec) -> tuple[Diagnostic, ...]:
    """The keys of the spec that have no effect in a local run. Notes, not errors."""
    notes = Problems(spec.document)
    if "triggers" in spec.model_fields_set:
        notes.add(("triggers",), "starts the agent on GitHub only", at_key=True)
    if "comment" in spec.publish.model_fields_set and spec.publish.comment != "none":
        notes.add(("publish", "comment"), "there is no comment in a local run", at_key=True)
    return tuple(notes.diagnostics)


def _read(path: Path, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        message = f"cannot be read: {error.strerror or type(error).__name__}"
        raise SpecError((Diagnostic(file=file, message=message),)) from None
    if len(data) > MAX_BYTES:
        message = f"{human_bytes(max(size, len(data)))} is too large for an agent spec"
        raise SpecError((Diagnostic(file=file, message=message, hint=f"at most {human_bytes(MAX_BYTES)}"),))
    return data
