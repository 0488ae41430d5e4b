"""Checks a spec in three passes, so that people see all of its problems at once."""

from collections.abc import Iterator, Mapping
from typing import Any

from flue_ci.spec.messages import describe_error
from flue_ci.spec.problems import MAX_PROBLEMS, Problems, touches
from flue_ci.spec.rules import NEEDS, RULES
from flue_ci.spec.schema import AgentSpec, validate
from flue_ci.spec.yaml_document import Document, KeyPath

_FREE_FORM: KeyPath = ("result",)  # holds a JSON Schema, where null is a value like any other


class Validation:
    """The checks of one document. Each pass adds to `problems`.

    1. `check_values`: every key has a value, as a value of YAML.
    2. `check_shape`: pydantic compares keys and types with the schema.
    3. `check_rules`: what the keys mean together.

    A later pass needs a spec, which a file with problems does not give. So the parts that a pass finds wrong are left
    out, which gives them their defaults, and what is left is read again. A rule that judges a part that was left out
    would judge a default: it is not applied, and neither is what it says about such a part reported.
    """

    def __init__(self, document: Document) -> None:
        self.problems = Problems(document, diagnostics=list(document.problems))
        self._document = document
        self._invalid = set(document.invalid_paths)

    def check_values(self) -> None:
        """The first pass: keys and items without a value."""
        for path, value in _values(self._document.data):
            if value is None and path not in self._document.invalid_paths:
                kind = "item" if isinstance(path[-1], int) else "key"
                self.problems.add(path, "has no value", f"give one, or remove the {kind}", at_key=True)
                self._invalid.add(path)

    def check_shape(self, default_name: str) -> AgentSpec | None:
        """The second pass. The spec, with defaults for the parts that are wrong; None when too much is."""
        data = {"name": default_name} | _without_empty(self._document.data, ())
        spec, errors = validate(data)
        earlier = set(self._invalid)
        for error in errors[: 2 * MAX_PROBLEMS]:
            path = error["loc"]
            if any(path[:end] in earlier for end in range(1, len(path) + 1)):
                continue
            is_missing = error["type"] == "missing"  # there is nothing at the path itself
            self.problems.add_flaw(
                path,
                describe_error(error, self._document),
                at_key=is_missing or error["type"] == "extra_forbidden",
                near=path[:-1] if is_missing else None,
            )
        self._invalid |= {_part_to_leave_out(error) for error in errors}
        if spec is None:
            spec, _ = validate({"version": 1} | _without(self._invalid, data, ()))
        return spec

    def check_rules(self, spec: AgentSpec) -> None:
        """The third pass."""
        problems = Problems(self._document, self._invalid, self.problems.diagnostics)
        for rule in RULES:
            if not any(touches(path, self._invalid) for path in NEEDS.get(rule, ())):
                rule(spec, problems)


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
