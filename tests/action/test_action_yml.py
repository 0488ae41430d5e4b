"""action.yml says what docs/action.md says, and no text of an event can become part of a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from flue_ci.report.delivery import ARTIFACT_DAYS

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "action.md").read_text(encoding="utf-8")
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}

VARIABLES = {  # how an input reaches the program
    "agent": "FLUE_CI_AGENT",
    "instruction": "FLUE_CI_INSTRUCTION",
    "anthropic-api-key": "FLUE_CI_ANTHROPIC_API_KEY",
    "e2b-api-key": "FLUE_CI_E2B_API_KEY",
    "github-token": "FLUE_CI_GITHUB_TOKEN",
    "push-token": "FLUE_CI_PUSH_TOKEN",
    "app-id": "FLUE_CI_APP_ID",
    "app-private-key": "FLUE_CI_APP_PRIVATE_KEY",
    "model": "FLUE_CI_MODEL",
    "trigger": "FLUE_CI_TRIGGER",
    "phrase": "FLUE_CI_PHRASE",
    "sandbox": "FLUE_CI_SANDBOX",
    "sandbox-template": "FLUE_CI_TEMPLATE",
    "fail-on": "FLUE_CI_FAIL_ON",
    "dry-run": "FLUE_CI_DRY_RUN",
    "publish": "FLUE_CI_PUBLISH",
    "artifact": "FLUE_CI_ARTIFACT",
    "out": "FLUE_CI_OUT",
    "report": "FLUE_CI_REPORT",
    "allowed-bots": "FLUE_CI_ALLOWED_BOTS",
    "trusted-branches": "FLUE_CI_TRUSTED_BRANCHES",
    "allowed-model-hosts": "FLUE_CI_ALLOWED_MODEL_HOSTS",
    "rate-limit": "FLUE_CI_RATE_LIMIT",
    "timeout-minutes": "FLUE_CI_TIMEOUT_MINUTES",
}
OUTPUTS = [
    "conclusion",
    "reason",
    "agent",
    "comment-url",
    "patch-path",
    "report-path",
    "summary",
    "result",
    "turns",
    "tokens",
    "cost-usd",
    "changed-files",
    "artifact-name",
    "artifact-url",
]
OF_STEPS = {
    "FLUE_CI_REPORT_PATH",
    "FLUE_CI_ARTIFACT_URL",
    "FLUE_CI_ARTIFACT_DIGEST",
}  # what steps learn of earlier ones


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page, without its head."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_input_reaches_the_program_as_an_environment_variable() -> None:
    assert list(ACTION["inputs"]) == list(VARIABLES)
    environment = STEPS["Run"]["env"]
    for name, variable in VARIABLES.items():
        assert environment[variable] == f"${{{{ inputs.{name} }}}}"


def test_a_variable_means_the_same_input_in_every_step() -> None:
    for step in STEPS.values():
        for variable, value in step.get("env", {}).items():
            if variable in OF_STEPS:
                assert re.fullmatch(r"\$\{\{ steps\.\w+\.outputs\.[\w-]+ \}\}", value)
            else:
                assert value == STEPS["Run"]["env"][variable]


def test_no_script_contains_an_expression() -> None:
    for step in STEPS.values():
        if "uses" not in step:
            assert "${{" not in step["run"]
            assert step["shell"] == "bash"


def test_keys_are_given_only_to_the_steps_that_need_them() -> None:
    holders = {
        key: [name for name, step in STEPS.items() if f"inputs.{key}" in str(step.get("env"))]
        for key in (
            "anthropic-api-key",
            "e2b-api-key",
            "github-token",
            "push-token",
            "app-id",
            "app-private-key",
        )
    }
    assert holders == {
        "anthropic-api-key": ["Run"],
        "e2b-api-key": ["Run", "Sweep"],
        "github-token": [
            "Decide",
            "Report a failed installation",
            "Run",
            "Link the report",
            "Report a killed run",
        ],
        "push-token": ["Run"],
        "app-id": ["Run"],
        "app-private-key": ["Run"],
    }


def test_only_the_upload_is_another_action_and_it_is_pinned_by_commit() -> None:
    # A runner fetches every `uses:` before the first step.
    assert [name for name, step in STEPS.items() if "uses" in step] == ["Upload the report"]
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert re.search(r"uses: actions/upload-artifact@[0-9a-f]{40} # v\d+\.\d+\.\d+$", text, re.MULTILINE)


def test_a_failed_upload_fails_nothing_and_is_reported_however_the_run_ended() -> None:
    upload, link = STEPS["Upload the report"], STEPS["Link the report"]
    assert upload["continue-on-error"] is True
    assert upload["if"] == "${{ always() && steps.run.outputs.artifact-path != '' }}"
    assert link["if"] == "${{ always() && steps.run.outputs.artifact-name != '' }}"
    assert upload["with"]["name"] == "${{ steps.run.outputs.artifact-name }}"
    assert upload["with"]["path"] == "${{ steps.run.outputs.artifact-path }}"
    assert upload["with"]["retention-days"] == ARTIFACT_DAYS
    names = list(STEPS)
    assert names.index("Run") < names.index("Upload the report") < names.index("Link the report")


def test_nothing_is_installed_to_decide_that_a_comment_is_not_for_us() -> None:
    assert next(iter(STEPS)) == "Decide"
    for name in ("Install", "Run"):
        assert STEPS[name]["if"] == "${{ steps.gate.outputs.proceed == 'true' }}"


def test_what_clears_up_runs_however_the_run_ended() -> None:
    assert list(STEPS)[-2:] == ["Report a killed run", "Sweep"]
    for name in ("Report a killed run", "Sweep"):
        assert STEPS[name]["if"].startswith("${{ always() && ")


def test_every_output_comes_from_the_run_and_a_skip_from_the_gate() -> None:
    assert list(ACTION["outputs"]) == OUTPUTS
    for name, output in ACTION["outputs"].items():
        assert f"steps.run.outputs.{name}" in output["value"]
    for name in ("conclusion", "reason"):
        assert f"steps.run.outputs.{name} || steps.gate.outputs.{name}" in ACTION["outputs"][name]["value"]


def test_no_input_relies_on_the_runner_to_enforce_it() -> None:
    for name, given in ACTION["inputs"].items():
        assert "required" not in given, f"{name}: GitHub does not enforce it, the program has to"
        assert isinstance(given["default"], str)


def test_the_page_lists_the_inputs_with_their_defaults() -> None:
    listed = [(name, default) for name, default, _ in rows("Inputs")]
    defaults = {"github-token": "the job's token", "out": "below `RUNNER_TEMP`"}
    assert listed == [
        (f"`{name}`", defaults.get(name) or (f"`{given['default']}`" if given["default"] else ""))
        for name, given in ACTION["inputs"].items()
    ]


def test_the_page_lists_the_outputs() -> None:
    assert [cells[0] for cells in rows("Outputs")] == [f"`{name}`" for name in ACTION["outputs"]]


def test_the_page_links_only_to_files_that_exist() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).resolve().exists(), target


@pytest.mark.parametrize("name", ["requirements.txt", ".github/uv.txt", ".github/requirements-dev.txt"])
def test_every_package_is_pinned_by_version_and_hash_and_comes_from_no_named_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|^-|@ ", text, re.MULTILINE)
    packages = text.replace("\\\n", " ").splitlines()
    for package in packages:
        assert re.match(r"[a-z0-9-]+==[\w.]+ ( ?; .+? )?( *--hash=sha256:[0-9a-f]{64})+$", package), package[:80]


def test_every_dependency_is_among_the_locked_packages() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert {re.split(r"[<>=]", wanted)[0] for wanted in project["dependencies"]} <= locked


def test_the_action_follows_githubs_schema() -> None:
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.github-actions", str(ROOT / "action.yml")])
    assert done.exit_code == 0, done.output
