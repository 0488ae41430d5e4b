from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.errors import UsageError
from flue_ci.spec.template import MAX_CHARS, render, template_flaw

PR = {
    "number": 7,
    "title": "Faster parser",
    "body": "",
    "author": "ada",
    "base": "main",
    "head": "fast",
    "labels": ["a", "b"],
    "url": "https://github.example.com/o/r/pull/7",
}


def refused(template: str, **variables: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        render(template, variables)
    return caught.value


def test_text_without_braces_is_itself_and_needs_no_jinja() -> None:
    code = (
        "import sys; from flue_ci.spec.template import render; print(render('a {b}\\n', {}), 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a {b}\n False\n"


def test_a_given_instruction_takes_the_place_of_the_default() -> None:
    template = '{{ instruction | default("All tests.") }}\n'
    assert render(template, {"instruction": "Only the parser."}) == "Only the parser.\n"
    assert render(template, {}) == "All tests.\n"


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_instruction_without_text_counts_as_not_given(empty: str) -> None:
    assert render('{{ instruction | default("All.") }}', {"instruction": empty}) == "All."


def test_an_instruction_that_is_needed_and_missing_is_an_error_that_says_what_to_do() -> None:
    error = refused("one\n{{ instruction }}")
    assert "line 2" in str(error)
    assert "instruction" in str(error)
    assert "flue-ci run" in error.hint


def test_text_from_outside_is_not_a_template() -> None:
    assert render("{{ instruction }}", {"instruction": "{{ 7 * 7 }} {% if %}"}) == "{{ 7 * 7 }} {% if %}"


def test_a_known_variable_without_value_is_false_in_a_condition_and_an_error_elsewhere() -> None:
    template = "{% if pr %}\nPull request {{ pr.number }}.\n{% else %}\nNo pull request.\n{% endif %}\n"
    assert render(template, {}) == "No pull request.\n"
    assert render(template, {"pr": PR}) == "Pull request 7.\n"
    assert "{% if pr %}" in refused("{{ pr.number }}").hint


def test_html_in_values_stays_as_it_is() -> None:
    assert render("{{ instruction }}", {"instruction": "<b> & 'x'"}) == "<b> & 'x'"


def test_loops_conditions_and_filters_work() -> None:
    assert (
        render("{% for l in pr.labels %}{{ loop.index }}{{ l }}{{ ';' if not loop.last }}{% endfor %}", {"pr": PR})
        == "1a;2b"
    )
    assert render('{{ pr.labels | join(", ") }} {{ pr.title.upper() }}', {"pr": PR}) == "a, b FASTER PARSER"
    assert render("{% set x = 'a' ~ 1 %}{{ x }} {{ {'k': '<é>'} | tojson }}", {}) == 'a1 {"k": "<é>"}'
    assert (
        render("{% set ns = namespace(n=0) %}{% for l in [1, 2] %}{% set ns.n = ns.n + l %}{% endfor %}{{ ns.n }}", {})
        == "3"
    )
    assert render(
        "{{ 'one two three' | truncate(9) }} {{ 'a\nb' | indent(2) }} {{ 'aab' | replace('a', 'c') }}", {}
    ) == ("one two… a\n  b ccb")
    assert render("{% raw %}{{ x }}{% endraw %}", {}) == "{{ x }}"


@pytest.mark.parametrize(
    ("template", "line", "word", "hint"),
    [
        ("a\n{{ instrution }}", 2, "instrution", "`instruction`"),
        ("{{ secrets }}", 1, "secrets", "instruction"),
        ("a\nb\n{{ pr.titel }}", 3, "titel", "`title`"),
        ("{% if pr %}\nx", 2, "end of template", "endraw"),
        ("a\n{{ pr.title", 2, "end of template", "endraw"),
        ("{{ 1 | uper }}", 1, "uper", "`upper`"),
        ("a\n{% include 'x' %}", 2, "include", ""),
        ("{% extends 'x' %}", 1, "extends", ""),
        ("{% import 'x' as y %}", 1, "import", ""),
        ("{% macro a() %}{% endmacro %}", 1, "macro", ""),
        ("{% for a in [] recursive %}{% endfor %}", 1, "recursive", ""),
        ("{{ lipsum() }}", 1, "lipsum", ""),
        ("{{ cycler() }}", 1, "cycler", ""),
        ("{% do x %}", 1, "do", ""),
        ("{{ 1 +", 1, "", ""),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", 1, "deep", ""),
        ("{{ " + "+".join(["1"] * 5000) + " }}", 1, "deep", ""),
        ("{% for a in [1] %}" * 25 + "{% endfor %}" * 25, 1, "nested", ""),
    ],
)
def test_what_is_wrong_with_a_template_is_known_before_there_are_values(
    template: str, line: int, word: str, hint: str
) -> None:
    flaw = template_flaw(template)
    assert flaw is not None
    assert flaw.line == line
    assert word in flaw.message
    assert hint in flaw.hint
    refused(template)


def test_local_names_of_a_template_are_not_unknown() -> None:
    assert (
        template_flaw("{% set a, b = (1, 2) %}{% for k, v in {'x': a}.items() %}{{ k }}{{ v }}{{ b }}{% endfor %}")
        is None
    )
    assert template_flaw("{% for pr in [{'x': 1}] %}{{ pr.x }}{% endfor %}") is None


@pytest.mark.parametrize(
    "template",
    [
        "{{ instruction.__class__.__mro__ }}",
        "{{ instruction['__class__'] }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ([1] | map(attribute='__class__') | list)[0] }}",
        "{{ pr.__class__ }}",
        "{{ ''.format }}{{ ''.format() }}",
        "{{ pr.update({'number': 8}) }}",
        "{{ pr.labels.append(1) }}",
    ],
)
def test_a_template_reaches_nothing_but_its_values(template: str) -> None:
    values = {"instruction": "x", "pr": {**PR, "labels": ["a"]}}
    refused(template, **values)
    assert values["pr"] == {**PR, "labels": ["a"]}


@pytest.mark.family(2)
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 9**(9**9) }}",
        "{% for i in range(10**9) %}a{% endfor %}",
        "{% for i in range(99999) %}" + "a" * 99 + "{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ ['a'] | map('center', 10**9) | list }}",
        "{{ 'x\\ny' | indent(10**9) }}",
        "{{ ['x'] | tojson(indent=10**9) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set x = (1,) %}" + "{% set x = (x, x) %}" * 40 + "{{ x | string }}",
    ],
)
def test_a_bomb_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="prompt"):
        render(template, {}, max_seconds=0.5)


def test_nothing_is_computed_while_a_template_is_checked() -> None:
    start = time.process_time()
    for template in (
        "{{ 'a' * 10**9 }}",
        "{{ 9**(9**9) }}",
        "{{ 'x' | indent(10**9) }}",
        "{% if 9**(9**9) %}{% endif %}",
    ):
        assert template_flaw(template) is None
    assert time.process_time() - start < 5


LONG = "Aa bb " * 11_000  # as long as a comment of GitHub may be


@pytest.mark.family(2)
@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(100000) %}{{ range(100000)|sum }}{% endfor %}",
        "{% for i in range(100000) %}{{ instruction|title|length }}{% endfor %}",
        "{% for i in range(100000) %}{% if instruction.count('b') %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if instruction.split() %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if instruction|list|sort|join|length %}{% endif %}{% endfor %}",
        ("{{ instruction" + "|title" * 50 + "|length }}") * 100,
        "{% if instruction|title|title %}{% endif %}" * 1_000,
        "{{ (instruction|title)[0] }}" * 1_500,
    ],
)
def test_filters_and_methods_count_wherever_they_stand(template: str) -> None:
    start = time.process_time()
    with pytest.raises(UsageError, match=r"more than 0\.2 seconds"):
        render(template, {"instruction": LONG}, max_seconds=0.2)
    assert time.process_time() - start < 5  # of this process


def test_a_template_of_very_many_pieces_is_refused() -> None:
    flaw = template_flaw("{{ pr.title }}" * 10_000)
    assert flaw
    assert "more than 10,000 pieces" in flaw.message
    assert template_flaw(f"{{{{ [{'1,' * 20_000}] }}}}")
    assert template_flaw("{{ pr.title }}" * 1_000) is None


def test_a_template_that_takes_too_long_is_ended() -> None:
    loop = "{% for i in range(99999) %}"
    start = time.monotonic()
    with pytest.raises(UsageError, match=r"more than 0\.5 seconds") as caught:
        render(f"{loop}{loop}{loop}{'{% endfor %}' * 3}", {}, max_seconds=0.5)
    assert time.monotonic() - start < 20
    assert "loops" in caught.value.hint


def test_the_memory_of_a_template_is_bounded() -> None:
    """A text that doubles would take all memory within its time; the largest process of this test stays small."""
    doubling = "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    code = (
        "import resource\nfrom flue_ci.core.errors import UsageError\nfrom flue_ci.spec.template import render\n"
        f"try: render({doubling!r}, {{}})\n"
        "except UsageError as error: print('prompt' in str(error))\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 600_000)"  # kilobytes
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "True\nTrue\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ instruction | default('x') }}", "do it"),
        ("{% if pr %}{{ pr.title | upper }}{% else %}none{% endif %}", "FASTER PARSER"),
        ("{% for label in pr.labels %}{{ label }};{% endfor %}", "a;b;"),
        ("{{ pr.labels | join(', ') }} {{ 1 + 1 }}", "a, b 2"),
    ],
)
def test_a_template_gives_the_same_text_here_and_in_a_process_of_its_own(template: str, text: str) -> None:
    assert render(template, {"instruction": "do it", "pr": PR}) == text


def test_a_prompt_without_loops_and_operators_needs_no_process() -> None:
    """The prompts of most specs: a process would take a tenth of a second before each run."""
    values = {"instruction": "do it", "pr": PR}
    for template in ("{{ instruction | default('All.') }}", "{% if pr %}{{ pr.title }}{% endif %}: {{ instruction }}"):
        assert render(template, values, max_seconds=0)
    with pytest.raises(UsageError, match="more than 0 seconds"):
        render("{{ 1 + 1 }}", values, max_seconds=0)


def test_a_result_of_a_reasonable_size_is_fine_and_a_larger_one_is_refused() -> None:
    half = "x" * (MAX_CHARS // 2)
    assert len(render("{{ instruction }}!", {"instruction": half})) == len(half) + 1
    assert "longer" in str(refused("{{ instruction }}{{ instruction }}!", instruction=half))


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "a\n{{ [1][5] }}", "{{ pr.title + 1 }}", "{% for x in 5 %}{% endfor %}"]
)
def test_a_mistake_that_shows_only_with_values_names_the_line(template: str) -> None:
    line = template.count("\n") + 1
    assert f"line {line}:" in str(refused(template, pr=PR))


@given(st.text(alphabet="{}%# abi.|()[]~+-'\"\n", max_size=40))
def test_arbitrary_templates_are_rendered_or_refused(template: str) -> None:
    template_flaw(template)
    try:
        told = render(template, {"instruction": "x"})
    except UsageError as error:
        told = str(error)
    assert isinstance(told, str)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("#{{ pr.number }} into {{ pr.base }}", "#7 into main"),
        ("{{ pr.title }}", "[Faster parser]"),
        ("{{ pr['title'] }}{{ pr['head'] }}", "[Faster parser][fast]"),
        ("{{ pr.labels | join(', ') }} {{ pr.title.upper() }}", "[a, b] [FASTER PARSER]"),
        ("{{ 'x' ~ pr.title }}", "[xFaster parser]"),
        ("{% for l in pr.labels %}{{ l }};{% endfor %}", "[a];[b];"),
        ("{% set t = pr.title %}{{ t }}{{ 1 + 1 }}", "[Faster parser]2"),
        ("{% if 'a' in pr.labels and pr.head == 'fast' %}yes{% endif %}", "yes"),
        ("{{ pr.number ~ pr.title }}", "[7Faster parser]"),
        ("{% for x in range(2) %}{{ x }}{% endfor %}", "01"),
    ],
)
def test_what_strangers_wrote_is_marked_where_it_is_printed(template: str, text: str) -> None:
    marked = render(template, {"pr": PR}, mark=True)
    assert marked.replace('<untrusted source="GitHub">', "[").replace("</untrusted>", "]") == text
