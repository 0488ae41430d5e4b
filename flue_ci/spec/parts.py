"""What the models of the spec are made of: the class of every mapping, and words that stand beside another type."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, WithJsonSchema, WrapValidator
from pydantic_core import PydanticKnownError, core_schema

from flue_ci.core.errors import Diagnostic

MAX_ITEMS = 200  # of a list or mapping; some lists have each entry compared with each other


class InvalidValue(ValueError):
    """A value that a validator of ours refuses, with the words for people."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(message=message, hint=hint)


def exactly_an_int(value: object) -> object:
    """A validator: `1.0` and `true` are equal to 1."""
    if type(value) is not int:
        raise InvalidValue("must be the whole number 1", "write `version: 1`")
    return value


class WordOr:
    """Annotates a union of words and another type: a value of one of `shapes` is read as the other type, every other
    value has to be one of `words`. So a mistake has one message; pydantic would give one for each member of the union.

    `Annotated[Literal["auto", "none"] | tuple[str, ...], WordOr(("auto", "none"), tuple[str, ...], list, tuple)]`
    """

    def __init__(self, words: tuple[str, ...], other: Any, *shapes: type) -> None:
        self._words, self._other, self._shapes = words, other, shapes

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        other = handler.generate_schema(self._other)
        return core_schema.no_info_wrap_validator_function(self._validate, other, serialization=as_it_is)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        words = {"const": self._words[0]} if len(self._words) == 1 else {"enum": list(self._words)}
        return {"oneOf": [{"type": "string", **words}, handler(schema)]}

    def _validate(self, value: object, validate_other: Callable[[object], object]) -> object:
        if isinstance(value, self._shapes):
            return validate_other(value)
        if isinstance(value, str) and value in self._words:
            return value
        raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, self._words))})


class BooleanOr(WordOr):
    """The same for a union of true or false and another type."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"oneOf": [{"type": "boolean"}, handler(schema)]}

    def _validate(self, value: object, validate_other: Callable[[object], object]) -> object:
        if isinstance(value, self._shapes):
            return validate_other(value)
        if isinstance(value, bool):
            return value
        raise PydanticKnownError("bool_type")


def or_name(accepts: Callable[[str], bool]) -> WrapValidator:
    """Accepts besides the names of a `Literal` others, such as those that other packages have registered."""

    def check(value: Any, check_literal: Callable[[Any], Any]) -> Any:
        try:
            return check_literal(value)
        except ValidationError:
            if isinstance(value, str) and accepts(value):
                return value
            raise

    return WrapValidator(check)


def names_schema(*names: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "enum": list(names)}, {"type": "string", "minLength": 1}]})


def all_defaults(part: type[BaseModel]) -> Any:
    """A field whose default is the mapping with all of its defaults, which needs no validator."""
    return Field(default_factory=part.model_construct)


Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
SEVERAL = Field(max_length=MAX_ITEMS)
Texts = Annotated[tuple[Text, ...], Strict(False), SEVERAL]


class Part(BaseModel):
    """A mapping of the spec: frozen, strict, no unknown keys. `keys.toml` says what each key is for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)
