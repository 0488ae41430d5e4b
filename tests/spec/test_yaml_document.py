from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.spec.yaml_document import MAX_BYTES, Document, format_path, parse, parse_value


def refused(text: str | bytes) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        parse(text.encode() if isinstance(text, str) else text, "f.yml")
    assert len(caught.value.diagnostics) == 1
    return caught.value.diagnostics[0]


def read(text: str) -> Document:
    return parse(text.encode(), "f.yml")


def only_problem(text: str) -> Diagnostic:
    document = read(text)
    assert len(document.problems) == 1, document.problems
    return document.problems[0]


def at(problem: Diagnostic) -> tuple[int, int]:
    return problem.line, problem.column


def test_values_of_the_core_of_yaml_1_2_are_read() -> None:
    document = read(
        "text: pytest -q\nquoted: 'no'\nnumber: -12\nfraction: 2.50\ntrue_: true\nfalse_: False\nnothing: ~\nempty:\n"
        "list: [a, 1]\nmap: {a: {b: c}}\nblock: |\n  one\n  two\nfolded: >\n  one\n  two\n"
    )
    assert document.problems == ()
    assert document.data == {
        "text": "pytest -q",
        "quoted": "no",
        "number": -12,
        "fraction": 2.5,
        "true_": True,
        "false_": False,
        "nothing": None,
        "empty": None,
        "list": ["a", 1],
        "map": {"a": {"b": "c"}},
        "block": "one\ntwo\n",
        "folded": "one two\n",
    }


def test_keys_and_values_have_places() -> None:
    document = read("a:\n  b: [x,  y]\n  c: |\n    one\n")
    place = document.location(("a", "b", 1))
    assert (place.line, place.column, place.raw) == (2, 11, "y")
    assert document.location(("a", "b")).key == (2, 3)
    assert document.location(("a", "c")).block == 4
    assert document.location(("a", "nothing", "here")) == document.location(("a",))


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "On", "OFF"])
def test_a_boolean_of_yaml_1_1_is_refused_with_both_ways_to_write_it(word: str) -> None:
    problem = only_problem(f"a: {{b: {word}}}\n")
    assert (problem.key, at(problem)) == ("a.b", (1, 8))
    assert ("true" if word.lower() in ("yes", "on") else "false") in problem.hint
    assert f'"{word}"' in problem.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1_000", '"1_000", or write 1000'),
        ("12:30", '"12:30"'),
        ("1:30:00", '"1:30:00"'),
        ("017", '"017"'),
        ("08", '"08"'),
        ("0o17", '"0o17", or write 15'),
        ("0x1F", '"0x1F", or write 31'),
        ("0b101", '"0b101", or write 5'),
        ("1e3", '"1e3", or write 1000'),
        ("1.5e-3", '"1.5e-3", or write 0.0015'),
        ("2026-11-01", '"2026-11-01"'),
        ("2026-11-01 10:00:00", '"2026-11-01 10:00:00"'),
        (".inf", '".inf"'),
        (".NaN", '".NaN"'),
        ("=", '"="'),
        ("1234567890123456789012", '"1234567890123456789012"'),
    ],
)
def test_a_scalar_that_two_readers_take_for_different_things_is_refused(text: str, hint: str) -> None:
    problem = only_problem(f"a: {text}\n")
    assert hint in problem.hint
    assert only_value(f'a: "{text}"\n') == text


def only_value(text: str) -> object:
    document = read(text)
    assert document.problems == ()
    return document.data["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", "y"),
        ("n", "n"),
        ("1.2.3", "1.2.3"),
        ("10m", "10m"),
        ("0", 0),
        ("+5", 5),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1.10", 1.1),
        ("2026-11-01 is a day", "2026-11-01 is a day"),
        ("a:b", "a:b"),
        ("yes please", "yes please"),
        ("_1", "_1"),
        ("1-2", "1-2"),
    ],
)
def test_what_only_looks_like_a_trap_is_read(text: str, value: object) -> None:
    assert only_value(f"a: {text}\n") == value


def test_a_key_is_text_also_where_yaml_1_1_has_a_boolean() -> None:
    document = read("on: 1\nno: 2\n")
    assert document.problems == ()
    assert document.data == {"on": 1, "no": 2}


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "~", "12:30", "2026-11-01"])
def test_a_key_that_is_not_text_is_refused(key: str) -> None:
    problem = only_problem(f"a: 1\n{key}: 2\n")
    assert at(problem) == (2, 1)
    assert f'"{key}"' in problem.hint


@pytest.mark.parametrize(("text", "where"), [("? [a]\n: 1\n", (1, 3)), ("? {a: b}\n: 1\n", (1, 3))])
def test_a_key_that_is_a_list_or_a_mapping_is_refused(text: str, where: tuple[int, int]) -> None:
    assert at(only_problem(text)) == where


def test_an_unquoted_template_is_explained() -> None:
    problem = only_problem("prompt: {{ instruction }}\n")
    assert problem.key == "prompt"
    assert "`{{`" in problem.hint


def test_a_duplicate_key_is_refused_with_the_line_of_the_first() -> None:
    document = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 4\n")
    assert [(problem.key, at(problem)) for problem in document.problems] == [("b.c", (5, 3)), ("a", (6, 1))]
    assert "line 3" in document.problems[0].hint
    assert document.data == {"a": 1, "b": {"c": 1, "d": 2}}


def test_a_merge_key_is_refused() -> None:
    problem = only_problem("a: &x {b: 1}\nc:\n  <<: *x\n")
    assert (problem.key, at(problem)) == ("c", (3, 3))


def test_an_alias_is_written_out_and_keeps_the_place_of_its_anchor() -> None:
    document = read("a: &x [1, two]\nb: *x\n")
    assert document.data == {"a": [1, "two"], "b": [1, "two"]}
    assert document.location(("b", 1)).line == 1


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    started = time.process_time()
    problem = refused("\n".join(lines))
    assert time.process_time() - started < 20
    assert problem.line > 0
    assert "alias" in problem.message


def test_an_alias_to_nothing_and_to_itself_is_refused() -> None:
    assert at(refused("a: *b\n")) == (1, 4)
    assert at(refused("a: &a [*a]\n")) == (1, 8)


@pytest.mark.parametrize("tag", ["!!str", "!!python/object:os.system", "!x", "!!binary"])
def test_a_tag_is_refused(tag: str) -> None:
    problem = refused(f"a: {tag} b\n")
    assert at(problem) == (1, 4)
    assert tag in problem.message


def test_a_second_document_is_refused() -> None:
    assert at(refused("a: 1\n---\nb: 2\n")) == (2, 1)
    assert read("---\na: 1\n...\n").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("a:\n\tb: 1\n", (2, 1), "tab"),
        ("a: b: c\n", (1, 5), "`:`"),
        ("a: [1,\nb: 2\n", (1, 4), "not closed"),
        ("a: {b: 1\nc\n", (1, 4), "not closed"),
        ("a: 'x\n", (1, 4), "quote"),
        ("a: @b\n", (1, 4), "`@`"),
        ("a: `b`\n", (1, 4), "```"),
        ("a: %b\n", (1, 4), "`%`"),
        ("- a\nb: 1\n", (2, 1), "fit"),
        ("a: 'b'\n c: d\n", (2, 2), "fit"),
        ('a: "\\d"\n', (1, 6), "`\\d`"),
        ("a: &\n", (1, 5), "name"),
        ("a: 1\n b: 2\nc\n", (2, 3), "`:`"),
    ],
)
def test_broken_syntax_is_explained_at_its_place(text: str, where: tuple[int, int], word: str) -> None:
    problem = refused(text)
    assert at(problem) == where
    assert word in problem.message


@pytest.mark.parametrize("text", ['a: "\\0"', 'a: "\\ud800"'])
def test_an_escape_for_what_no_text_can_hold_is_refused(text: str) -> None:
    assert at(refused(text)) == (1, 4)


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', f"%YAML {'9' * 5000}.1\n---\na: 1\n", "%YAML 2.0\n---\na: 1\n"])
def test_an_impossible_escape_or_directive_is_refused(text: str) -> None:
    refused(text)


def test_a_control_character_is_refused_at_its_place() -> None:
    assert at(refused("a: 1\nb: x\x00y\n")) == (2, 5)
    assert at(refused("a: 1\r\nb: x\x1b[31m\r\n")) == (2, 5)


HIDDEN = (
    "\r\x85\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u200c\u200d\u2060\u2063"
    "\ufeff\xad\u034f\u180e\u115f\u1160\u17b4\u3164\uffa0\u2800\ufe00\ufe0e\ufe0f\ufff9\U000e0001\U000e0041\U000e007f\U000e0100\x1b"
)
PLACES = (
    "a: 1\nb: x{}y\n",
    "a: 1\n# b{}c: d\n",
    "a: 1\nb{}c: d\n",
    "a: 1\n'b{}c': d\n",
    'a: 1\n"b{}c": d\n',
    "a: |\n  b{}c\n",
    "a: >-\n  b{}c\n",
    "a: [b,\n c{}d]\n",
    "a: &b c\nd: *b # {}x\n",
)


@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
def test_what_a_reader_of_the_file_does_not_see_is_refused_at_its_place(char: str) -> None:
    for place in PLACES:
        text = place.format(char)
        problem = refused(text)
        assert at(problem) == (2, text.split("\n")[1].index(char) + 1)
        assert f"U+{ord(char):04X}" in problem.message


def test_each_hidden_character_is_named_and_some_do_not_bury_the_rest() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a: b\u200bc\nd: e\u2028f\u202e\n".encode(), "f.yml")
    assert [at(problem) for problem in caught.value.diagnostics] == [(1, 5), (2, 5), (2, 7)]
    assert "line break" in caught.value.diagnostics[1].message
    with pytest.raises(SpecError) as caught:
        parse(("a: " + "\u200b" * 60_000).encode(), "f.yml")
    assert len(caught.value.diagnostics) < 50


@pytest.mark.parametrize("char", "\r\x85\u2028\u2029", ids=ascii)
def test_a_comment_hides_no_key(char: str) -> None:
    assert at(refused(f"a: 1 # harmless{char}sandbox: {{network: open}}\n")) == (1, 16)


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧 👍🏽 ❤️ 1️⃣ 🏳️‍🌈 ☎️ ℹ️ 🇩🇪 \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "می‌خواهم کتاب‌ها",
        "അവന്‍ വന്നു, അത്‌ നല്ലത്",
        "हिन्दी क्‍ष",
        "ශ්‍රී ලංකා",
        "« bonjour », 日本語　テキスト, 10 km, a – b… “c”",
        "café, Ελληνικά, עברית, 한국어",
    ],
)
def test_text_of_every_language_is_read(text: str) -> None:
    for place in ("a: {}\n", "a: '{}'\n", "a: |-\n  {}\n", "a: &x {}\n# {}\n"):
        assert only_value(place.replace("{}", text)) == text


def test_an_escape_is_visible_and_is_read() -> None:
    assert only_value('a: "x\\u202ey\\u200b\\x1b\\L\\_"\n') == "x\u202ey\u200b\x1b\u2028\xa0"
    assert 'write "\\u202E" in double quotes' in refused("a: x\u202ey\n").hint


@pytest.mark.parametrize("key", ['"b\\u200bc"', '"\\u200bb"', '"b\\_c"', "b\xa0c", "'b\u3000c'", "a\u2003"])
def test_a_key_looks_like_what_it_is(key: str) -> None:
    problem = only_problem(f"a: 1\n{key}: 2\n") if not key.endswith("\u2003") else refused(f"a: 1\n{key}: 2\n")
    assert at(problem) == (2, 1)


@pytest.mark.parametrize("space", "\xa0\u2003\u202f\u3000", ids=ascii)
@pytest.mark.parametrize(
    "text",
    ["a:\n{}{}b: 1\n", "a: 1{}# b\n", "a:{}1\n", "a:\n  -{}b\n", "a: b{}\n", "a: b{}: c\n", "a: [b,{}c]\n"],
)
def test_a_space_that_is_none_to_yaml_is_explained(space: str, text: str) -> None:
    problem = refused(text.replace("{}", space))
    assert "space" in problem.message + problem.hint
    assert problem.line > 0


def test_what_is_not_utf_8_is_refused_at_its_place() -> None:
    problem = refused("ä: 1\nb: ".encode() + b"\xff\n")
    assert at(problem) == (2, 4)
    assert "0xff" in problem.message
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        assert encoding[:6].upper() in refused("a: 1\n".encode(encoding)).message
    assert "UTF-32" in refused(b"\0\0\xfe\xff" + "a: 1\n".encode("utf-32-be")).message


def test_a_byte_order_mark_and_crlf_are_accepted() -> None:
    document = parse("\ufeffa: 1\r\nb: |\r\n  x\r\n  y\r\n".encode(), "f.yml")
    assert document.data == {"a": 1, "b": "x\ny\n"}
    assert document.location(("b",)).line == 2


@pytest.mark.parametrize("text", ["", "\n\n", "  \n", "\ufeff", "# nothing\n"])
def test_an_empty_file_is_refused_with_what_to_do(text: str) -> None:
    problem = refused(text)
    assert problem.line == 0
    assert "flue-ci init" in problem.hint


@pytest.mark.parametrize(
    ("text", "found"), [("- a\n", "a list"), ("[a]\n", "a list"), ("hello\n", "'hello'"), ("1\n", "'1'")]
)
def test_a_file_without_a_mapping_at_the_top_is_refused(text: str, found: str) -> None:
    problem = refused(text)
    assert at(problem) == (1, 1)
    assert found in problem.message


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    problem = refused(b"a: 1\n" + b"#" * MAX_BYTES)
    assert "262 KB" in problem.message


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 60_000, "- " * 100_000, "? " * 100_000])
def test_hostile_nesting_is_refused(text: str) -> None:
    assert "deep" in refused(text).message


def test_nesting_by_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 60)]
    assert "alias" in refused("\n".join(lines)).message


def test_too_many_values_are_refused() -> None:
    assert "values" in refused("a:\n" + "- b\n" * 30_000).message


def test_a_value_from_the_command_line_reads_like_one_in_a_file() -> None:
    assert parse_value("[a, 1, true]", "--set x") == ["a", 1, True]
    with pytest.raises(SpecError, match="--set x"):
        parse_value("[a", "--set x")
    with pytest.raises(SpecError, match="boolean"):
        parse_value("[no]", "--set x")


def test_paths_are_written_with_dots_and_brackets() -> None:
    assert format_path(("sandbox", "setup", 0)) == "sandbox.setup[0]"
    assert format_path(("a", "b c")) == 'a["b c"]'
    assert format_path(()) == ""


def read_or_refused(data: bytes) -> None:
    """Whatever comes is a document whose values have places, or a `SpecError` with problems."""
    try:
        document = parse(data, "f.yml")
    except SpecError as error:
        problems = error.diagnostics
    else:
        problems = document.problems or (Diagnostic(file="", line=0, column=0, key="", message="none"),)
        assert all(document.location((key,)).line > 0 for key in document.data)
    assert all(problem.message for problem in problems)
    assert problems


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refused(data)


@given(st.text(alphabet="ab:-?[]{},&*!|>'\"%@`#~<=\\ \n\t01_.", max_size=60))
def test_arbitrary_yaml_punctuation_is_read_or_refused(text: str) -> None:
    read_or_refused(text.encode())
