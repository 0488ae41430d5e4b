"""The page on extending is true: a sandbox, a model, a tool and a publisher of another package do a whole run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wheels import wheel

HERE, PROJECT = Path(__file__).parent, Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "extending.md").read_text()
MODULES = ("folder_sandbox", "scripted_model", "count_words", "note_publisher")
ENTRY_POINTS = """\
[flue_ci.sandboxes]
folder = folder_sandbox:FolderProvider
[flue_ci.models]
scripted = scripted_model:ScriptedModel
[flue_ci.tools]
count_words = count_words:CountWords
[flue_ci.publishers]
note = note_publisher:NotePublisher
"""
SPEC = {
    "version": 1,
    "model": {"name": "script-1", "provider": "scripted"},
    "prompt": "Count words.",
    "tools": ["bash", "count_words"],
    "sandbox": {"network": {"agent": "open"}},
    "publish": {"changes": "note"},
    "checks": [{"name": "counted", "run": "grep -q counted notes.txt"}],
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the four modules as a distribution of their own."""
    folder = tmp_path_factory.mktemp("extending")
    files = {f"{name}.py": (HERE / f"{name}.py").read_text() for name in MODULES}
    files["flue_ci_examples-1.0.dist-info/entry_points.txt"] = ENTRY_POINTS
    package = wheel("flue_ci_examples", "1.0", files)
    (folder / package.filename).write_bytes(package.content)
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(folder / package.filename)], check=True)
    return target


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / ".flue" / "agents").mkdir(parents=True)
    (repo / ".flue" / "agents" / "count.yml").write_text(json.dumps(SPEC))
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *arguments], cwd=repo, check=True)
    return repo


def flue_ci(repo: Path, installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = ("PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env["PYTHONPATH"] = os.pathsep.join([str(installed), str(PROJECT)])
    command = [sys.executable, "-P", "-m", "flue_ci", *arguments]
    return subprocess.run(command, cwd=repo, env=env, capture_output=True, text=True, timeout=90, check=False)


def test_adapters_of_another_package_do_a_whole_run(repo: Path, installed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = flue_ci(repo, installed, "run", "count", "--sandbox", "folder", "--out", str(out))
    assert process.returncode == 0, process.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["conclusion"] == "success"
    assert report["summary"] == "The file has 1 words."
    assert (report["sandbox"]["provider"], report["model"]) == ("folder", "script-1")
    assert [file["path"] for file in report["changes"]["files"]] == ["notes.txt"]
    assert [entry["publisher"] for entry in report["published"]] == ["note"]
    assert report["published"][0]["url"] == (out / "note.txt").as_uri()
    assert re.fullmatch(r"count: success, \d+ bytes\n", (out / "note.txt").read_text())


def test_the_spec_with_registered_names_is_valid(repo: Path, installed: Path) -> None:
    process = flue_ci(repo, installed, "validate")
    assert (process.returncode, process.stdout) == (0, ".flue/agents/count.yml: ok\n")


def test_without_the_package_every_name_is_an_error_that_says_what_there_is(repo: Path, tmp_path: Path) -> None:
    process = flue_ci(repo, tmp_path, "validate")
    assert process.returncode == 2
    for key in ("model.provider", "tools[1]", "publish.changes"):
        assert key in process.stdout
    process = flue_ci(repo, tmp_path, "run", "count", "--sandbox", "folder")
    assert process.returncode == 2
    assert "folder" in process.stderr


def test_what_the_sandbox_cannot_do_is_refused_before_anything_starts(repo: Path, installed: Path) -> None:
    for options in ((), ("--dry-run",)):
        process = flue_ci(
            repo, installed, "run", "count", "--sandbox", "folder", "--set", "sandbox.network.agent=none", *options
        )
        assert process.returncode != 0
        assert "a folder cannot restrict the network" in process.stdout + process.stderr
        assert "Copying" not in process.stderr


@pytest.mark.parametrize("name", MODULES)
def test_an_adapter_is_short_and_uses_only_what_the_page_names(name: str) -> None:
    source = (HERE / f"{name}.py").read_text()
    assert len(source.splitlines()) <= 80
    for module, names in re.findall(r"^from (flue_ci[\w.]*) import (.+)$", source, re.MULTILINE):
        for each in names.split(", "):
            assert each in PAGE, f"{name} uses {module}.{each}, of which the page says nothing"
