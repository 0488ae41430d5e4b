from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.spec.load import load_spec, not_supported_yet, only_on_github
from flue_ci.spec.schema import AgentSpec

FILE = Path("fix-tests.yml")
# Every key of version 1, as the design shows them.
FULL = """\
version: 1
name: fix-tests
description: Make the failing tests of a pull request pass.
model: {name: claude-opus-5-5, max_output_tokens: 16000, effort: high, thinking: summarized, provider: anthropic,
        base_url: "https://llm.example.com", prices: {input: 2, output: 10.5}}
instructions: |
  You maintain {{ repo.name }}.
prompt: |
  {{ instruction | default("Make the test suite pass.") }}
engine: agent
triggers:
  comment: fix-tests
  labels: ["flue:fix"]
  events: [pull_request.opened, pull_request.synchronize, schedule, workflow_dispatch]
  roles: [admin, maintain, write]
  bots: ["renovate[bot]"]
  forks: true
sandbox:
  template: base
  timeout: 1h30m
  setup: ["pip install -e '.[test]'"]
  env: {PIP_NO_INPUT: "1"}
  secrets: [NPM_TOKEN, OTHER]
  network:
    setup: open
    agent: [packages.example.com, "*.example.org"]
    inject:
      - {host: packages.example.com, header: Authorization, value: "Bearer ${NPM_TOKEN}"}
workspace: {history: 50, submodules: false, lfs: false}
tools: [bash, read]
skills: [release-notes]
limits: {turns: 60, minutes: 20, tokens: 2000000, cost_usd: 2.50, command_seconds: 300}
checks:
  - {name: tests, run: pytest -q, timeout: 90s}
result:
  type: object
  properties: {ok: {type: boolean, default: null}}
publish:
  comment: sticky
  changes: patch
  review: false
  labels: []
  protect: [".github/**", "CODEOWNERS", "[a-z]*.lock"]
"""


def load(text: str, *overrides: str) -> AgentSpec:
    return load_spec(FILE, text.encode(), overrides=overrides)


def problems(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        load(text)
    return caught.value.diagnostics


def only(text: str) -> Diagnostic:
    found = problems(text)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def wrong(line: str) -> Diagnostic:
    """The only problem of a spec whose second line is `line`."""
    problem = only(f"version: 1\n{line}\n")
    assert problem.line == 2
    return problem


def test_every_key_of_version_1_is_read() -> None:
    spec = load(FULL)
    assert spec.name == "fix-tests"
    assert (spec.model.name, spec.model.effort, spec.model.max_output_tokens) == ("claude-opus-5-5", "high", 16000)
    assert spec.model.prices is not None
    assert spec.model.prices.to_prices().cache_write == 2.5
    assert spec.prompt == '{{ instruction | default("Make the test suite pass.") }}\n'
    assert spec.triggers.events[0] == "pull_request.opened"
    assert spec.sandbox.timeout == 5400.0
    assert spec.sandbox.setup == ("pip install -e '.[test]'",)
    assert spec.sandbox.network.agent == ("packages.example.com", "*.example.org")
    assert spec.tools == ("bash", "read")
    assert spec.skills == ("release-notes",)
    assert spec.checks[0].timeout == 90.0
    assert spec.result == {"type": "object", "properties": {"ok": {"type": "boolean", "default": None}}}
    assert not_supported_yet(spec) == ()


def test_a_version_is_all_that_a_spec_must_say() -> None:
    spec = load("version: 1\n")
    assert spec.name == "fix-tests"
    assert spec.prompt == "{{ instruction }}"
    assert spec.model.name == "claude-sonnet-5-5"
    assert spec.tools == ("bash", "read", "write", "edit", "grep", "glob")
    assert (spec.sandbox.network.setup, spec.sandbox.network.agent) == ("open", "none")
    assert (spec.sandbox.template, spec.sandbox.timeout) == ("base", 1800.0)
    assert (spec.limits.turns, spec.limits.minutes, spec.limits.tokens) == (60, 20.0, 2_000_000)
    assert (spec.limits.cost_usd, spec.limits.command_seconds) == (None, 300.0)
    assert spec.triggers.roles == ("admin", "maintain", "write")
    assert (spec.publish.comment, spec.publish.changes, spec.workspace.history) == ("sticky", "patch", 50)
    assert load("version: 1\nchecks: [{name: a, run: b}]\n").checks[0].timeout == 600.0


def test_a_model_is_a_name_or_a_mapping() -> None:
    assert load("version: 1\nmodel: claude-opus-5-5\n").model.name == "claude-opus-5-5"
    assert load("version: 1\nmodel: {effort: low}\n").model.name == "claude-sonnet-5-5"


def test_a_spec_cannot_be_changed_once_it_is_read() -> None:
    spec = load("version: 1\n")
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"  # type: ignore[misc]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        "version: 2\n"
        "promt: hi\n"
        "instructions: |\n"
        "  one\n"
        "  {{ instrution }}\n"
        "sandbox:\n"
        "  timeout: 600\n"
        "  env: {A: no, A: x}\n"
        "  network: {agent: [https://example.com/]}\n"
        "limits: {turns: 0}\n"
        "checks:\n"
        "  - {nam: tests, run: pytest}\n"
        "result: {type: object, properties: {a: {type: strng}}}\n"
        "triggers: {events: [pull_request.openned]}\n"
    )
    assert [(problem.line, problem.key) for problem in found] == [
        (1, "version"),
        (2, "promt"),
        (5, "instructions"),
        (7, "sandbox.timeout"),
        (8, "sandbox.env.A"),
        (8, "sandbox.env.A"),
        (9, "sandbox.network.agent[0]"),
        (10, "limits.turns"),
        (12, "checks[0].name"),
        (12, "checks[0].nam"),
        (13, "result.properties.a.type"),
        (14, "triggers.events[0]"),
    ]
    assert all(problem.file == "fix-tests.yml" and problem.column > 0 for problem in found)


def test_a_flood_of_problems_is_cut_and_says_so() -> None:
    found = problems("version: 1\n" + "".join(f"k{number}: 1\n" for number in range(300)))
    assert len(found) == 51
    assert "more problems" in found[-1].message


def test_a_problem_reads_as_one_line_with_place_key_and_remedy() -> None:
    assert str(wrong("promt: hi")) == "fix-tests.yml:2:1: promt: unknown key (did you mean `prompt`?)"


def test_a_missing_version_says_what_to_add() -> None:
    problem = only("prompt: go\n")
    assert (problem.key, problem.line, problem.column) == ("version", 1, 1)
    assert "version: 1" in problem.hint


@pytest.mark.parametrize("version", ["2", "0", '"1"', "1.0", "true"])
def test_any_other_version_is_refused(version: str) -> None:
    problem = only(f"version: {version}\n")
    assert (problem.key, problem.column) == ("version", 10)
    assert "version: 1" in problem.hint


@pytest.mark.parametrize(
    ("line", "key", "hint"),
    [
        ("promt: x", "promt", "`prompt`"),
        ("Prompt: x", "Prompt", "`prompt`"),
        ("limits: {turn: 1}", "limits.turn", "`turns`"),
        ("limits: {command-seconds: 1}", "limits.command-seconds", "`command_seconds`"),
        ("sandbox: {network: {agents: none}}", "sandbox.network.agents", "`agent`"),
        ("template: base", "template", "`sandbox.template`"),
        ("on: push", "on", "`triggers.events`"),
        ("max_turns: 3", "max_turns", "`limits.turns`"),
        ("engine: {program: flue, arg: [x]}", "engine.arg", "`args`"),
        ("model: {effrt: low}", "model.effrt", "`effort`"),
        ("zzz: 1", "zzz", "version, name"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(line: str, key: str, hint: str) -> None:
    problem = wrong(line)
    assert (problem.key, problem.message) == (key, "unknown key")
    assert hint in problem.hint
    assert problem.column == line.index(key.rpartition(".")[2]) + 1


@pytest.mark.parametrize(
    ("line", "key", "message", "hint"),
    [
        ("description: 5", "description", "text", '"5"'),
        ("description: 3.10", "description", "text", '"3.10"'),
        ("description: true", "description", "text", '"true"'),
        ("description: [a]", "description", "a list", ""),
        ("prompt: {a: b}", "prompt", "a mapping", ""),
        ("sandbox: {env: {A: 1}}", "sandbox.env.A", "text", '"1"'),
        ("sandbox: {env: [A]}", "sandbox.env", "mapping", ""),
        ("sandbox: [a]", "sandbox", "mapping", "template, timeout"),
        ("sandbox: {setup: npm ci}", "sandbox.setup", "a list", "[npm ci]"),
        ("sandbox: {setup: [1]}", "sandbox.setup[0]", "text", '"1"'),
        ("tools: bash", "tools", "a list", "[bash]"),
        ("tools: [bsh]", "tools[0]", "`bash`", "`bash`"),
        ("tools: []", "tools", "empty", ""),
        ("limits: {turns: '5'}", "limits.turns", "whole number", "write 5"),
        ("limits: {turns: 1.5}", "limits.turns", "whole number", ""),
        ("limits: {turns: true}", "limits.turns", "whole number", ""),
        ("limits: {turns: 0}", "limits.turns", "at least 1", ""),
        ("limits: {minutes: 20m}", "limits.minutes", "a number", "write 20"),
        ("limits: {minutes: 0}", "limits.minutes", "more than 0", ""),
        ("limits: {tokens: 9000000000}", "limits.tokens", "at most 1,000,000,000", ""),
        ("limits: {cost_usd: $2}", "limits.cost_usd", "a number", "write 2"),
        ('workspace: {lfs: "yes"}', "workspace.lfs", "true or false", "write true"),
        ("workspace: {lfs: 1}", "workspace.lfs", "true or false", ""),
        ("model: 5", "model", "a model's name or a mapping", ""),
        ("model: [a]", "model", "a model's name or a mapping", ""),
        ("model: {effort: hgih}", "model.effort", "`high`", "`high`"),
        ("model: {prices: {input: 1}}", "model.prices.output", "missing", "output: 10.0"),
        ("engine: flue", "engine", "a mapping with `program`", "{program: flue}"),
        ("engine: agnt", "engine", "`agent`", "did you mean `agent`"),
        ("engine: {args: [x]}", "engine.program", "missing", ""),
        ("engine: 7", "engine", "a mapping with `program`", ""),
        ("skills: all", "skills", "`auto`, `none` or a list of names", ""),
        ("skills: {a: b}", "skills", "`auto`, `none` or a list of names", ""),
        ("sandbox: {network: {agent: opn}}", "sandbox.network.agent", "a list of hosts", "`open`"),
        ("sandbox: {network: {agent: x.example.com}}", "sandbox.network.agent", "a list of hosts", "[x.example.com]"),
        ("sandbox: {network: none}", "sandbox.network", "a mapping", "setup, agent, inject"),
        ("publish: {comment: stick}", "publish.comment", "`sticky`", "`sticky`"),
        ("publish: {changes: pr}", "publish.changes", "`pull-request`", ""),
        ("triggers: {roles: [admins]}", "triggers.roles[0]", "`admin`", "`admin`"),
        ("name: Fix Tests", "name", "not a name", "small letters"),
        ("name: -x", "name", "not a name", "small letters"),
        (f"name: {'a' * 65}", "name", "not a name", "64"),
        ("triggers: {comment: Fix it}", "triggers.comment", "not a name", "small letters"),
        (f"description: {'x' * 1025}", "description", "1024", ""),
        ('sandbox: {template: "a b"}', "sandbox.template", "form", "base"),
        ('checks: [{name: a, run: " "}]', "checks[0].run", "empty", ""),
    ],
)
def test_a_wrong_value_gives_one_clear_message(line: str, key: str, message: str, hint: str) -> None:
    problem = wrong(line)
    assert problem.key == key
    assert message in problem.message
    assert hint in problem.hint
    assert "type=" not in str(problem)
    assert "Input should" not in str(problem)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("description:", "description"),
        ("sandbox: {setup: ~}", "sandbox.setup"),
        ("sandbox: {setup: [null]}", "sandbox.setup[0]"),
        ("model: {effort: null}", "model.effort"),
        ("checks:", "checks"),
        ("result:", "result"),
    ],
)
def test_a_key_without_a_value_is_refused(line: str, key: str) -> None:
    problem = wrong(line)
    assert (problem.key, problem.message) == (key, "has no value")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("600", "600s"),
        ("10", "10s or 10m"),
        ("10 m", "unit"),
        ('"600"', "unit"),
        ("5d", "unit"),
        ("0s", "unit"),
        ("25h", "24h"),
    ],
)
def test_a_bad_duration_is_refused(value: str, hint: str) -> None:
    problem = wrong(f"checks: [{{name: a, run: b, timeout: {value}}}]")
    assert problem.key == "checks[0].timeout"
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("value", "key"), [("no", "sandbox.env.A"), ("1_000", "sandbox.env.A"), ("12:30", "sandbox.env.A")]
)
def test_a_yaml_trap_is_one_problem_and_not_two(value: str, key: str) -> None:
    assert wrong(f"sandbox: {{env: {{A: {value}}}}}").key == key
    assert wrong(f"limits: {{turns: {value}}}").key == "limits.turns"
    assert wrong(f"workspace: {{lfs: {value}}}").key == "workspace.lfs"


@pytest.mark.parametrize(
    ("host", "word", "hint"),
    [
        ("https://packages.example.com/simple", "URL", "packages.example.com"),
        ("packages.example.com/simple", "URL", "packages.example.com"),
        ("packages.example.com:443", "port", "packages.example.com"),
        ("Packages.example.com", "usual way", "packages.example.com"),
        ("10.0.0.1", "address", "by name"),
        ("10.0.0.0/8", "address", "by name"),
        ("fe80::1", "address", "by name"),
        ("*", "not a host", "open"),
        ("*.com", "", ""),
        ("a.*.com", "`*`", ""),
        ("localhost", "not a host name", ""),
        ("-a.example.com", "not a host name", ""),
        ("bücher.example", "ASCII", "xn--"),
        ("a b.example.com", "not a host name", ""),
    ],
)
def test_a_host_is_a_name_and_nothing_else(host: str, word: str, hint: str) -> None:
    problem = wrong(f'sandbox: {{network: {{agent: [ok.example.com, "{host}"]}}}}')
    assert problem.key == "sandbox.network.agent[1]"
    assert word in problem.message
    assert hint in problem.hint


def test_an_empty_or_repeated_list_of_hosts_is_refused() -> None:
    assert "none" in wrong("sandbox: {network: {agent: []}}").hint
    assert wrong("sandbox: {network: {setup: [a.example.com, a.example.com]}}").key == "sandbox.network.setup[1]"


INJECT = (
    "version: 1\nsandbox:\n  secrets: [TOKEN]\n  network:\n    setup: [%s]\n"
    "    inject: [{host: %s, header: %s, value: '%s'}]\n"
)


@pytest.mark.parametrize(
    ("allowed", "host", "header", "value", "key", "word"),
    [
        ("a.example.com", "b.example.com", "X-A", "${TOKEN}", "host", "no phase"),
        ("'*.example.com'", "example.com", "X-A", "${TOKEN}", "host", "no phase"),
        ("'*.example.com'", "'*.example.com'", "X-A", "${TOKEN}", "host", "pattern"),
        ("'*.example.com'", "'*.a.example.com'", "X-A", "${TOKEN}", "host", "whole names"),
        ("a.example.com", "a.example.com:1", "X-A", "${TOKEN}", "host", "port"),
        ("a.example.com", "a.example.com", "X A", "${TOKEN}", "header", "header"),
        ("a.example.com", "a.example.com", "Host", "${TOKEN}", "header", "header"),
        ("a.example.com", "a.example.com", "X-A", "${TOKN}", "value", "`${TOKN}`"),
        ("a.example.com", "a.example.com", "X-A", "Bearer $TOKEN", "value", "as it stands"),
        ("a.example.com", "a.example.com", "Authorization", "Bearer abc", "value", "in the open"),
    ],
)
def test_an_injected_header_must_make_sense(
    allowed: str, host: str, header: str, value: str, key: str, word: str
) -> None:
    problem = only(INJECT % (allowed, host, header, value))
    assert problem.key == f"sandbox.network.inject[0].{key}"
    assert word in problem.message


@pytest.mark.parametrize(
    ("names", "index", "key", "word"),
    [
        ([(f"a{n}.example.com", "X-A") for n in range(11)], 10, "host", "at most 10 hosts"),
        ([("a.example.com", f"X-{n}") for n in range(21)], 20, "header", "at most 20 headers"),
    ],
)
def test_more_injected_headers_than_e2b_takes_are_refused(
    names: list[tuple[str, str]], index: int, key: str, word: str
) -> None:
    rules = [f"{{host: {host}, header: {header}, value: b}}" for host, header in names]
    text = "version: 1\nsandbox: {network: {inject: [%s]}}\n"
    problem = only(text % ", ".join(rules))
    assert problem.key == f"sandbox.network.inject[{index}].{key}"
    assert word in problem.message
    assert load(text % ", ".join(rules[:-1]))


def test_an_injected_header_may_go_to_a_host_below_a_wildcard_and_to_any_host_when_open() -> None:
    assert load(INJECT % ("'*.example.com'", "a.example.com", "Authorization", "Bearer ${TOKEN}"))
    assert load("version: 1\nsandbox: {network: {inject: [{host: a.example.com, header: X-A, value: b}]}}\n")


def test_a_secret_that_a_header_is_made_of_stays_outside() -> None:
    sandbox = load(FULL).sandbox
    assert sandbox.injected_secrets == ("NPM_TOKEN",)
    assert sandbox.visible_secrets == ("OTHER",)


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "github_token",
        "ACTIONS_RUNTIME_TOKEN",
        "RUNNER_TEMP",
        "ANTHROPIC_API_KEY",
        "E2B_API_KEY",
        "FLUE_CI_X",
    ],
)
def test_what_must_stay_outside_is_neither_a_secret_nor_a_variable(name: str) -> None:
    secret, variable = wrong(f"sandbox: {{secrets: [{name}]}}"), wrong(f"sandbox: {{env: {{{name}: x}}}}")
    assert (secret.key, variable.key) == ("sandbox.secrets[0]", f"sandbox.env.{name}")
    assert secret.hint
    assert variable.hint


@pytest.mark.parametrize("name", ["a b", "1A", "A-B", "A=B", "ä"])
def test_a_variable_has_a_name_that_a_shell_can_use(name: str) -> None:
    assert "cannot be the name" in wrong(f'sandbox: {{env: {{"{name}": x}}}}').message
    assert "cannot be the name" in wrong(f'sandbox: {{secrets: ["{name}"]}}').message


def test_a_name_is_a_variable_or_a_secret_but_not_both() -> None:
    problem = wrong("sandbox: {env: {A: x}, secrets: [A]}")
    assert problem.key == "sandbox.env.A"
    assert "at once" in problem.message


@pytest.mark.parametrize(
    ("event", "word", "hint"),
    [
        ("pull_request.openned", "no action", "`opened`"),
        ("pull_request", "needs an action", "pull_request.opened"),
        ("pull_requests.opened", "not a known event", "`pull_request.opened`"),
        ("push.created", "no actions", "push"),
        ("issue_comment.created", "comments", "triggers.comment"),
        ("banana", "not a known event", "schedule"),
    ],
)
def test_an_event_is_one_that_exists_with_an_action_that_exists(event: str, word: str, hint: str) -> None:
    problem = wrong(f"triggers: {{events: [{event}]}}")
    assert problem.key == "triggers.events[0]"
    assert word in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("login", ["*", "[bot]", "a b", "-a", "x[robot]"])
def test_a_bot_is_named_exactly(login: str) -> None:
    assert wrong(f'triggers: {{bots: ["{login}"]}}').key == "triggers.bots[0]"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("triggers: {events: [push, push]}", "triggers.events[1]"),
        ("triggers: {labels: [a, a]}", "triggers.labels[1]"),
        ("triggers: {roles: [admin, admin]}", "triggers.roles[1]"),
        ("triggers: {roles: []}", "triggers.roles"),
        ("tools: [bash, bash]", "tools[1]"),
        ("skills: [a, a]", "skills[1]"),
        ("skills: [../x]", "skills[0]"),
        ("sandbox: {secrets: [A, A]}", "sandbox.secrets[1]"),
        ("publish: {labels: [a, a]}", "publish.labels[1]"),
        ("publish: {labels: ['a, b']}", "publish.labels[0]"),
        (f"publish: {{labels: [{'x' * 51}]}}", "publish.labels[0]"),
        ("checks: [{name: a, run: b}, {name: a, run: c}]", "checks[1].name"),
        ('checks: [{name: "a\\nb", run: b}]', "checks[0].name"),
        ("prompt: '  '", "prompt"),
    ],
)
def test_lists_and_names_are_without_repetition_and_nonsense(line: str, key: str) -> None:
    assert wrong(line).key == key


@pytest.mark.parametrize(
    "glob", ["", "/a", "~/a", "../a", "a/./b", "a//b", "!a", "a\\b", "a[b", "a**", "**b/c", "{a,b}", " a"]
)
def test_a_bad_glob_is_refused(glob: str) -> None:
    assert wrong(f"publish: {{protect: ['ok/**', '{glob}']}}").key == "publish.protect[1]"


@pytest.mark.parametrize(
    "glob", ["a", "**", "**/a", "a/**", "a/**/b", "*.lock", "[a-z]x", "[!a]", "[]]", "dir/", "[[]x", "a b"]
)
def test_a_good_glob_is_accepted(glob: str) -> None:
    assert load(f"version: 1\npublish: {{protect: ['{glob}']}}\n").publish.protect == (glob,)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("llm.example.com", "web address"),
        ("ftp://llm.example.com", "web address"),
        ("https://", "web address"),
        ("https://user:pw@llm.example.com", "password"),
        ("https://llm.example.com:port", "valid"),
        ("https://[::1", "valid"),
        ("https://llm.example.com/?a=b", "query"),
        ("http://llm.example.com", "without encryption"),
        ("HTTP://localhost.example.com", "without encryption"),
        ("http://127.0.0.1.example.com:80", "without encryption"),
        ("http://127.0.0.2", "without encryption"),
        ("https://\u0430pi.anthropic.com", "xn--"),
        ("https://api\u3002anthropic.com", "xn--"),
        ("https://evil.example.com\\\\.anthropic.com", "xn--"),
    ],
)
def test_a_base_url_is_a_plain_web_address(url: str, word: str) -> None:
    problem = wrong(f'model: {{base_url: "{url}"}}')
    assert problem.key == "model.base_url"
    assert word in problem.message


def test_a_cost_limit_needs_a_price() -> None:
    problem = only("version: 1\nmodel: claude-sonet-5-5\nlimits: {cost_usd: 2}\n")
    assert (problem.key, problem.line) == ("limits.cost_usd", 3)
    assert "`claude-sonnet-5-5`" in problem.hint
    assert load("version: 1\nmodel: my-model\n").limits.cost_usd is None
    priced = load("version: 1\nmodel: {name: my-model, prices: {input: 1, output: 2}}\nlimits: {cost_usd: 2}\n")
    assert priced.limits.cost_usd == 2.0


def test_the_agent_must_not_outlive_its_sandbox() -> None:
    assert wrong("limits: {minutes: 45}").key == "limits.minutes"
    problem = wrong("sandbox: {timeout: 10m}")
    assert problem.key == "sandbox.timeout"
    assert "limits.minutes" in problem.hint
    assert load("version: 1\nsandbox: {timeout: 10m}\nlimits: {minutes: 10}\n").limits.minutes == 10


def test_impossible_combinations_are_refused() -> None:
    assert wrong("model: {thinking: between_tools, effort: max}").key == "model.thinking"
    assert wrong("model: {name: claude-sonnet-4-5, effort: high}").key == "model.effort"
    assert "without encryption" in wrong("model: {base_url: 'http://llm.example.com'}").message
    assert wrong("model: {provider: bedrock, base_url: 'https://llm.example.com'}").key == "model.base_url"
    found = problems("version: 1\nengine: {program: flue}\nresult: {type: object}\ntools: [bash]\n")
    assert [problem.key for problem in found] == ["result", "tools"]


@pytest.mark.parametrize(
    ("schema", "key", "word"),
    [
        ("{type: string}", "result.type", "object"),
        ("{properties: {a: {type: string}}}", "result", "object"),
        ("{type: object, properties: {a: {type: strng}}}", "result.properties.a.type", "strng"),
        ("{type: object, properties: []}", "result.properties", "object"),
        ("{type: object, required: a}", "result.required", "array"),
        ("{type: object, properties: {a: {type: string, pattern: '('}}}", "result.properties.a.pattern", "regex"),
        (
            "{type: object, properties: {a: {$ref: 'https://example.com/x'}}}",
            'result.properties.a["$ref"]',
            "out of the spec",
        ),
        ("{type: object, properties: {a: {$ref: '#/$defs/x'}}}", 'result.properties.a["$ref"]', "nothing"),
        ("{type: object, properties: {a: {$ref: '#x'}}}", 'result.properties.a["$ref"]', "only references"),
    ],
)
def test_a_result_is_a_json_schema_of_an_object(schema: str, key: str, word: str) -> None:
    problem = wrong(f"result: {schema}")
    assert problem.key == key
    assert word in problem.message


def test_a_result_may_refer_to_its_own_definitions() -> None:
    schema = (
        "{type: object, $defs: {x: {$anchor: y, type: string}}, properties: {a: {$ref: '#/$defs/x'}, b: {$ref: '#y'}}}"
    )
    assert load(f"version: 1\nresult: {schema}\n").result


def test_a_mistake_in_a_template_is_shown_at_its_line_of_the_file() -> None:
    problem = only("version: 1\nprompt: |\n  one\n\n  two {{ instrution }}\n")
    assert (problem.key, problem.line) == ("prompt", 5)
    assert "`instruction`" in problem.hint
    folded = only('version: 1\ninstructions: "one\\ntwo {{ 1 | uper }}"\n')
    assert (folded.key, folded.line) == ("instructions", 2)
    assert "line 2 of the text" in folded.message


def test_the_name_of_the_file_must_do_as_a_name_when_there_is_no_other() -> None:
    with pytest.raises(SpecError, match="rename the file"):
        load_spec(Path("Fix Tests.yml"), b"version: 1\n")
    assert load_spec(Path("Fix Tests.yml"), b"version: 1\nname: fix\n").name == "fix"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("engine: {program: claude-code}", "engine"),
        ("model: {provider: bedrock}", "model.provider"),
        ("model: {provider: vertex}", "model.provider"),
    ],
)
def test_what_is_not_executed_yet_is_told_with_its_place(line: str, key: str) -> None:
    (problem,) = not_supported_yet(load(f"version: 1\n{line}\n"))
    assert (problem.key, problem.line) == (key, 2)
    assert problem.column > 1
    assert "not supported yet" in problem.message


def test_what_is_for_github_only_is_noted_and_not_refused() -> None:
    spec = load("version: 1\ntriggers: {comment: x}\npublish: {comment: new, changes: none}\n")
    assert not_supported_yet(spec) == ()
    assert [(note.key, note.line) for note in only_on_github(spec)] == [("triggers", 2), ("publish.comment", 3)]
    assert only_on_github(load("version: 1\n")) == ()


def test_a_spec_made_in_memory_has_problems_without_places() -> None:
    spec = AgentSpec.model_validate({"version": 1, "engine": {"program": "claude-code"}})
    assert [str(problem) for problem in not_supported_yet(spec)] == [
        ": engine: running another agent's program is not supported yet (use `engine: agent`)"
    ]


def test_a_repair_of_ci_needs_what_starts_it_and_a_branch_to_go_to() -> None:
    good = (
        "version: 1\nrepair: {attempts: 3}\ntriggers: {events: [workflow_run.completed]}\npublish: {changes: commit}\n"
    )
    spec = load(good)
    assert spec.repair is not None
    assert (spec.repair.attempts, not_supported_yet(spec)) == (3, ())
    with pytest.raises(SpecError) as caught:
        load("version: 1\nrepair: {}\ntriggers: {events: [workflow_run.requested]}\n")
    assert [(each.key, each.line, each.hint) for each in caught.value.diagnostics] == [
        ("repair", 2, "add workflow_run.completed to `triggers.events`"),
        ("repair", 2, "write `changes: commit`"),
    ]


def test_settings_from_the_command_line_are_checked_like_the_file() -> None:
    spec = load(
        "version: 1\nmodel: claude-opus-5-5\nchecks: [{name: a, run: b}]\n",
        "limits.turns=10",
        "model.effort=low",
        "sandbox.timeout=1h",
        "prompt=yes: {no}",
        "tools=[read, grep]",
        "checks.0.timeout=1m",
        "sandbox.env.A=12",
        "workspace.history=7",
    )
    assert (spec.limits.turns, spec.model.name, spec.model.effort) == (10, "claude-opus-5-5", "low")
    assert (spec.sandbox.timeout, spec.prompt, spec.tools) == (3600.0, "yes: {no}", ("read", "grep"))
    assert (spec.checks[0].timeout, spec.sandbox.env, spec.workspace.history) == (60.0, {"A": "12"}, 7)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("limits.turn=1", "did you mean `turns`"),
        ("limits.turns=x", "whole number"),
        ("limits.turns=", "has no value"),
        ("a.b=1", "unknown key"),
        ("limits", "KEY=VALUE"),
        ("=1", "KEY=VALUE"),
        ("checks.3.run=x", "no place"),
        ("name.x=1", "no place"),
        ("tools=[a", "not closed"),
        ("limits.cost_usd=1", ""),
    ],
)
def test_a_wrong_setting_is_blamed_on_the_command_line(override: str, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        load("version: 1\nmodel: my-model\nname: x\nchecks: []\n", override)
    (problem,) = caught.value.diagnostics
    assert problem.file.startswith("--set ")
    assert word in problem.message + problem.hint


def test_a_long_and_strange_value_is_shown_short_and_clean() -> None:
    problem = wrong('tools: ["' + "x" * 5000 + '\\e[31m"]')
    assert len(str(problem)) < 400
    assert "\x1b" not in str(problem)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("branch", "flue/{agent", "placeholder"),
        ("branch", "flue/{sha}", "placeholder"),
        ("branch", "flue..x", "no name for a branch"),
        ("branch", "a b", "no name for a branch"),
        ("branch", "x.lock", "no name for a branch"),
        ("branch", "/x", "no name for a branch"),
        ("when", "ask", "pushes nothing"),
        ("pull_request", {"reviewers": ["no login"]}, "not a login"),
        ("triage", {"assignees": ["org/team"]}, "not a login"),
        ("allow", ["../x"], "`..`"),
        ("protect", ["[z-a].yml"], "runs backwards"),
        ("protect", ["x[!b-a]/y"], "runs backwards"),
        ("check_run", {"max": 0}, "1"),
    ],
)
def test_what_publish_cannot_mean_is_an_error(tmp_path: Path, key: str, value: object, words: str) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(json.dumps({"version": 1, "prompt": "x", "publish": {key: value}}))
    with pytest.raises(SpecError, match=re.escape(words)):
        load_spec(path)


def test_a_box_needs_a_comment_to_stand_in(tmp_path: Path) -> None:
    path = tmp_path / "agent.yml"
    publish = {"changes": "commit", "when": "ask"}
    path.write_text(json.dumps({"version": 1, "prompt": "x", "publish": publish | {"comment": "none"}}))
    with pytest.raises(SpecError, match="no place for the box"):
        load_spec(path)
    path.write_text(json.dumps({"version": 1, "prompt": "x", "publish": publish}))
    assert not_supported_yet(load_spec(path)) == ()
