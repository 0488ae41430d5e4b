"""pydantic's errors about a spec in plain words: what is wrong at which key, and the nearest right key or value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import did_you_mean, one_line
from flue_ci.spec.parts import InvalidValue, Part
from flue_ci.spec.schema import AgentSpec, read_texts
from flue_ci.spec.yaml_document import Document, KeyPath, format_path

_TEXTS = read_texts("messages.toml")
_KINDS, _ALTERNATIVES, _OTHER_TOOLS = _TEXTS["kinds"], _TEXTS["alternatives"], _TEXTS["other_tools"]
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def describe_error(error: Mapping[str, Any], document: Document) -> Diagnostic:
    """One error of pydantic's `ValidationError.errors()` in words, without its place."""
    kind, path, value, context = error["type"], error["loc"], error.get("input"), error.get("ctx", {})
    if kind == "value_error" and isinstance(context.get("error"), InvalidValue):
        flaw: Diagnostic = context["error"].diagnostic
        return flaw
    if kind == "missing":
        return _describe_missing(path)
    if kind == "extra_forbidden":
        return Diagnostic(message="unknown key", hint=_hint_for_key(path))
    if kind == "literal_error":
        words = [word or number for word, number in re.findall(r"'([^']*)'|(\d+)", context["expected"])]
        return _describe_choice(path, value, words)
    if kind in _KINDS:
        return _describe_kind(kind, path, value, document)
    if kind in ("string_too_short", "string_pattern_mismatch", "too_short"):
        return _describe_pattern(path, value, from_file_name=path == ("name",) and path not in document.locations)
    if kind in _BOUNDS:
        comparison, name = _BOUNDS[kind]
        bound = f"{context[name]:g}s" if path[-1:] == ("timeout",) else f"{context[name]:,.10g}"
        return Diagnostic(message=f"must be {comparison} {bound}")
    if kind == "string_too_long":
        return Diagnostic(message=f"longer than {context['max_length']} characters")
    if kind == "too_long":
        return Diagnostic(message=f"has more than {context['max_length']} entries")
    return Diagnostic(message=f"not valid: {one_line(str(error['msg']), 100)}")


def _describe_missing(path: KeyPath) -> Diagnostic:
    if path == ("version",):
        return Diagnostic(message="the key `version` is missing", hint="add `version: 1` as the first line")
    example, hint = _example(path), ""
    if example:
        hint = f"such as `{path[-1]}: {example}`"
    return Diagnostic(message=f"the key `{path[-1]}` is missing", hint=hint)


def _example(path: KeyPath) -> str:
    owner, key = model_at(path[:-1]), str(path[-1])
    if owner is None or key not in owner.model_fields:
        return ""
    return str(read_texts("keys.toml")[owner.__name__][key]["examples"][0])


def _describe_pattern(path: KeyPath, value: object, *, from_file_name: bool) -> Diagnostic:
    text = one_line(str(value), 60)
    if from_file_name:
        hint = "small letters, digits and -; rename the file, or add `name:`"
        return Diagnostic(message=f"the file's name `{text}` cannot be the agent's", hint=hint)
    if not value or (isinstance(value, str) and not value.strip()):
        return Diagnostic(message="must not be empty", hint="give a value, or remove the key")
    if format_path(path) in ("name", "triggers.comment"):
        hint = "small letters, digits and -, at most 64, such as fix-tests"
        return Diagnostic(message=f"`{text}` is not a name", hint=hint)
    return Diagnostic(message=f"`{text}` does not have the right form", hint=f"such as {_example(path)}")


def _describe_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text `{one_line(value, 40)}`"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return "nothing"


def _describe_kind(kind: str, path: KeyPath, value: object, document: Document) -> Diagnostic:
    name = "a model's name or a mapping" if path == ("model",) else _KINDS[kind]
    hint = _hint_for_kind(kind, path, value, document)
    return Diagnostic(message=f"must be {name}, found {_describe_value(value)}", hint=hint)


def _hint_for_kind(kind: str, path: KeyPath, value: object, document: Document) -> str:
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        owner = model_at(path)
        return f"with the keys {', '.join(owner.model_fields)}" if owner else "`key: value` pairs"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'put it in quotes: "{one_line(document.location(path).raw, 40)}"'
    if not isinstance(value, str):
        return ""
    word = value.strip().lower()
    if kind in ("int_type", "float_type"):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:m|min|minutes|s|k|\$|usd)?", word.removeprefix("$"))
        return f"write {match[1]}, without quotes or unit" if match else ""
    if kind == "bool_type":
        words = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
        return f"write {words[value.lower()]}" if value.lower() in words else ""
    if kind in ("tuple_type", "list_type"):
        return f"write it as a list: [{one_line(value, 40)}]"
    return ""


def _describe_choice(path: KeyPath, value: object, words: list[str]) -> Diagnostic:
    if path == ("version",):
        hint = "write `version: 1`; this flue-ci knows no other"
        return Diagnostic(message=f"must be 1, found {_describe_value(value)}", hint=hint)
    choices = [f"`{word}`" for word in words]
    if alternative := _ALTERNATIVES.get(format_path(path)):
        choices.append(alternative)
    choice = choices.pop()
    if choices:
        choice = f"{', '.join(choices)} or {choice}"
    hint = ""
    if isinstance(value, str):
        hint = did_you_mean(value, words, _hint_for_alternative(path, value))
    return Diagnostic(message=f"must be {choice}, found {_describe_value(value)}", hint=hint)


def _hint_for_alternative(path: KeyPath, value: str) -> str:
    if path == ("engine",):
        return f"another agent's program is written as {{program: {one_line(value, 40)}}}"
    if path[:2] == ("sandbox", "network") and "." in value:
        return f"write it as a list: [{one_line(value, 60)}]"
    return ""


def _hint_for_key(path: KeyPath) -> str:
    word, owner = str(path[-1]), model_at(path[:-1])
    keys = list(owner.model_fields) if owner else []
    homes = [format_path(key) for key in _all_keys() if key[-1] == word]
    if homes:
        otherwise = f"it belongs in `{homes[0]}`"
    elif word in _OTHER_TOOLS:
        otherwise = f"did you mean `{_OTHER_TOOLS[word]}`?"
    else:
        otherwise = f"known here: {', '.join(keys)}"
    return did_you_mean(word.replace("-", "_").lower(), keys, otherwise)


def model_at(path: KeyPath) -> type[Part] | None:
    """The model that the value at `path` is read into, or None for plain values."""
    owner: type[Part] | None = AgentSpec
    for part in path:
        if isinstance(part, int):
            continue  # the items of a list have the model that `_model_in` gave for the list
        field = owner.model_fields.get(part) if owner else None
        owner = _model_in(field.annotation) if field else None
    return owner


def _model_in(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)


def _all_keys(owner: type[Part] = AgentSpec, under: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in owner.model_fields.items():
        yield (*under, name)
        if inner := _model_in(field.annotation):
            yield from _all_keys(inner, (*under, name))
