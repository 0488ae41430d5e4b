"""Checks a JSON value against a JSON Schema, in words a model can act on. The one home of jsonschema, imported when
needed."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import did_you_mean
from flue_ci.spec.yaml_document import KeyPath, format_path

_NOT_ALLOWED = " is not allowed here in a JSON Schema"
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def violations(schema: Mapping[str, object], value: object) -> list[str]:
    """The problems of `value`, each with its path; empty when it fits the schema."""
    from jsonschema import Draft202012Validator

    errors = sorted(
        Draft202012Validator(schema).iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path]
    )
    return [f"{format_path(('result', *error.absolute_path))}: {error.message}" for error in errors]


def schema_flaws(schema: Mapping[str, object]) -> list[tuple[KeyPath, Diagnostic]]:
    """What keeps `schema` from being a JSON Schema that stands alone: each flaw with its path."""
    from jsonschema import Draft202012Validator

    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    flaws = []
    for error in meta.iter_errors(schema):
        path: KeyPath = tuple(error.absolute_path)
        message = error.message.replace(" is not valid under any of the given schemas", _NOT_ALLOWED)
        hint = ""
        if path[-1:] == ("type",) and isinstance(error.instance, str):
            hint = did_you_mean(error.instance, _TYPES)
        flaws.append((path, Diagnostic(message=message, hint=hint)))
    return flaws + [(path, Diagnostic(message=message)) for path, message in _bad_references(schema)]


def _bad_references(schema: Mapping[str, object]) -> Iterator[tuple[KeyPath, str]]:
    """References that lead nowhere. Not by the library `referencing`: it needs a schema that is valid otherwise, and
    people shall see all flaws at once."""
    anchors = [node.get(key) for _, node in _mappings(schema) for key in ("$anchor", "$dynamicAnchor")]
    for path, node in _mappings(schema):
        reference = node.get("$ref")
        if not isinstance(reference, str) or (reference.startswith("#") and reference[1:] in anchors):
            continue
        if not reference.startswith("#"):
            yield (*path, "$ref"), "a reference out of the spec; only those such as #/$defs/name work"
        elif not reference.startswith("#/$defs/"):  # the schema becomes part of a tool's, so its own top moves
            yield (*path, "$ref"), "only references such as #/$defs/name work"
        elif not isinstance(_resolve(schema, unquote(reference[2:]).split("/")), Mapping | bool):
            yield (*path, "$ref"), f"`{reference}` refers to nothing"


def _mappings(schema: object) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Every mapping in a schema with its path, without those that are values."""
    queue: list[tuple[KeyPath, object]] = [((), schema)]
    while queue:
        path, node = queue.pop(0)
        if isinstance(node, Mapping):
            yield path, node
            queue += [((*path, key), value) for key, value in node.items() if key not in ("const", "enum", "default")]
        elif isinstance(node, list):
            queue += [((*path, index), value) for index, value in enumerate(node)]


def _resolve(node: Any, parts: list[str]) -> object:
    """The value at a JSON Pointer (RFC 6901), given as its parts; None where there is nothing."""
    for part in parts:
        key: str | int = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and part.isdecimal():
            key = int(part[:6])
        try:
            node = node[key]
        except (LookupError, TypeError):
            return None
    return node
