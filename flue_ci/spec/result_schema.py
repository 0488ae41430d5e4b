"""Checks a JSON value against a JSON Schema, in words a model can act on. The one home of jsonschema, imported when
needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote


def violations(schema: Mapping[str, object], value: object) -> list[str]:
    """What is wrong with `value`, each with the path where; empty when it fits."""
    from jsonschema import Draft202012Validator

    errors = sorted(
        Draft202012Validator(schema).iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path]
    )
    return [f"result{_path(list(error.absolute_path))}: {error.message}" for error in errors]


def schema_flaws(schema: Mapping[str, object]) -> list[tuple[tuple[str | int, ...], str]]:
    """What keeps `schema` from being a JSON Schema that stands alone: each flaw with the path where it is."""
    from jsonschema import Draft202012Validator

    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    flaws = [(tuple(error.absolute_path), _plain(error.message)) for error in meta.iter_errors(schema)]
    return flaws + list(_bad_references(schema))


def _plain(message: str) -> str:
    """The validator's message without what is hard to read in it."""
    return message.replace(" is not valid under any of the given schemas", " is not allowed here in a JSON Schema")


def _bad_references(schema: Mapping[str, object]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    anchors = [node.get(key) for _, node in _mappings(schema) for key in ("$anchor", "$dynamicAnchor")]
    for path, node in _mappings(schema):
        reference = node.get("$ref", "#")
        if not isinstance(reference, str):
            continue
        if not reference.startswith("#"):
            yield (*path, "$ref"), "a reference out of the spec; only those such as #/$defs/name work"
        elif reference[1:] in anchors or "$ref" not in node:
            continue
        elif not reference.startswith("#/$defs/"):  # the schema becomes part of a tool's, so its own top moves
            yield (*path, "$ref"), "only references such as #/$defs/name work"
        elif not _leads_somewhere(schema, unquote(reference[1:])):
            yield (*path, "$ref"), f"`{reference}` refers to nothing"


def _mappings(schema: object) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Every mapping in a schema with its path, without those that are values."""
    rest: list[tuple[tuple[str | int, ...], object]] = [((), schema)]
    while rest:
        path, node = rest.pop(0)
        if isinstance(node, Mapping):
            yield path, node
            rest += [((*path, key), value) for key, value in node.items() if key not in ("const", "enum", "default")]
        elif isinstance(node, list):
            rest += [((*path, index), value) for index, value in enumerate(node)]


def _leads_somewhere(node: object, pointer: str) -> bool:
    """Whether a JSON Pointer (RFC 6901) finds a schema."""
    if not pointer:
        return True
    if not pointer.startswith("/"):
        return False
    for part in pointer[1:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key[:6]) < len(node):
            node = node[int(key[:6])]
        else:
            return False
    return isinstance(node, Mapping | bool)


def _path(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
