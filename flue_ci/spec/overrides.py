"""Changes to a spec from the command line, `limits.turns=10`: put into the document before it is checked."""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, get_args

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.core.text import one_line
from flue_ci.spec.messages import model_at
from flue_ci.spec.yaml_document import Document, KeyPath, parse_value
from flue_ci.spec.yaml_scalars import read_plain


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """`document` with the values of `overrides`, each `KEY=VALUE` with dots in the key. Raises `SpecError`.

    A value is what it would be in the file; where the spec wants text no quotes are needed. Keys and values are
    checked later, like those of the file.
    """
    if not overrides:
        return document
    data, external = deepcopy(document.data), dict(document.external)
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(int(part) if part.isdecimal() and len(part) < 6 else part for part in key.strip().split("."))
        if not equals or "" in path:
            raise _error(override, "must be KEY=VALUE", "such as limits.turns=10")
        origin = f"--set {one_line(key, 60)}"
        _put(data, path, _parse(path, text, origin), override)
        external[path] = origin
    return replace(document, data=data, external=external)


def _error(override: str, message: str, hint: str = "") -> SpecError:
    return SpecError((Diagnostic(file=f"--set {one_line(override, 60)}", message=message, hint=hint),))


def _put(data: dict[str, Any], path: KeyPath, value: object, override: str) -> None:
    if path[0] == "model" and isinstance(data.get("model"), str):
        data["model"] = {"name": data["model"]}
    node: Any = data
    for part in path[:-1]:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[_index(node, part, override)]
    node[_index(node, path[-1], override)] = value


def _index(node: Any, part: str | int, override: str) -> Any:
    """`part`, when `node` has such a key or item. Raises `SpecError`."""
    if isinstance(node, dict) or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
        return part
    raise _error(override, f"there is no place for `{one_line(str(part), 40)}` in the spec")


def _parse(path: KeyPath, text: str, origin: str) -> object:
    if re.match(r"\s*[\[{]", text) and not _wants(path, str):
        return parse_value(text, origin)
    if not _wants(path, int, float, bool):
        return text
    value, message, _ = read_plain(text.strip())
    return text if message else value


def _wants(path: KeyPath, *kinds: type) -> bool:
    owner = model_at(path[:-1])
    field = owner.model_fields.get(str(path[-1])) if owner else None
    return field is not None and any(kind in (field.annotation, *get_args(field.annotation)) for kind in kinds)
