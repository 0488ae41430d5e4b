"""The parts of the schema that pydantic does not bring."""

from __future__ import annotations

import json
import warnings
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from flue_ci.spec.parts import Part, WordOr
from flue_ci.spec.schema import AgentSpec, read_texts

Names = Annotated[Literal["auto", "none"] | tuple[str, ...], WordOr(("auto", "none"), tuple[str, ...], list, tuple)]


class Holder(BaseModel):
    names: Names


def errors(value: object) -> list[Any]:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"names": value})
    return list(caught.value.errors())


@pytest.mark.parametrize(("value", "result"), [("auto", "auto"), ("none", "none"), (["a", "b"], ("a", "b")), ([], ())])
def test_a_word_or_a_list_is_read(value: object, result: object) -> None:
    assert Holder.model_validate({"names": value}).names == result


@pytest.mark.parametrize("value", ["al", 7, None, {"a": 1}, True])
def test_a_value_that_is_neither_has_one_error_that_lists_the_words(value: object) -> None:
    (error,) = errors(value)
    assert (error["type"], error["loc"]) == ("literal_error", ("names",))
    assert error["ctx"]["expected"] == "'auto' or 'none'"


def test_an_item_of_the_list_has_its_error_at_its_own_place() -> None:
    (error,) = errors(["a", 7])
    assert (error["type"], error["loc"]) == ("string_type", ("names", 1))


def test_the_json_schema_has_both() -> None:
    schema = TypeAdapter(Names).json_schema()
    assert schema["oneOf"][0] == {"type": "string", "enum": ["auto", "none"]}
    assert schema["oneOf"][1]["type"] == "array"


def test_a_spec_can_be_written_as_json_without_warnings() -> None:
    spec = AgentSpec.model_validate({"version": 1, "skills": ["a"], "engine": {"program": "flue"}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dump = json.loads(spec.model_dump_json())
    assert (dump["skills"], dump["engine"]["program"]) == (["a"], "flue")


def test_every_key_has_a_description_and_an_example() -> None:
    keys = read_texts("keys.toml")
    classes = {part.__name__: part for part in (AgentSpec, *Part.__subclasses__())}
    assert {name: set(part.model_fields) for name, part in classes.items()} == {
        name: set(texts) for name, texts in keys.items()
    }
    assert all(text["description"] and text["examples"] for texts in keys.values() for text in texts.values())
