"""`validate` says what will happen: words that are taken, events without what a template needs, specs that collide."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_ci.core.errors import SpecError
from flue_ci.spec.load import find_conflicts, load_spec


def problems(text: str) -> list[str]:
    try:
        load_spec(Path("a.yml"), f"version: 1\n{text}".encode())
    except SpecError as error:
        return [f"{each.line}: {each.key}: {each.message}" for each in error.diagnostics]
    return []


EVENTS = "triggers:\n  events: [{}]\nprompt: |\n  Work.\n  {}\n"


@pytest.mark.parametrize(
    ("event", "template", "name"),
    [
        ("schedule", "{{ pr.title }}", "pr"),
        ("push", "{{ issue.title | upper }}", "issue"),
        ("issues.opened", "{{ pr.title }}", "pr"),
        ("pull_request.opened", "{{ issue.title | default('x') }}", "issue"),
        ("pull_request.opened", "{{ instruction }}", "instruction"),
        ("workflow_dispatch", "{% for label in pr.labels %}{{ label }}{% endfor %}", "pr"),
        ("schedule", "{% if pr.title %}x{% endif %}", "pr"),
        ("schedule", "{% set title = pr.title %}{{ title }}", "pr"),
    ],
)
def test_a_variable_that_an_event_does_not_have_is_an_error_at_its_line(event: str, template: str, name: str) -> None:
    (problem,) = problems(EVENTS.format(event, template))
    assert problem.startswith(f"6: prompt: there is no `{name}` on {event}")


@pytest.mark.parametrize(
    ("event", "template"),
    [
        ("schedule", "{% if pr %}{{ pr.title }}{% endif %}"),
        ("schedule", "{{ pr.title if pr else 'x' }}"),
        ("schedule", "{% if pr and pr.title %}x{% endif %}"),
        ("schedule", "{% if not issue %}x{% endif %}{% if pr is defined %}{{ pr.title }}{% endif %}"),
        ("schedule", "{{ instruction | default('x') }} {{ repo.name }} {{ event.name }}"),
        ("workflow_dispatch", "{{ instruction }}"),
        ("pull_request.opened", "{{ pr.title }}"),
        ("check_suite.completed", "{{ pr.title }}"),
        ("issues.opened", "{{ issue.title }}"),
    ],
)
def test_a_variable_that_may_be_there_or_is_not_needed_is_none(event: str, template: str) -> None:
    assert problems(EVENTS.format(event, template)) == []


@pytest.mark.parametrize("word", ["help"])
def test_a_word_that_is_taken_is_an_error(word: str) -> None:
    (problem,) = problems(f"triggers:\n  comment: {word}\n")
    assert problem.startswith(f"3: triggers.comment: `{word}` is taken")


@pytest.mark.parametrize("value", ["Bearer ${TOKEN", "${", "${TOKEN} ${TOK"])
def test_a_reference_without_its_end_is_an_error(value: str) -> None:
    rule = f"{{host: packages.example.com, header: Authorization, value: '{value}'}}"
    text = f"sandbox:\n  secrets: [TOKEN]\n  network:\n    setup: open\n    inject:\n      - {rule}\n"
    assert any("has no end" in problem for problem in problems(text))


def test_specs_of_one_folder_with_one_name_or_word_are_errors(tmp_path: Path) -> None:
    texts = {
        "a.yml": "triggers: {comment: fix}\n",
        "b.yml": "name: c\ntriggers:\n  comment: fix\n",
        "c.yaml": "triggers: {comment: other}\n",
        "d.yml": "broken: true\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"version: 1\n{text}")
    paths = [tmp_path / name for name in texts]
    found = [(Path(each.file).name, each.line, each.key, each.message[:24]) for each in find_conflicts(paths)]
    assert sorted(found) == [
        ("b.yml", 4, "triggers.comment", "`fix` starts the agent o"),
        ("c.yaml", 1, "name", "b.yml has the name `c` a"),
    ]
    assert [Path(each.file).name for each in find_conflicts([tmp_path / "a.yml"])] == ["a.yml"]
    assert find_conflicts([tmp_path / "c.yaml"])
