"""The SDK imported name by name is the same SDK. What is tested has an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest


def python(code: str, *path: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code, *path], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


PRELOAD = "import sys; from flue_ci.models.claude.lazy_import import preload; preload(); import anthropic\n"


WHAT_THERE_IS = """
print(sum(name.startswith('anthropic.') for name in sys.modules))
from anthropic import AsyncAnthropic, types
import anthropic._client
print(types.__name__, anthropic._client.AsyncAnthropic is anthropic.AsyncAnthropic)
before = AsyncAnthropic
names = anthropic.__all__
assert anthropic.AsyncAnthropic is before
missing = [name for name in names if not hasattr(anthropic, name)]
import anthropic.types, anthropic.types.beta
from anthropic.types import Message, TextBlock
from anthropic.types.message import Message as same
assert Message is same
print(missing, anthropic.types.beta.BetaMessage.__name__, Message(id='m', content=[TextBlock(type='text', text='x')],
    model='m', role='assistant', type='message', usage={'input_tokens': 1, 'output_tokens': 1}).content[0].text)
"""


@cache
def answers() -> list[str]:
    """Lines: how many modules there are at first, then what the tests below ask for."""
    return python(PRELOAD + WHAT_THERE_IS).splitlines()


def test_most_of_the_sdk_is_left_out() -> None:
    """`import anthropic` imports nearly all of its files."""
    spec = find_spec("anthropic")
    assert spec is not None
    assert spec.origin is not None
    files = sum(1 for _ in Path(spec.origin).parent.rglob("*.py"))
    assert 20 < int(answers()[0]) < files * 0.1


def test_submodules_are_found_as_ever() -> None:
    assert answers()[1] == "anthropic.types True"


def test_every_public_name_can_still_be_had_and_is_one_object() -> None:
    assert answers()[2] == "[] BetaMessage x"


def test_errors_of_the_api_are_those_of_the_sdk() -> None:
    """Their module is executed at the first of them; a thread that is a moment later gets no half of it."""
    assert python(PRELOAD + ERRORS) == "['NotFoundError', 'OverloadedError', 'BadRequestError'] True"


ERRORS = """
import asyncio, httpx2, threading
errors = sys.modules["anthropic._error_classes"]
assert not any(name.startswith("anthropic.types.organization.") for name in sys.modules)
client = anthropic.AsyncAnthropic(api_key="none", open_telemetry=False)
found = {}
def ask(status):
    response = httpx2.Response(status, json={}, request=httpx2.Request("POST", "http://model.example.com"))
    found[status] = client._make_status_error_from_response(response)
threads = [threading.Thread(target=ask, args=[status]) for status in (404, 529, 400)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from anthropic._error_classes import FileExpiredError
is_one = issubclass(FileExpiredError, anthropic.APIStatusError)
print([type(found[status]).__name__ for status in (404, 529, 400)], is_one)
"""


def test_spans_can_still_be_recorded() -> None:
    """By somebody else's client in the same process: ours has none."""
    assert python(PRELOAD + SPANS) == "True {} True"


SPANS = """
from anthropic.resources.messages import messages
late = messages.messages_create_request_attributes
tracing = sys.modules["anthropic.lib._tracing._api_call"]
print("log" not in vars(tracing), late({}), "log" in vars(tracing))
assert late({}) == {} and late({"output_format": {"type": "json_schema"}}) == {"gen_ai.output.type": "json"}
"""


FAILS_ONCE = """
import builtins
if not hasattr(builtins, "seen"):
    builtins.seen = True
    raise RuntimeError("not like this")
from ._parts import *
"""
SOME_NAMES_MADE_HERE = """
from ._parts import APIConnectionError, APIStatusError, AsyncAnthropic, AsyncStream, CredentialsError
Timeout = 5
"""
ALL_NAMES_MADE_HERE = (
    "APIConnectionError = APIStatusError = AsyncAnthropic = AsyncStream = CredentialsError = Timeout = 5"
)


@pytest.mark.parametrize("init", [FAILS_ONCE, SOME_NAMES_MADE_HERE, ALL_NAMES_MADE_HERE])
def test_an_sdk_of_another_shape_is_imported_in_the_ordinary_way(tmp_path: Path, init: str) -> None:
    package = tmp_path / "anthropic"
    package.mkdir()
    (package / "_parts.py").write_text(ALL_NAMES_MADE_HERE)
    (package / "__init__.py").write_text(init)
    first = "import sys; sys.path.insert(0, sys.argv[1])\n"
    assert python(f"{first}{PRELOAD}print(anthropic.AsyncAnthropic, anthropic.Timeout)", str(tmp_path)) == "5 5"
