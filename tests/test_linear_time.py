"""Text of strangers and of the model takes linear time: each regular expression of the package, and what shows, cleans
or reads such text as a whole. A quadratic one stops a run for minutes, with 64 KB of one character."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from flue_ci.action.comment_request import read_command
from flue_ci.agent.tools.files import describe_closest
from flue_ci.core.text import one_line, parse_duration, plain, printable
from flue_ci.gate.comment_command import _AT_TIME, find_command
from flue_ci.report.diffs import read_patch, without_binary
from flue_ci.report.generated import _NAMES
from flue_ci.safety.key_patterns import KEY_PATTERNS
from flue_ci.safety.markdown import code_block, escape, html, inline_code, untrusted_markdown
from flue_ci.safety.redact import Redactor, StreamRedactor
from flue_ci.safety.sanitize import sanitize_for_model
from flue_ci.spec.yaml_document import _EXPLANATIONS
from tests.support.hostile_text import pumps, slow_text
from tests.test_architecture import modules, room, tree_of

METHODS = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub", "subn")
LEFT_OUT = (
    "__main__",
    "testing",
)  # importing starts the command line; contracts for adapters read nothing of strangers
# Patterns that are made of local variables only, by module and code: what they may be.
LOCAL_PATTERNS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("action.target", "''.join((wildcards.get(part) or re.escape(part) for part in parts))"): ("a/[^/]*", "a/.*"),
    ("agent.tools.globs", "expression"): ("[abc]", "[^/a-c]"),
    ("gate.comment_command", "word"): (re.escape("/flue"),),
    ("report.generated", "names"): tuple(_NAMES.values()),
    ("safety.key_patterns", "regex"): tuple(pattern.regex for pattern in KEY_PATTERNS),
    ("spec.yaml_document", "pattern"): tuple(pattern for pattern, _, _ in _EXPLANATIONS),
}
# What is not linear, and the bound of the texts that it meets.
SHORT_TEXTS: Mapping[str, str] = {
    r"publish.push_rules (?:.*/)?ab": "a path has some thousand characters at most, and is matched as a whole",
    r"spec.values \[!?(\]?[^\]/]*)\]": "a pattern has at most `_MAX_GLOB` characters",
    r"spec.values \$\{([^}]*)\}": "a header's value has at most `_MAX_VALUE` characters",
    f"gate.comment_command {_AT_TIME.pattern}": "the end of a line that is longer than 500 characters is not looked at",
}


class _Names(dict[str, Any]):
    """The names of a module. A local one is text that is put into a pattern, for which `ab` stands."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return "ab"


@cache
def expressions() -> dict[str, tuple[re.Pattern[Any], frozenset[str]]]:
    """Every regular expression of the package by module and text, with the methods that are called on it."""
    results: dict[str, tuple[re.Pattern[Any], frozenset[str]]] = {}
    for name, path in modules():
        if room(name) in LEFT_OUT:
            continue
        names = _Names(vars(importlib.import_module(f"flue_ci.{name}".removesuffix(".__init__"))))
        for node, methods in _calls(tree_of(path)):
            for pattern in _patterns(name, node, names):
                key = f"{name} {pattern.pattern}"
                results[key] = pattern, methods | results.get(key, (pattern, frozenset()))[1]
    return results


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, frozenset[str]]]:
    """Each call of a function of `re` that takes a pattern, with what is done with it: for a pattern that is compiled,
    the methods that are called on its name, or on anything else when it has none."""
    targets = {id(node.value): node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    uses: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner != "re":
                uses.setdefault(owner, set()).add(node.attr)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile")):
                target = targets.get(id(node))
                owner = target.id if isinstance(target, ast.Name) else ""
                every = {use for methods in uses.values() for use in methods}
                methods = (uses.get(owner) or every) - {"split"}  # which texts have, too
                yield node, frozenset(methods)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=method)) if method in METHODS:
                yield node, frozenset([method])


def _patterns(module: str, call: ast.Call, names: _Names) -> Iterator[re.Pattern[Any]]:
    flags = [arg for arg in call.args[1:] if re.fullmatch(r"re\.[A-Z]+(?: \| re\.[A-Z]+)*", ast.unparse(arg))]
    flags += [keyword.value for keyword in call.keywords if keyword.arg == "flags"]
    bits = sum(_evaluate(flag, names) for flag in flags)
    place = (module, ast.unparse(call.args[0]))
    if place[1].isidentifier() and place[1] not in names:
        texts = LOCAL_PATTERNS[place]
    else:
        texts = LOCAL_PATTERNS.get(place) or (_evaluate(call.args[0], names),)
    for text in texts:
        if isinstance(text, bytes):
            yield re.compile(text.decode("latin-1"), bits | re.ASCII)
        else:
            yield re.compile(text, bits)


def _evaluate(node: ast.expr, names: _Names) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), names)


def _applied(pattern: re.Pattern[str], method: str) -> Callable[[str], object]:
    match method:
        case "finditer" | "findall":
            return lambda text: sum(1 for _ in pattern.finditer(text))
        case "sub" | "subn":
            return lambda text: pattern.sub("", text)
        case _:
            return getattr(pattern, method)  # type: ignore[no-any-return]


def test_every_expression_of_the_package_is_looked_at() -> None:
    sources = "\n".join(path.read_text() for name, path in modules() if room(name) not in LEFT_OUT)
    written = len(
        re.findall(r"(?<![\w.])re\.(?:compile|findall|finditer|fullmatch|match|search|split|subn?)\(", sources)
    )
    assert len(expressions()) >= 0.9 * written > 100  # some are written twice
    assert set(SHORT_TEXTS) <= set(expressions())


@pytest.mark.long
def test_each_expression_takes_linear_time() -> None:
    for place, (pattern, methods) in expressions().items():
        if place not in SHORT_TEXTS:
            for method in methods:
                for before, pump in pumps(pattern):
                    assert slow_text(_applied(pattern, method), before, pump) == "", place


@pytest.mark.family(2)
@pytest.mark.parametrize(
    "pattern", [r"\\*(?<!a)@", r"(\d+(?:\.\d+)?)(ms|s)", r"(?:[ ]*-[ ]+){0,3}x", r"(a|a)*b", r"<([^>]+)>;"]
)
def test_a_slow_expression_is_noticed(pattern: str) -> None:
    compiled = re.compile(pattern)
    assert any(slow_text(compiled.search, before, pump, ["\0"], max_seconds=0.1) for before, pump in pumps(compiled))


def _stream(text: str) -> None:
    redact = StreamRedactor(REDACT)
    for start in range(0, len(text), 4_096):
        redact.feed(text[start : start + 4_096])
    redact.end()


def _parse_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_duration(f"{text}x")


SECRETS = [f"{number}-canary-{number:x}/canary+with=signs&{number}" for number in range(34)]
REDACT = Redactor(SECRETS)
READERS: Mapping[str, Callable[[str], object]] = {
    "for the model": sanitize_for_model,
    "as Markdown": untrusted_markdown,
    "escaped": escape,
    "as code": code_block,
    "as inline code": inline_code,
    "as HTML": html,
    "as plain text": plain,
    "as one line": one_line,
    "for a terminal": printable,
    "redacted": REDACT,
    "redacted in pieces": _stream,
    "as a comment": find_command,
    "as a request": read_command,
    "as a mention": lambda text: find_command(text, phrase="flue"),
    "as a duration": _parse_duration,
    "as a patch": lambda text: without_binary(text.encode()),
    "as the diffs of a patch": lambda text: read_patch(without_binary(text.encode())),
    "as a file to edit": lambda text: describe_closest(text, "one line\nand another"),
    "as an edit": lambda text: describe_closest("one line\nand another", text),
    "as an edit of the same": lambda text: describe_closest(text + "x", text + "y"),
}
PUMPS = [
    "\\", "`", "``a", "<", "<!--", "<!-- -->", "<![CDATA[", "<b ", "</", "[", "]", "[x](", "![](", "[…",
    "[…]", "sk-ant[…]", "@", "@a", "@a.", "#1", "#1/", "a/b#", "a.b-#1", "GH-1", "GH-", "a.", "a-", "/", "&",
    "&#", "&#0", "&#64;", "&lt;", "http://", "https://a", "www.", "://", "://a:", "://a:b", ".eyJ", "eyJ",
    "-eyJ-a", "-----BEGIN ", "xox", "ecret", "-----BEGIN PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n", "sk-ant-", "ghp_", "AKIA", "hooks.slack.com/", "\n", "\r\n", "\r",
    "\t", " ", " \n", "\n\n", "- ", " -", "-        ", "1. ", "> ", "```\n", "~~~\n", "- ```\n", "    ```\n",
    "\x1b[", "\x1b]", "\x1b[0", "\u200d", "️", "\u200b", "́", "\U0001f469\u200d", "a\u200d", "\U0001f1e9",
    "é", "\U000e0041", "\x00", "$", "|", "| `", "$`", "~", "*", "_", "**a", "=", "\"", "'", ",", ";", ":",
    "!", "?", "(", ")", "{", "}", "{{", "${", "%", "0", "1.", "1h", "1.5", "9s.", "a", "ab ", "A", "word ",
    "GIT binary patch\n", "GIT binary patch\nliteral 1\nzA\n", "literal 1\n", "diff --git a/a b/a\n",
    "diff --git ", "@@ -1 +1 @@\n", "+a\n", "-\n", "Binary\n", "one line\n", "one  line\n", "/flue",
    "/flue ", "@flue", " @flue`", "`@flue` ", "From: ", "wrote:\n",
]  # fmt: skip


@pytest.mark.family(1)
@pytest.mark.parametrize("part", range(8))
def test_hostile_texts_are_read_in_linear_time(part: int) -> None:
    for reader, read in READERS.items():
        for pump in PUMPS[part::8]:
            assert slow_text(read, "# @flue ", pump, endings=["\0"]) == "", reader


@pytest.mark.parametrize("pump", ["<b>@a ", "www.a.com "])
def test_open_tags_and_bare_addresses_are_counted_once(pump: str) -> None:
    """Each takes longer than the texts above, and eight times as many are to take eight times as long."""
    small, large = (_seconds(lambda size=size: untrusted_markdown(pump * size)) for size in (500, 4_000))
    assert large < 20 * small


def _seconds(call: Callable[[], object]) -> float:
    start = time.thread_time()
    call()
    return time.thread_time() - start


def test_code_spans_of_all_lengths_are_read_in_linear_time() -> None:
    """Runs of backticks that never end: each of a length of its own."""
    for reader in READERS.values():
        assert slow_text(lambda text, read=reader: read(_runs(len(text))), "", "x") == ""


def _runs(size: int) -> str:
    length, runs = 0, list[str]()
    while length < size:
        runs.append("`" * len(runs) + "a")
        length += len(runs[-1])
    return "".join(runs)
