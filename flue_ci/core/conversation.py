"""Conversations as JSON text: written without loss, read strictly.

    {"flue_ci_conversation": 1, "system": "…", "tools": [{"name": …, "description": …, "input_schema": …}],
     "messages": [{"prompt": {"text": "…"}}, {"reply": {…}}, {"results": {"results": [{…}]}}]}

Every object has exactly the fields of its class in `messages`. The blocks of a reply belong to the model's adapter and
are kept as they are, the order of their keys included, so that a request made of them is the same to the byte.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from flue_ci.core.errors import UsageError
from flue_ci.core.messages import Conversation, Message, Prompt, Reply, ToolResults, ToolSpec

VERSION = 1
_KEY = "flue_ci_conversation"
_KINDS: Mapping[str, type[Message]] = {"prompt": Prompt, "reply": Reply, "results": ToolResults}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def conversation_to_json(conversation: Conversation) -> str:
    """One line of ASCII. Raises `ValueError` for values that JSON does not have."""
    value = {
        _KEY: VERSION,
        "system": conversation.system,
        "tools": [asdict(spec) for spec in conversation.tools],
        "messages": [{_NAMES[type(message)]: asdict(message)} for message in conversation.messages],
    }
    return json.dumps(value, allow_nan=False)


def conversation_from_json(text: str) -> Conversation:
    """What `conversation_to_json` wrote. Raises `UsageError` for anything else, with the place of the first error."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.keys() != {_KEY, "system", "tools", "messages"}:
            raise ValueError(f"its keys are not {_KEY}, system, tools and messages")
        if value[_KEY] != VERSION:
            raise ValueError(f"its version is {value[_KEY]!r}; this flue-ci reads {VERSION}")
        messages = read_value(tuple[Any, ...], value["messages"], "messages")
        return Conversation(
            system=read_value(str, value["system"], "system"),
            tools=read_value(tuple[ToolSpec, ...], value["tools"], "tools"),
            messages=tuple(_read_message(item, f"messages[{index}]") for index, item in enumerate(messages)),
        )
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a conversation of flue-ci: {error}") from None


def _read_message(value: Any, place: str) -> Message:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= _KINDS.keys():
        raise ValueError(f"{place} is not an object with one key of {', '.join(_KINDS)}")
    ((name, body),) = value.items()
    message: Message = read_value(_KINDS[name], body, f"{place}.{name}")
    return message


def read_value(kind: Any, value: Any, place: str) -> Any:
    """`value`, read from JSON, as an instance of the type `kind`, which is one of those that `messages` is made of.

    Raises `ValueError` that names `place` or the place inside of it.
    """
    options = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    for option in options:
        if _fits(option, value):
            return _convert(option, value, place)
    raise ValueError(f"{place} is not {' or '.join(_name_of(option) for option in options)}")


def _fits(kind: Any, value: Any) -> bool:
    """Whether the outermost layer of `value` is of that type."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, list)
    if origin is Mapping or is_dataclass(kind):
        return isinstance(value, dict)
    return kind is Any or type(value) is kind or (kind is float and type(value) is int)


def _convert(kind: Any, value: Any, place: str) -> Any:
    if get_origin(kind) is tuple:
        return tuple(read_value(get_args(kind)[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if is_dataclass(kind):
        types = get_type_hints(kind)
        if value.keys() != types.keys():
            raise ValueError(f"{place} does not have exactly the keys {', '.join(types)}")
        return kind(**{name: read_value(types[name], item, f"{place}.{name}") for name, item in value.items()})  # type: ignore[operator]
    return value


def _name_of(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list"
    return _WORDS.get(kind, "an object")
