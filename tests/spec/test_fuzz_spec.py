"""Spec files as an attack: whatever the bytes are, there is a spec or a `SpecError`, and soon.

What arbitrary bytes and damaged specs do is in `test_yaml_document` and `test_spec_files`; here are
structures and sizes.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.core.errors import SpecError, UsageError
from flue_ci.spec.json_schema import json_schema
from flue_ci.spec.load import load_spec
from flue_ci.spec.template import render, template_flaw

CPU_SECONDS = 30  # far more than the slowest of these takes; without a bound they take minutes, or for ever
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def cpu_limit() -> Iterator[None]:
    """Fails what hangs. Time of the processor, so that other processes on the machine make no difference."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"no answer within {CPU_SECONDS} seconds")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def told(text: str | bytes, *overrides: str) -> list[str]:
    """What loading says: the problems, or nothing."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    try:
        load_spec(Path("agent.yml"), data, overrides=overrides)
    except SpecError as error:
        problems = [str(problem) for problem in error.diagnostics]
        assert problems
        assert all(problem and len(problem) < 2_000 and not UNPRINTABLE.search(problem) for problem in problems)
        return problems
    return []


def many(form: str, count: int) -> str:
    return ", ".join(form.replace("#", str(number)) for number in range(count))


def after_version(text: str) -> str:
    return f"version: 1\n{text}\n"


def schema(text: str) -> str:
    return after_version(f"result: {{type: object, {text}}}")


def template(text: str) -> str:
    return after_version(f"prompt: |\n  {text}")


def network(text: str) -> str:
    return after_version(f"sandbox: {{secrets: [A], network: {{agent: open, {text}}}}}")


def injected(value: str) -> str:
    return network(f"inject: [{{host: a.example.com, header: X, value: '{value}'}}]")


MISSED = "{host: a#.example.com, header: X, value: '${SECRT_#}'}"
BOMBS: dict[str, tuple[str, str]] = {
    # YAML itself
    "aliases of aliases": (
        "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]),
        "aliases",
    ),
    "one large text a thousand times": (f"a: &a {'x' * 100_000}\nb: [{many('*a', 19_000)}]\nversion: 1", "unknown key"),
    "lists in lists": ("[" * 100_000, "deep"),
    "mappings in mappings": ("a: " + "{b: " * 50_000, "deep"),
    "a key of a mapping of keys": ("? " * 100_000, "deep"),
    "an open quote over many lines": ('a: "' + "\n" * 200_000, "quote"),
    "colons": ("a" + ":" * 200_000, "does not fit"),
    "a tag without end": ("a: !" + "x" * 200_000, "tag"),
    "directives": ("%A b\n" * 40_000, "not valid YAML"),
    "a number without end": (after_version("limits: {turns: " + "9" * 200_000 + "}"), "too many digits"),
    "NUL bytes": (after_version("name: a\0b"), "U+0000"),
    "NUL bytes by escapes": (after_version('name: "a\\0b"'), "U+0000"),
    "surrogates by escapes": (after_version('name: "\\ud83d"'), "U+D83D"),
    "a key like a mark of our own": (after_version("·word: 1"), "unknown key"),
    "too many values": (after_version(f"x: [{many('#', 30_000)}]"), "values"),
    "too many keys": (after_version("\n".join(f"k{n}: 1" for n in range(9_000))), "more problem"),
    "too many empty keys": (after_version("\n".join(f"k{n}:" for n in range(9_000))), "more problem"),
    # Long lists, whose entries are compared with each other
    "events": (after_version(f"triggers: {{events: [{many('x#', 18_000)}]}}"), "more than 200 entries"),
    "labels": (after_version(f"triggers: {{labels: [{many('x#', 18_000)}]}}"), "more than 200 entries"),
    "bots": (after_version(f"triggers: {{bots: [{many('x#', 18_000)}]}}"), "more than 200 entries"),
    "patterns": (after_version(f"publish: {{protect: [{many('x#', 18_000)}]}}"), "more than 200 entries"),
    "hosts": (network(f"setup: [{many('x#.example.com', 9_000)}]"), "more than 200 entries"),
    "variables": (after_version(f"sandbox: {{env: {{{many('k#: a', 9_000)}}}}}"), "more than 200 entries"),
    "checks": (after_version(f"checks: [{many('{name: c#, run: x}', 3_900)}]"), "more than 200 entries"),
    "headers": (network(f"inject: [{many('{host: a#.example.com, header: X, value: y}', 2_700)}]"), "more than 200"),
    "secrets that headers miss": (
        after_version(
            "sandbox:\n"
            f"  secrets: [{many('SECRET_#', 9_000)}]\n"
            "  network:\n"
            "    agent: open\n"
            f"    inject: [{many(MISSED, 1_400)}]"
        ),
        "more than 200 entries",
    ),
    # Texts that are searched
    "brackets": (after_version("publish: {protect: ['" + "[" * 200_000 + "']}"), "longer than 1,000"),
    "brackets with letters": (after_version("publish: {protect: ['" + "[a" * 100_000 + "']}"), "longer than 1,000"),
    "references that do not close": (injected("${" * 90_000), "at most 8,000"),
    "references": (injected("${B}" * 1_900), "not listed"),
    "an empty reference": (injected("${}"), "not listed"),
    "a host of dots": (network("setup: ['" + "a." * 100_000 + "']"), "not written the usual way"),
    "a duration of hours": (after_version("sandbox: {timeout: " + "1h" * 100_000 + "}"), "24 hours"),
    "a duration of digits": (after_version("sandbox: {timeout: " + "9" * 200_000 + "h}"), "24 hours"),
    "an address of brackets": (after_version("model: {base_url: 'http://[" + "a." * 90_000 + "'}"), "not a valid"),
    "a name": (after_version("name: " + "a" * 200_000), "not a name"),
    # JSON Schemas
    "properties": (schema(f"properties: {{{many('p#: {type: string}', 4_500)}}}"), "too large for a schema"),
    "names that are mappings": (schema(f"required: [{many('{a: #}', 6_000)}]"), "too large for a schema"),
    "a pattern of parentheses": (schema("pattern: '" + "(" * 100_000 + "'"), "pattern"),
    "a pattern of groups": (schema("pattern: '" + "(" * 90_000 + ")" * 90_000 + "'"), "pattern"),
    "a pattern of repetitions": (schema("pattern: 'a{999999999999}'"), "pattern"),
    "a reference of slashes": (schema("$ref: '#/" + "a/" * 100_000 + "'"), "only references"),
    # Templates
    "variables that do not exist": (template("{{ x }}" * 3_000), "no variable"),
    "very many variables": (template("{{ x }}" * 30_000), "more than 10,000 pieces"),
    "parentheses": (template("{{ " + "(" * 50_000 + " }}"), "nested too deeply"),
    "sums": (template("{{ " + "1+" * 50_000 + "1 }}"), "nested too deeply"),
    "conditions in conditions": (template("{% if instruction %}" * 5_000), "nested too deeply"),
    "a number in a template": (template("{{ " + "9" * 200_000 + " }}"), "digits"),
    "a number beyond all numbers": (template("{{ 1e999 }}"), "too large"),
    "a test that does not exist": (template("{{ instruction is nonsense }}"), "No test named"),
    "comments that do not close": (template("{#" * 90_000), "end of comment"),
}


MANY_ALTERNATIVES = template("{% if instruction %}a" + "{% elif instruction %}b" * 5_000 + "{% endif %}")


@pytest.mark.family(3)
@pytest.mark.parametrize("name", BOMBS)
def test_a_file_made_to_take_for_ever_is_refused(name: str) -> None:
    text, word = BOMBS[name]
    assert any(word in problem for problem in told(text)), told(text)[:3]


def test_very_many_alternatives_are_read_or_refused() -> None:
    """Which of both depends on Python's version, and on how many there are."""
    assert all("recursion" in problem or "pieces" in problem for problem in told(MANY_ALTERNATIVES))


KEYS = [
    *json_schema()["properties"],
    *(key for part in json_schema()["properties"].values() for key in part.get("properties", ())),
    *("<<", "a b", "1", "on", "", "$ref", "properties", "\\0word", "__class__"),
]
SCALARS = st.sampled_from(
    [
        *(
            "",
            "~",
            "1",
            "-0",
            "1.5",
            "1_0",
            "0x1",
            "1e400",
            ".inf",
            "yes",
            "true",
            "null",
            "''",
            '"\\u0000"',
            "10m",
            "1h90",
        ),
        *("open", "none", "{{ instruction }}", "'{{ x'", "'${A}'", "2026-11-01", "a.example.com", "'*'", "|\n   x"),
        *("!!str x", "*a", "&a x", "\U0001f469\u200d\U0001f4bb"),
    ]
)


@st.composite
def structures(draw: st.DrawFn, depth: int = 4) -> str:
    """YAML as it is written: flow lists and mappings with our keys, anchors, aliases, and values of the wrong kind."""
    kind = draw(st.sampled_from(["scalar", "scalar", "list", "map", "map"] if depth else ["scalar"]))
    anchor = draw(st.sampled_from(["", "", "", "&a ", "*a #"]))
    if kind == "scalar":
        return anchor + draw(SCALARS)
    items = draw(st.lists(structures(depth - 1), max_size=4))
    if kind == "list":
        return f"{anchor}[{', '.join(items)}]"
    return anchor + "{" + ", ".join(f"{json.dumps(draw(st.sampled_from(KEYS)))}: {item}" for item in items) + "}"


@settings(max_examples=settings().max_examples // 3)
@given(st.lists(st.tuples(st.sampled_from(KEYS), structures()), max_size=6))
def test_any_structure_is_a_spec_or_is_refused(pairs: list[tuple[str, str]]) -> None:
    told(after_version("\n".join(f"{json.dumps(key)}: {value}" for key, value in pairs)))


ARGUMENTS = st.text(st.characters(exclude_characters="\0"), max_size=12)  # of a command line


@settings(max_examples=settings().max_examples // 3)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([*KEYS, "0", "99999", "٣"]) | ARGUMENTS, min_size=1, max_size=4),
            structures() | ARGUMENTS,
        ),
        max_size=4,
    )
)
def test_any_setting_from_the_command_line_is_taken_or_refused(changes: list[tuple[list[str], str]]) -> None:
    base = after_version("checks: [{name: a, run: b}]\nmodel: claude-sonnet-5-5\nresult: {type: object}")
    told(base, *(f"{'.'.join(path)}={value}" for path, value in changes))


WORDS = """
{{ }} {% %} {# #} ( ) [ ] { } . , : | ~ + - * ** / // % == < ' " \\ _ 1 1e999 0x1 1_0 if elif else endif for in endfor
set endset raw endraw not and or is defined none true instruction pr.title x loop namespace range lower default join
block macro call filter with include import autoescape recursive break
"""
TOKENS = [*WORDS.split(), "9" * 30, "\n", "\0", "\ud800", "é"]


@st.composite
def templates(draw: st.DrawFn) -> str:
    text = " ".join(draw(st.lists(st.sampled_from(TOKENS), max_size=20)))
    return draw(st.sampled_from(["{{ %s }}", "{%% %s %%}", "%s", "{%% if %s %%}a{%% endif %%}"])) % text


@given(templates())
def test_any_template_is_rendered_or_refused(text: str) -> None:
    if template_flaw(text) is None:
        try:
            render(text, {"instruction": "do it", "pr": {"title": "a title"}}, max_seconds=1)
        except UsageError as error:
            assert str(error).startswith("prompt template, line ")  # noqa: PT017 (either way is fine)
