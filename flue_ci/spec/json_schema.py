"""The JSON Schema of the agent spec, for editors and for the documentation: in one piece, each key described."""

from typing import Any

from flue_ci.core.budgets import CONFIG
from flue_ci.spec.parts import Part
from flue_ci.spec.repository_config import RepositoryConfig
from flue_ci.spec.schema import DURATION, AgentSpec, read_texts


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, in one piece: no references, a description and examples at every key."""
    return _schema_of(AgentSpec, "flue-ci agent spec, version 1")


def config_schema() -> dict[str, Any]:
    """The same for `.flue/config.yml`."""
    return _schema_of(RepositoryConfig, f"flue-ci {CONFIG}, version 1")


def _schema_of(model: type[Part], title: str) -> dict[str, Any]:
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    texts = read_texts("keys.toml")
    for name, part in {**definitions, model.__name__: schema}.items():
        for key, field in part["properties"].items():
            field.update(texts[name][key])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_inline(schema, definitions),
    }


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    """A copy of `node` with the definitions in place of the references to them."""
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        node = {**definitions[node["$ref"].rpartition("/")[2]], **rest}
    copy: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            copy[key] = {name: _inline_property(field, definitions) for name, field in value.items()}
        elif key in ("examples", "default", "const", "enum"):
            copy[key] = value
        elif key != "title":  # pydantic's names of classes and fields say nothing that the key does not
            copy[key] = _inline(value, definitions)
    return _without_null(copy)


def _inline_property(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = _inline(field, definitions)
    default = copy.get("default")
    if default in (None, "") or isinstance(default, dict):
        copy.pop("default", None)
    elif copy.get("pattern") == DURATION:
        copy["default"] = f"{default / 60:g}m"
    return copy


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Optional keys are left out, never null: `anyOf` of something and null is that something."""
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if "anyOf" not in node or len(choices) == len(node["anyOf"]):
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}
