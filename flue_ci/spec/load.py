"""Agent specs, the door: finding and reading them, every problem at its place, and what is not done yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

from flue_ci.core.errors import Diagnostic, SpecError, UsageError
from flue_ci.core.text import closest_match, human_bytes, one_line, plural
from flue_ci.git.own_files import is_inside_repository
from flue_ci.models.registry import NOT_SUPPORTED_YET
from flue_ci.spec.json_schema import json_schema
from flue_ci.spec.messages import path_of, to_diagnostic
from flue_ci.spec.overrides import apply_overrides
from flue_ci.spec.rules import RULES, Finding
from flue_ci.spec.schema import OTHER_PUBLISHERS, AgentSpec, ModelSpec, ProgramSpec, validate
from flue_ci.spec.yaml_document import MAX_BYTES, Document, KeyPath, format_path, parse

__all__ = [
    "AgentSpec",
    "ModelSpec",
    "display_path",
    "find_root",
    "find_spec",
    "find_specs",
    "json_schema",
    "load_spec",
    "not_supported_yet",
    "only_on_github",
]

FOLDER = File(".flue/agents")
ENDINGS = (".yml", ".yaml")
MAX_PROBLEMS = 50


def find_root(start: File) -> File:
    """The top of the checkout that `start` is in: the nearest directory with `.git`; `start` itself where there is
    none. Absolute."""
    here = start.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def display_path(path: File) -> str:
    """`path` as people write it from where they stand."""
    here = File.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def find_specs(repo: File) -> list[File]:
    """The agent specs of a repository, sorted by name."""
    folder = repo / FOLDER
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix in ENDINGS and is_inside_repository(repo, file))


def find_spec(repo: File, name: str) -> File:
    """The spec of the agent `name` in `repo`, or the file when `name` is the path of one. Raises `UsageError`."""
    if "/" in name or name.endswith(ENDINGS):
        for file in (File(name), repo / name):
            if file.is_file():
                return file
        raise UsageError(f"there is no file {one_line(name)}", hint="`flue-ci list` shows the agents of a repository")
    specs = find_specs(repo)
    found = [file for file in specs if file.stem == name]
    if len(found) > 1:
        raise UsageError(
            f"two files for the agent {name}: {found[0].name} and {found[1].name}", hint="remove one of them"
        )
    if found:
        return found[0]
    names = [file.stem for file in specs]
    if not names:
        raise UsageError(f"there are no agents in {FOLDER}", hint="`flue-ci init` writes one to start from")
    near = closest_match(name, names)
    message = f"there is no agent {one_line(name, 60)}; there are: {', '.join(names)}"
    raise UsageError(message, hint=f"did you mean {near}?" if near else "")


def load_spec(path: File, text: bytes | None = None, *, overrides: Sequence[str] = ()) -> AgentSpec:
    """The spec in the file `path`; with `text`, its content is that and `path` only names it.

    `overrides` are changes such as `limits.turns=10`, checked like what stands in the file.
    Raises `SpecError` with every problem that can be told, in the order of the file.
    """
    file = display_path(path)
    document = apply_overrides(parse(_read(path, file) if text is None else text, file), overrides)
    problems = list(document.problems)
    problems += _empty_values(document)
    flawed = {*document.invalid_paths, *(path for path, value in _leaves(document.data) if value is None)}
    data = _without_empty(document.data)
    data.setdefault("name", path.stem)
    spec, errors = validate(data)
    problems += [
        to_diagnostic(error, document) for error in errors[: 2 * MAX_PROBLEMS] if not _under(path_of(error), flawed)
    ]
    broken = flawed | {_repairable(error) for error in errors}
    if spec is None:
        spec = validate(_without(data, broken))[0]
    if spec is not None:
        problems += [_told(finding, document) for finding in _findings(spec, broken)]
    if problems:
        raise SpecError(_ordered(problems, file))
    assert spec is not None  # no problem without an error, no error without a problem
    return spec.read_from(document)


def not_supported_yet(spec: AgentSpec) -> tuple[Diagnostic, ...]:
    """What the spec asks for that this version reads but does not do. A run refuses it."""
    return tuple(_told(finding, spec.document) for finding in _unsupported(spec))


def only_on_github(spec: AgentSpec) -> tuple[Diagnostic, ...]:
    """What the spec says that means nothing in a local run. Notes, not faults."""
    notes: list[Finding] = []
    if "triggers" in spec.model_fields_set:
        notes.append(Finding(path=("triggers",), message="starts the agent on GitHub only", at_key=True))
    if "comment" in spec.publish.model_fields_set and spec.publish.comment != "none":
        notes.append(Finding(path=("publish", "comment"), message="there is no comment in a local run", at_key=True))
    return tuple(_told(note, spec.document) for note in notes)


def _unsupported(spec: AgentSpec) -> Iterator[Finding]:
    later = "not supported yet"
    if isinstance(spec.engine, ProgramSpec):
        yield Finding(
            path=("engine",), message=f"running another agent's program is {later}", hint="use `engine: agent`"
        )
    if spec.model.provider in NOT_SUPPORTED_YET:
        message = f"the provider `{spec.model.provider}` is {later}"
        yield Finding(path=("model", "provider"), message=message, hint="use anthropic")
    if spec.publish.changes not in ("patch", "none") and not OTHER_PUBLISHERS.knows(spec.publish.changes):
        message = f"`{spec.publish.changes}` is {later}"
        yield Finding(path=("publish", "changes"), message=message, hint="use patch")
    if spec.publish.review:
        yield Finding(path=("publish", "review"), message=f"review comments are {later}", hint="remove the key")
    if spec.publish.labels:
        yield Finding(path=("publish", "labels"), message=f"setting labels is {later}", hint="remove the key")
    if spec.workspace.submodules:
        yield Finding(path=("workspace", "submodules"), message=f"submodules are {later}", hint="remove the key")
    if spec.workspace.lfs:
        yield Finding(path=("workspace", "lfs"), message=f"Git LFS is {later}", hint="remove the key")


def _read(path: File, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SpecError(
            (Diagnostic(file=file, line=0, column=0, key="", message=f"cannot be read: {reason}"),)
        ) from None
    if len(data) > MAX_BYTES:
        message = f"{human_bytes(max(size, len(data)))} is too large for an agent spec"
        hint = f"at most {human_bytes(MAX_BYTES)}"
        raise SpecError((Diagnostic(file=file, line=0, column=0, key="", message=message, hint=hint),))
    return data


def _leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every value with its path, except what is inside of `result`, where all of JSON is allowed."""
    yield path, value
    if path == ("result",):
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _leaves(item, (*path, key))


def _empty_values(document: Document) -> Iterator[Diagnostic]:
    for path, value in _leaves(document.data):
        if value is None and path not in document.invalid_paths:
            hint = "give one, or remove the item" if isinstance(path[-1], int) else "give one, or remove the key"
            yield _told(Finding(path=path, message="has no value", hint=hint, at_key=True), document)


def _without_empty(data: dict[str, object]) -> dict[str, Any]:
    """A copy of the mappings, without keys that have no value. Lists keep their places."""

    def copy(value: object, path: KeyPath) -> Any:
        if isinstance(value, dict) and path != ("result",):
            return {key: copy(item, (*path, key)) for key, item in value.items() if item is not None}
        if isinstance(value, list):
            return [copy(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return {key: copy(item, (key,)) for key, item in data.items() if item is not None}


def _repairable(error: Any) -> KeyPath:
    """The part to leave out so that the rest can still be looked at: no item of a list, or the others would move."""
    path = path_of(error)
    for index, part in enumerate(path):
        if isinstance(part, int):
            return path[:index]
    return path[:-1] if error["type"] == "missing" and len(path) > 1 else path


def _without(data: dict[str, Any], broken: set[KeyPath]) -> dict[str, Any]:
    """A copy of `data` where `broken` parts have their defaults."""

    def copy(value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: copy(item, (*path, key)) for key, item in value.items() if (*path, key) not in broken}

    return {"version": 1, **copy(data, ())}


def _findings(spec: AgentSpec, broken: set[KeyPath]) -> Iterator[Finding]:
    for needs, rule in RULES:
        if not any(_touch(need, path) for need in needs for path in broken):
            yield from (finding for finding in rule(spec) if not any(_touch(finding.path, path) for path in broken))


def _touch(one: KeyPath, other: KeyPath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _under(path: KeyPath, flawed: set[KeyPath]) -> bool:
    return any(path[:end] in flawed for end in range(1, len(path) + 1))


def _told(finding: Finding, document: Document | None) -> Diagnostic:
    if document is None:  # a spec that was made in memory
        return Diagnostic(
            file="", line=0, column=0, key=format_path(finding.path), message=finding.message, hint=finding.hint
        )
    return document.diagnostic(
        finding.path, finding.message, finding.hint, at_key=finding.at_key, line=finding.text_line
    )


def _ordered(problems: list[Diagnostic], file: str) -> tuple[Diagnostic, ...]:
    unique = sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column, problem.key))
    more = len(unique) - MAX_PROBLEMS
    if more <= 0:
        return tuple(unique)
    rest = Diagnostic(file=file, line=0, column=0, key="", message=f"and {plural(more, 'more problem')}")
    return (*unique[:MAX_PROBLEMS], rest)
