"""pydantic's errors about a spec in plain words: what is wrong at which key, and the nearest right key or value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import closest_match, one_line
from flue_ci.spec.schema import TAG_MARK, AgentSpec, InvalidValue, Part
from flue_ci.spec.yaml_document import Document, KeyPath, format_path

# What may stand at a key in place of the words that pydantic lists.
_ALTERNATIVES = {
    "sandbox.network.setup": "a list of hosts",
    "sandbox.network.agent": "a list of hosts",
    "skills": "a list of names",
    "engine": "a mapping with `program`",
}
# Habits from other tools' files, where no word is near.
_HABITS = {
    "on": "triggers.events",
    "image": "sandbox.template",
    "steps": "checks",
    "system": "instructions",
    "system_prompt": "instructions",
    "task": "prompt",
    "permissions": "triggers.roles",
    "max_turns": "limits.turns",
    "budget": "limits.cost_usd",
    "timeout-minutes": "limits.minutes",
}
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def path_of(error: Mapping[str, Any]) -> KeyPath:
    """Where an error is, without the names of union members that pydantic puts in between."""
    return tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith(TAG_MARK)))


def to_diagnostic(error: Mapping[str, Any], document: Document) -> Diagnostic:
    """One error of `ValidationError.errors()` with its place in the file."""
    path = path_of(error)
    message, hint = _say(error, path, document)
    if error["type"] == "missing":  # the parent's place: there is nothing at the path itself
        return document.diagnostic(path, message, hint, at=path[:-1], at_key=True)
    return document.diagnostic(path, message, hint, at_key=error["type"] == "extra_forbidden")


def _say(error: Mapping[str, Any], path: KeyPath, document: Document) -> tuple[str, str]:
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "value_error" and isinstance(context.get("error"), InvalidValue):
        return str(context["error"]), context["error"].hint
    if kind == "missing":
        return _missing(path)
    if kind == "extra_forbidden":
        return "unknown key", _known_key(path)
    if kind == "literal_error":
        return _not_among(path, value, re.findall(r"'([^']*)'|(\d+)", context["expected"]))
    if kind in _KINDS:
        return _wrong_kind(kind, path, value, document)
    if kind in ("string_too_short", "string_pattern_mismatch", "too_short"):
        return _pattern(path, value, from_file_name=path == ("name",) and path not in document.places)
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in bounds:
        words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
        return f"must be {words[bounds[kind]]} {_number(context[bounds[kind]], path)}", ""
    if kind == "string_too_long":
        return f"longer than {context['max_length']} characters", ""
    if kind == "too_long":
        return f"has more than {context['max_length']} entries", ""
    return f"not valid: {one_line(str(error['msg']), 100)}", ""


def _missing(path: KeyPath) -> tuple[str, str]:
    if path == ("version",):
        return "the key `version` is missing", "add `version: 1` as the first line"
    example = _example(path)
    return f"the key `{path[-1]}` is missing", f"such as `{path[-1]}: {example}`" if example else ""


def _example(path: KeyPath) -> str:
    owner = model_at(path[:-1])
    field = owner.model_fields.get(str(path[-1])) if owner else None
    return str(field.examples[0]) if field and field.examples else ""


def _pattern(path: KeyPath, value: object, *, from_file_name: bool) -> tuple[str, str]:
    if from_file_name:
        message = f"the file's name `{one_line(str(value), 60)}` cannot be the agent's"
        return message, "small letters, digits and -; rename the file, or add `name:`"
    if not value or (isinstance(value, str) and not value.strip()):
        return "must not be empty", "give a value, or remove the key"
    if format_path(path) in ("name", "triggers.comment"):
        return (
            f"`{one_line(str(value), 60)}` is not a name",
            "small letters, digits and -, at most 64, such as fix-tests",
        )
    return f"`{one_line(str(value), 60)}` does not have the right form", f"such as {_example(path)}"


def _number(bound: float, path: KeyPath) -> str:
    return f"{bound:g}s" if path[-1:] == ("timeout",) else f"{bound:,.10g}"


def _described(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text `{one_line(value, 40)}`"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list | tuple) else "a mapping" if isinstance(value, Mapping) else "nothing"


def _wrong_kind(kind: str, path: KeyPath, value: object, document: Document) -> tuple[str, str]:
    wanted = "a model's name or a mapping" if path == ("model",) else _KINDS[kind]
    raw = document.place(path).raw or (value if isinstance(value, str) else "")
    hint = ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        hint = f'put it in quotes: "{one_line(raw, 40)}"'
    elif kind in ("int_type", "float_type") and isinstance(value, str):
        found = re.fullmatch(
            r"([0-9]+(?:\.[0-9]+)?)\s*(?:m|min|minutes|s|k|\$|usd)?", value.strip().lower().removeprefix("$")
        )
        hint = f"write {found[1]}, without quotes or unit" if found else ""
    elif (
        kind == "bool_type" and isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off")
    ):
        hint = "write true" if value.lower() in ("true", "yes", "on") else "write false"
    elif kind in ("tuple_type", "list_type") and isinstance(value, str):
        hint = f"write it as a list: [{one_line(value, 40)}]"
    elif kind in ("dict_type", "model_type", "model_attributes_type"):
        owner = model_at(path)
        hint = f"with the keys {', '.join(owner.model_fields)}" if owner else "`key: value` pairs"
    return f"must be {wanted}, found {_described(value)}", hint


def _not_among(path: KeyPath, value: object, expected: list[tuple[str, str]]) -> tuple[str, str]:
    words = [word or number for word, number in expected]
    listed = [
        *(f"`{word}`" for word in words),
        *([_ALTERNATIVES[format_path(path)]] if format_path(path) in _ALTERNATIVES else []),
    ]
    if path == ("version",):
        return f"must be 1, found {_described(value)}", "write `version: 1`; this flue-ci knows no other"
    choice = f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    message = f"must be {choice}, found {_described(value)}"
    near = closest_match(value, words) if isinstance(value, str) else None
    if near is None and path == ("engine",) and isinstance(value, str):
        return message, f"another agent's program is written as {{program: {one_line(value, 40)}}}"
    if near is None and path[:2] == ("sandbox", "network") and isinstance(value, str) and "." in value:
        return message, f"write it as a list: [{one_line(value, 60)}]"
    return message, f"did you mean `{near}`?" if near else ""


def _known_key(path: KeyPath) -> str:
    word, owner = str(path[-1]), model_at(path[:-1])
    known = list(owner.model_fields) if owner else []
    if near := closest_match(word.replace("-", "_").lower(), known):
        return f"did you mean `{near}`?"
    if elsewhere := [format_path(place) for place in _all_keys() if place[-1] == word]:
        return f"it belongs in `{elsewhere[0]}`"
    if word in _HABITS:
        return f"did you mean `{_HABITS[word]}`?"
    return f"known here: {', '.join(known)}"


def model_at(path: KeyPath) -> type[Part] | None:
    """The model that the value at `path` is read into, or None for plain values."""
    owner: type[Part] | None = AgentSpec
    for part in path:
        if isinstance(part, int):
            continue  # the items of a list have the type that was found for the list
        field = owner.model_fields.get(part) if owner else None
        owner = _model_in(field.annotation) if field else None
    return owner


def _model_in(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _all_keys(owner: type[Part] = AgentSpec, under: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in owner.model_fields.items():
        yield (*under, name)
        if inner := _model_in(field.annotation):
            yield from _all_keys(inner, (*under, name))
