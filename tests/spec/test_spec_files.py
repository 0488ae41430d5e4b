from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flue_ci.core.errors import SpecError, UsageError
from flue_ci.spec.json_schema import json_schema
from flue_ci.spec.load import find_spec, find_specs, load_spec, not_supported_yet
from flue_ci.spec.starter import starter_spec, write_starter
from flue_ci.spec.template import VARIABLES, render

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "agents").glob("*.yml"))
GIVEN: dict[str, Any] = {name: dict.fromkeys(keys, "x") if keys else "x" for name, keys in VARIABLES.items()}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / ".flue" / "agents"
    folder.mkdir(parents=True)
    for name in ("review.yml", "fix-tests.yml", "docs.yaml", "notes.txt"):
        (folder / name).write_text("version: 1\n")
    (folder / "folder.yml").mkdir()
    return tmp_path


def test_the_specs_of_a_repository_are_found_sorted(repo: Path) -> None:
    assert [path.name for path in find_specs(repo)] == ["docs.yaml", "fix-tests.yml", "review.yml"]
    assert find_specs(repo / "nowhere") == []


def test_a_spec_is_found_by_name_and_by_path(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec(repo, "docs").name == "docs.yaml"
    assert find_spec(repo, ".flue/agents/review.yml").is_file()
    assert find_spec(Path("elsewhere"), str(repo / ".flue/agents/review.yml")).is_file()
    monkeypatch.chdir(repo / ".flue")
    assert find_spec(Path("elsewhere"), "agents/review.yml").is_file()


def test_a_name_that_is_not_there_gives_the_nearest_and_all(repo: Path) -> None:
    with pytest.raises(UsageError, match="docs, fix-tests, review") as caught:
        find_spec(repo, "fix-test")
    assert "fix-tests" in caught.value.hint
    with pytest.raises(UsageError, match="no file"):
        find_spec(repo, "agents/none.yml")
    with pytest.raises(UsageError) as empty:
        find_spec(repo / "nowhere", "x")
    assert "flue-ci init" in empty.value.hint


def test_two_files_for_one_name_are_refused(repo: Path) -> None:
    (repo / ".flue/agents/docs.yml").write_text("version: 1\n")
    with pytest.raises(UsageError, match="two files"):
        find_spec(repo, "docs")


def test_a_spec_is_read_from_disk_or_from_given_bytes(repo: Path) -> None:
    path = repo / ".flue/agents/review.yml"
    assert load_spec(path).name == "review"
    assert load_spec(path, b"version: 1\nname: other\n").name == "other"


def test_a_file_that_cannot_be_read_is_a_problem_of_that_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "none.yml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path)


def test_a_file_of_ten_megabytes_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "huge.yml"
    with path.open("wb") as file:
        file.write(b"version: 1\n")
        os.truncate(path, 10_000_000)
    with pytest.raises(SpecError, match=r"10\.0 MB is too large") as caught:
        load_spec(path)
    assert caught.value.diagnostics[0].line == 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_for_us_and_for_editors_and_can_be_rendered(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    spec = load_spec(path)
    assert not_supported_yet(spec) == ()
    assert spec.description
    Draft202012Validator(json_schema()).validate(yaml.safe_load(text))
    assert render(spec.prompt, {"instruction": "Do it."}).strip()
    assert render(spec.prompt, GIVEN).strip()
    render(spec.instructions, {})


def test_there_are_examples() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names == {
        "docs",
        "explain",
        "fix-tests",
        "implement",
        "repair-ci",
        "review",
        "tidy",
        "triage",
        "upgrade-deps",
    }


def test_the_starter_is_valid_for_us_and_for_editors(tmp_path: Path) -> None:
    path = write_starter(tmp_path, "my-agent")
    assert path == tmp_path / ".flue" / "agents" / "my-agent.yml"
    spec = load_spec(path)
    assert (spec.name, spec.triggers.comment) == ("my-agent", "my-agent")
    assert not_supported_yet(spec) == ()
    Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text()))
    uncommented = (
        path.read_text().replace("# setup:", "setup:").replace("# checks:", "checks:").replace("#   - {", "  - {")
    )
    assert load_spec(path, uncommented.encode()).checks[0].name == "tests"


def test_the_starter_never_replaces_a_file(tmp_path: Path) -> None:
    path = write_starter(tmp_path, "a")
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_starter(tmp_path, "a")
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="not a name"):
        starter_spec("../x")


def _fields(schema: dict[str, Any], under: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for choice in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        for name, field in choice.get("properties", {}).items():
            yield f"{under}{name}", field
            yield from _fields(field, f"{under}{name}.")
            yield from _fields(field.get("items", {}), f"{under}{name}[].")


def test_the_json_schema_describes_every_key_and_shows_valid_examples() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$ref" not in str(schema)
    assert "$defs" not in schema
    fields = dict(_fields(schema))
    assert {
        "model.prices.input",
        "sandbox.network.inject[].host",
        "checks[].timeout",
        "engine.program",
    } <= fields.keys()
    for name, field in fields.items():
        assert field.get("description"), name
        assert field.get("examples"), name
        for value in [*field["examples"], *([field["default"]] if "default" in field else [])]:
            Draft202012Validator(field).validate(value)
    assert fields["sandbox.timeout"]["default"] == "30m"
    assert fields["checks[].timeout"]["type"] == "string"
    assert "pull_request.opened" in fields["triggers.events"]["items"]["enum"]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{version: 2}",
        "{version: 1, promt: x}",
        "{version: 1, sandbox: {tools: [bash]}}",
        "{version: 1, sandbox: {timeout: 600}}",
        "{version: 1, sandbox: {timeout: 10}}",
        "{version: 1, engine: flue}",
        "{version: 1, model: {nam: x}}",
        "{version: 1, sandbox: {network: {agent: all}}}",
        "{version: 1, triggers: {events: [pull_request.openned]}}",
        "{version: 1, model: {effort: null}}",
        "{version: 1, name: Fix Tests}",
    ],
)
def test_the_json_schema_refuses_what_we_refuse(text: str) -> None:
    assert not Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text))
    with pytest.raises(SpecError):
        load_spec(Path("a.yml"), text.encode())


def test_a_plain_spec_is_read_without_what_it_does_not_need() -> None:
    code = (
        "import sys; from pathlib import Path; from flue_ci.spec.load import load_spec;"
        "load_spec(Path('a.yml'), b'version: 1\\nprompt: go\\n');"
        "print([name for name in ('jinja2', 'jsonschema', 'e2b', 'anthropic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


SEEDS = [path.read_bytes() for path in EXAMPLES]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid spec with a few pieces cut out, doubled, or replaced."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 40, len(data))))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    [b"", data[start:end] * 2, b"\n", b": ", b"- ", b"[", b"]", b"{", b"}", b"*a", b"&a ", b"!!x "]
                ),
                st.sampled_from(
                    [
                        b"null",
                        b"no",
                        b"1_0",
                        b"-1",
                        b"9" * 400,
                        b"true",
                        b"[]",
                        b"{}",
                        b"''",
                        b"{{ x }}",
                        b"{% if",
                        b"|\n",
                    ]
                ),
            )
        )
        data = data[:start] + piece + data[end:]
    return data


def loaded_or_refused(data: bytes) -> None:
    try:
        told = [load_spec(Path("agent.yml"), data).name]
    except SpecError as error:
        told = [str(problem) for problem in error.diagnostics]
    assert told
    assert all(told)


@settings(max_examples=settings().max_examples // 3)
@given(mutated())
def test_a_damaged_spec_is_read_or_refused_and_never_breaks_us(data: bytes) -> None:
    loaded_or_refused(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(json_schema()["properties"])


@settings(max_examples=settings().max_examples // 3)
@given(st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=6))
def test_any_value_at_any_key_is_read_or_refused_and_never_breaks_us(data: dict[str, object]) -> None:
    loaded_or_refused(yaml.safe_dump({"version": 1, **data}, allow_unicode=True).encode())


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(sorted(json_schema()["properties"]["sandbox"]["properties"])), JSON_VALUES, JSON_VALUES)
def test_any_value_deeper_down_is_read_or_refused_and_never_breaks_us(key: str, value: object, schema: object) -> None:
    data = {"version": 1, "sandbox": {key: value}, "result": {"type": "object", "properties": schema}}
    loaded_or_refused(yaml.safe_dump(data, allow_unicode=True).encode())
