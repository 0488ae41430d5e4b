"""What `flue-ci init` writes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from flue_ci.cli import cli
from flue_ci.core.errors import UsageError
from flue_ci.core.permissions import PERMISSIONS, READS, missing_permissions, permissions_of
from flue_ci.publish.registry import PUBLISHERS
from flue_ci.spec.load import find_specs, load_spec
from flue_ci.spec.starter import (
    KINDS,
    schema_text,
    starter_spec,
    starter_workflow,
    write_event_workflow,
    write_workflow,
)
from tests.support.repos import new_repo

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "workflows" / "comment.yml"


def init(repo: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["init", *arguments, "--repo", str(repo)])
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.parametrize("name", [*KINDS, "my-agent"])
def test_an_agent_that_init_writes_is_what_its_name_says_and_runs_as_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = new_repo(tmp_path / "repo", {"README.md": ("file", b"# A repository\n")})
    monkeypatch.chdir(repo.path)
    output = init(repo.path, name)
    (path,) = find_specs(repo.path)
    spec = load_spec(path)
    assert (path.stem, spec.name, spec.triggers.comment) == (name, name, name)
    (command,) = re.findall(r"Try it: flue-ci (.*)", output)
    done = CliRunner().invoke(cli, shlex.split(command))
    assert done.exit_code == 0, (done.output, done.exception)


def test_the_ready_agents_are_the_examples() -> None:
    examples = ROOT / "examples" / "agents"
    for name in set(KINDS) - {"fix-tests"}:  # whose set-up and checks are for people to fill in
        assert starter_spec(name) == (examples / f"{name}.yml").read_text(encoding="utf-8")
    assert load_spec(Path("review.yml"), starter_spec("review").encode()).publish.changes == "none"


@pytest.mark.parametrize(("name", "near"), [("reviw", "review"), ("fix-test", "fix-tests"), ("reviewer", "review")])
def test_a_name_that_is_nearly_a_ready_agents_writes_nothing(name: str, near: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["init", name, "--repo", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert f"flue-ci init {near}" in done.exception.hint
    assert list(tmp_path.iterdir()) == []


def test_the_schema_that_a_spec_names_is_there_and_never_overwritten(tmp_path: Path) -> None:
    init(tmp_path)
    (path,) = find_specs(tmp_path)
    (name,) = re.findall(r"\A# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    schema = path.parent / name
    assert schema.read_text() == schema_text()
    schema.write_text("mine")
    init(tmp_path, "review")
    assert schema.read_text() == "mine"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/agents/*.yml")))
def test_the_schema_that_a_spec_of_this_repository_names_is_there(path: Path) -> None:
    (name,) = re.findall(r"\A# yaml-language-server: \$schema=(\S+)\n", path.read_text(encoding="utf-8"))
    assert (path.parent / name).read_text() == schema_text(), f"run: flue-ci schema > {path.parent / name}"


def test_the_workflow_that_init_writes_is_the_example() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == starter_workflow()
    two_jobs = EXAMPLE.with_name("pull-request.yml").read_text(encoding="utf-8")
    assert two_jobs == starter_workflow(["pull-request"])
    assert two_jobs == (ROOT / "flue_ci/spec/starter_files/workflow-two-jobs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("publishers", [["pull-request"], ["commit"], ["commit", "review", "check-run"]])
def test_who_writes_code_has_no_key_and_who_has_a_key_writes_no_code(publishers: list[str]) -> None:
    jobs = yaml.safe_load(starter_workflow(publishers))["jobs"]
    assert list(jobs) == ["answer", "publish"]
    assert jobs["answer"]["permissions"]["contents"] == "read"
    assert "secrets." in str(jobs["answer"])
    assert "secrets." not in str(jobs["publish"])
    needs = permissions_of([*publishers, "comment"], {"contents": "read"})
    assert jobs["publish"]["permissions"] == needs
    assert jobs["answer"]["permissions"] == permissions_of(["comment"])


@pytest.mark.parametrize("publishers", [["comment"], ["comment", "pull-request"]])
def test_a_box_is_answered_by_a_job_of_its_own(publishers: list[str]) -> None:
    workflow = yaml.load(starter_workflow(publishers, ["commit"]), yaml.BaseLoader)
    jobs = workflow["jobs"]
    assert workflow["on"]["issue_comment"]["types"] == ["created", "edited"]
    assert "changes.body.from" in workflow["concurrency"]["group"]
    assert "action != 'edited'" in jobs["answer"]["if"]
    assert jobs["answer"]["permissions"]["contents"] == "read"
    example = yaml.load(EXAMPLE.with_name("push.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    assert jobs["push"] == example["jobs"]["push"]
    if "publish" in jobs:  # it looks up the digest of the artifact that the box names
        assert jobs["publish"]["permissions"]["actions"] == "read"


def test_init_reads_which_agents_wait_for_a_tick(tmp_path: Path) -> None:
    folder = tmp_path / ".flue" / "agents"
    folder.mkdir(parents=True)
    (folder / "tidy.yml").write_text("version: 1\nprompt: x\npublish: {changes: commit, when: ask}\n")
    assert CliRunner().invoke(cli, ["init", "explain", "--github", "--repo", str(tmp_path)]).exit_code == 0
    workflow = (tmp_path / ".github" / "workflows" / "flue.yml").read_text()
    assert workflow == starter_workflow(["comment"], ["commit"])
    done = CliRunner().invoke(cli, ["validate", "--repo", str(tmp_path)])
    assert "note:" not in done.output


@pytest.mark.parametrize("publishers", [[], ["comment"], ["suggest"], ["review", "labels"], ["check-run"]])
def test_one_job_has_exactly_the_permissions_of_its_publishers(publishers: list[str]) -> None:
    (job,) = yaml.safe_load(starter_workflow(publishers))["jobs"].values()
    assert job["permissions"] == permissions_of([*publishers, "comment"])


def test_the_table_of_permissions_is_about_every_publisher_there_is() -> None:
    assert set(PERMISSIONS) >= set(PUBLISHERS.built_in)
    for publisher in PERMISSIONS:
        assert missing_permissions(publisher, permissions_of([publisher])) == ""
        assert missing_permissions(publisher, READS).startswith("permissions:\n  ")
    assert missing_permissions("somebody's") == ""


def test_init_reads_what_the_agents_of_the_checkout_publish(tmp_path: Path) -> None:
    spec = tmp_path / ".flue" / "agents" / "mend.yml"
    spec.parent.mkdir(parents=True)
    spec.write_text("version: 1\nprompt: x\npublish: {changes: pull-request}\n")
    (spec.parent / "broken.yml").write_text("version: 2\n")
    assert CliRunner().invoke(cli, ["init", "review", "--github", "--repo", str(tmp_path)]).exit_code == 0
    workflow = (tmp_path / ".github" / "workflows" / "flue.yml").read_text()
    assert workflow == starter_workflow(["pull-request"])
    assert "contents: write # the commit, and its branch" in workflow


def test_init_names_the_workflow_that_repairs_ci_and_gives_the_one_for_comments_no_more_rights(tmp_path: Path) -> None:
    spec = tmp_path / ".flue" / "agents" / "repair-ci.yml"
    spec.parent.mkdir(parents=True)
    spec.write_bytes((ROOT / "examples" / "agents" / "repair-ci.yml").read_bytes())
    done = CliRunner().invoke(cli, ["init", "review", "--github", "--repo", str(tmp_path)])
    assert "examples/workflows/repair-ci.yml" in done.output
    assert (tmp_path / ".github" / "workflows" / "flue.yml").read_text() == starter_workflow(["commit"])


def test_a_workflow_is_written_where_github_looks_for_it(tmp_path: Path) -> None:
    path = write_workflow(tmp_path)
    assert path is not None
    assert path == tmp_path / ".github" / "workflows" / "flue.yml"
    assert path.read_text(encoding="utf-8") == starter_workflow()


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    workflow = write_workflow(tmp_path)
    assert workflow is not None
    workflow.write_text("mine\n")
    init(tmp_path, "review", "--github")
    (spec,) = find_specs(tmp_path)
    spec.write_text(spec.read_text() + "# mine\n")
    output = init(tmp_path, "review", "--github")
    assert workflow.read_text() == "mine\n"
    assert spec.read_text().endswith("# mine\n")
    assert f"Kept {spec}" in output
    assert f"Kept {workflow}" in output
    assert isinstance(CliRunner().invoke(cli, ["init", "review", "--repo", str(tmp_path)]).exception, UsageError)


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / ".github" / "workflows" / "flue.yml"
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    assert write_workflow(tmp_path) is None
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", [*KINDS, "my-agent"])
def test_whatever_starts_an_agent_by_its_spec_has_a_workflow(tmp_path: Path, name: str) -> None:
    output = init(tmp_path, name, "--github")
    done = CliRunner().invoke(cli, ["validate", "--repo", str(tmp_path)])
    assert done.exit_code == 0
    assert "note:" not in done.output
    events = tmp_path / ".github" / "workflows" / f"flue-{name}.yml"
    assert (f"Wrote {events}" in output) == events.exists()


@pytest.mark.parametrize(("name", "example"), [("docs", "nightly"), ("review", "review"), ("triage", "triage")])
def test_the_workflows_for_events_are_the_examples(tmp_path: Path, name: str, example: str) -> None:
    path = write_event_workflow(tmp_path, name)
    assert path is not None
    assert path.read_bytes() == EXAMPLE.with_name(f"{example}.yml").read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".github").write_text("a file\n")
    with pytest.raises(UsageError, match=r"flue\.yml cannot be written"):
        write_workflow(tmp_path)


def test_only_the_job_with_the_keys_keeps_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / ".flue" / "agents"
    folder.mkdir(parents=True)
    (folder / "mend.yml").write_text("version: 1\nprompt: x\npublish: {changes: commit}\nlimits: {cost_usd: 1}\n")
    (tmp_path / ".flue" / "config.yml").write_text("version: 1\nlimits: {per_day_usd: 5}\n")
    assert CliRunner().invoke(cli, ["init", "review", "--github", "--repo", str(tmp_path)]).exit_code == 0
    jobs = yaml.safe_load((tmp_path / ".github" / "workflows" / "flue.yml").read_text())["jobs"].values()
    assert [job["permissions"].get("checks", "none") for job in jobs] == ["write", "none"]
