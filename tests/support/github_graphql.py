"""Just enough of GraphQL: the fields that a query names, and of an answer only these."""

from __future__ import annotations

import re
from typing import Any

JSON = dict[str, Any]
_TOKEN = re.compile(r'\.\.\.|"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|\d+|[{}():]|[^\s,]')


def selection(query: str) -> JSON:
    """By alias: the field, its arguments as text, and the selection below. Fragments stand as `... on Type`."""
    tokens = _TOKEN.findall(query)
    tokens = tokens[tokens.index("{") :] if "(" not in tokens[: tokens.index("{")] else _after_variables(tokens)
    tree, rest = _fields(tokens[1:])
    assert not rest, f"left over in the query: {rest}"
    return tree


def _after_variables(tokens: list[str]) -> list[str]:
    """From the first brace behind the list of variables."""
    return tokens[tokens.index("{", tokens.index(")")) :]


def _fields(tokens: list[str]) -> tuple[JSON, list[str]]:
    tree: JSON = {}
    while tokens[0] != "}":
        name, tokens = tokens[0], tokens[1:]
        if name == "...":
            alias = name = f"... on {tokens[1]}"
            tokens = tokens[2:]
        else:
            alias = name
            if tokens[0] == ":":
                name, tokens = tokens[1], tokens[2:]
        arguments: list[str] = []
        if tokens[0] == "(":
            end = tokens.index(")")
            arguments, tokens = tokens[1:end], tokens[end + 1 :]
        inner: JSON = {}
        if tokens[0] == "{":
            inner, tokens = _fields(tokens[1:])
        tree[alias] = (name, " ".join(arguments).replace("$ ", "$").replace(" :", ":"), inner)
    return tree, tokens[1:]


def project(value: Any, tree: JSON) -> Any:
    """The fields of `tree` of a value. Raises `KeyError` for one that it does not have."""
    if isinstance(value, list):
        return [project(each, tree) for each in value]
    if not tree or value is None:
        return value
    answer = {}
    for alias, (name, _, inner) in tree.items():
        if not name.startswith("... on "):
            answer[alias] = project(value[name], inner)
        elif value.get("__typename") == name.removeprefix("... on "):
            answer |= project(value, inner)
    return answer
