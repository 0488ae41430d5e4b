"""Checks a spec in three passes, so that people see all of its problems at once."""

from collections.abc import Iterator, Mapping
from typing import Any

from flue_ci.core.errors import Diagnostic
from flue_ci.spec.messages import describe_error
from flue_ci.spec.problems import MAX_PROBLEMS, Problems, touches
from flue_ci.spec.rules import NEEDS, RULES
from flue_ci.spec.schema import AgentSpec, validate
from flue_ci.spec.yaml_document import Document, KeyPath

_FREE_FORM: KeyPath = ("result",)  # holds a JSON Schema, where null is a value like any other


def check_document(document: Document, default_name: str) -> tuple[AgentSpec | None, tuple[Diagnostic, ...]]:
    """The spec, with defaults for the parts that are wrong (None when too much is), and all problems, in three passes:

    1. Every key has a value, as a value of YAML.
    2. pydantic compares keys and types with the schema.
    3. What the keys mean together.

    A later pass needs a spec, which a file with problems does not give. So the parts that a pass finds wrong are left
    out, which gives them their defaults, and what is left is read again. A rule that judges a part that was left out
    would judge a default: it is not applied, and neither is what it says about such a part reported.
    """
    problems, invalid = Problems(document, diagnostics=list(document.problems)), set(document.invalid_paths)
    for path, value in _values(document.data):
        if value is None and path not in document.invalid_paths:
            kind = "item" if isinstance(path[-1], int) else "key"
            problems.add(path, "has no value", f"give one, or remove the {kind}", at_key=True)
            invalid.add(path)
    data = {"name": default_name} | _without_empty(document.data, ())
    spec, errors = validate(data)
    for error in errors[: 2 * MAX_PROBLEMS]:
        path = error["loc"]
        if any(path[:end] in invalid for end in range(1, len(path) + 1)):
            continue
        is_missing = error["type"] == "missing"  # there is nothing at the path itself
        problems.add_flaw(
            path,
            describe_error(error, document),
            at_key=is_missing or error["type"] == "extra_forbidden",
            near=path[:-1] if is_missing else None,
        )
    invalid |= {_part_to_leave_out(error) for error in errors}
    if spec is None:
        spec, _ = validate({"version": 1} | _without(invalid, data, ()))
    if spec is not None:
        rule_problems = Problems(document, invalid, problems.diagnostics)
        for rule in RULES:
            if not any(touches(path, invalid) for path in NEEDS.get(rule, ())):
                rule(spec, rule_problems)
    return spec, problems.in_file_order()


def _values(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every value with its path, except those inside `result`."""
    yield path, value
    if path == _FREE_FORM:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, (*path, index))


def _without_empty(value: Any, path: KeyPath) -> Any:
    """A copy without keys that have no value. Items of lists keep their places."""
    if isinstance(value, dict) and path != _FREE_FORM:
        return {key: _without_empty(item, (*path, key)) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_empty(item, (*path, index)) for index, item in enumerate(value)]
    return value


def _part_to_leave_out(error: Mapping[str, Any]) -> KeyPath:
    """The smallest part without which the rest can be read: never an item of a list, or the others would move."""
    path: KeyPath = error["loc"]
    for index, part in enumerate(path):
        if isinstance(part, int):
            return path[:index]
    if error["type"] == "missing" and len(path) > 1:
        return path[:-1]
    return path


def _without(invalid: set[KeyPath], value: Any, path: KeyPath) -> Any:
    """A copy of the mappings in `value` without the `invalid` parts."""
    if not isinstance(value, dict):
        return value
    return {key: _without(invalid, item, (*path, key)) for key, item in value.items() if (*path, key) not in invalid}
