"""What `flue-ci init` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from flue_ci.cli import cli
from flue_ci.core.errors import UsageError
from flue_ci.spec.starter import starter_workflow, write_workflow

EXAMPLE = Path(__file__).parents[2] / "examples" / "workflows" / "comment.yml"


def test_the_workflow_that_init_writes_is_the_example() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == starter_workflow()


def test_a_workflow_is_written_where_github_looks_for_it(tmp_path: Path) -> None:
    path = write_workflow(tmp_path)
    assert path == tmp_path / ".github" / "workflows" / "flue.yml"
    assert path.read_text(encoding="utf-8") == starter_workflow()


def test_a_workflow_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = write_workflow(tmp_path)
    path.write_text("mine\n")
    with pytest.raises(UsageError, match="exists already"):
        write_workflow(tmp_path)
    assert path.read_text() == "mine\n"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / ".github" / "workflows" / "flue.yml"
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        write_workflow(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".github").write_text("a file\n")
    with pytest.raises(UsageError, match=r"flue\.yml cannot be written"):
        write_workflow(tmp_path)


def test_both_files_of_a_start_are_written_or_none(tmp_path: Path) -> None:
    workflow = tmp_path / ".github" / "workflows" / "flue.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("mine")
    done = CliRunner().invoke(cli, ["init", "--github", "--repo", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert "exists already" in str(done.exception)
    assert not (tmp_path / ".flue").exists()
    workflow.unlink()
    assert CliRunner().invoke(cli, ["init", "--github", "--repo", str(tmp_path)]).exit_code == 0
    assert workflow.exists()
    assert (tmp_path / ".flue" / "agents" / "fix-tests.yml").exists()
