"""The action's steps as a runner runs them: real bash, pip and uv, with an index on loopback."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from flue_ci import __version__
from tests.support.wheels import Index, installed, serve, wheel

pytestmark = pytest.mark.outside

ROOT = Path(__file__).parents[2]
STEPS: dict[str, Any] = {
    step["name"]: step for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
}
TOOLS = ("bash", "sh", "cat", "chmod", "cp", "dirname", "mktemp", "od", "tr")
UV = Path(sysconfig.get_path("scripts")) / "uv"


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A runner with nothing but `tools` on its PATH, a copy of the action, and folders whose names have a space."""

    root: Path
    index: Index

    @property
    def action(self) -> Path:
        return self.root / "an action"

    @property
    def tools(self) -> Path:
        return self.root / "tools"

    @property
    def workspace(self) -> Path:
        return self.root / "work space"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.tools),
            "HOME": str(self.root / "home"),
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.root / "temp orary"),
            "GITHUB_OUTPUT": str(self.root / "output"),
            "GITHUB_ACTION_PATH": str(self.action),
            "UV_DEFAULT_INDEX": self.index.url,
        }

    def step(self, name: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the step's script the way that `shell: bash` says."""
        (self.root / "output").write_text("")
        (self.root / "step.sh").write_text(STEPS[name]["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(self.root / "step.sh")],
            env=self.environment | (environ or {}),
            cwd=self.workspace,
            capture_output=True,
            text=True,
            check=False,
        )

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.root / "output").read_text().splitlines())


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with serve() as index:
        made = Runner(root=tmp_path, index=index)
        for folder in (made.tools, made.workspace, made.action / ".github", tmp_path / "home", tmp_path / "temp orary"):
            folder.mkdir(parents=True)
        for name in TOOLS:
            (made.tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        program(made.tools / "python3", f'exec "{sys.executable}" "$@"')
        program(made.tools / "uv", f'exec "{UV}" "$@"')
        click = installed("click")
        index.wheels.append(click)
        shutil.copytree(ROOT / "flue_ci", made.action / "flue_ci", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / ".github" / "install.sh", made.action / ".github")
        (made.action / "requirements.txt").write_text(click.requirement)
        yield made


def version(runner: Runner, environ: Mapping[str, str] | None = None) -> str:
    home = runner.outputs()["home"]
    done = subprocess.run(
        [f"{home}/venv/bin/flue-ci", "--version"],
        env=runner.environment | (environ or {}),
        cwd=runner.workspace,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_program_is_installed_below_the_runners_temporary_folder_and_nowhere_else(runner: Runner) -> None:
    done = runner.step("Install")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    home = Path(runner.outputs()["home"])
    assert home.parent == runner.root / "temp orary"
    assert home.stat().st_mode & 0o077 == 0
    assert version(runner) == f"flue-ci {__version__}"
    assert list(runner.workspace.iterdir()) == list((runner.root / "home").iterdir()) == []
    assert not list(runner.action.rglob("__pycache__"))


def test_the_copy_of_the_action_does_the_demo(runner: Runner) -> None:
    """With the packages of the tests' environment, of which the index here has only one."""
    assert runner.step("Install").returncode == 0
    home = Path(runner.outputs()["home"])
    (packages,) = home.glob("venv/lib/python3.*/site-packages")
    (packages / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    done = subprocess.run(
        [home / "venv" / "bin" / "flue-ci", "demo", "--out", runner.root / "demo"],
        env=runner.environment | {"PATH": os.environ["PATH"]},
        cwd=runner.workspace,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "diff --git a/slugs.py b/slugs.py" in (runner.root / "demo" / "changes.patch").read_text()


def test_neither_the_workspace_nor_variables_decide_what_is_imported(runner: Runner) -> None:
    assert runner.step("Install").returncode == 0
    for name in ("click.py", "flue_ci.py", "sitecustomize.py", "json.py"):
        (runner.workspace / name).write_text("raise SystemExit('the workspace was imported')")
    assert version(runner, {"PYTHONPATH": ".", "PYTHONHOME": "/nowhere"}) == f"flue-ci {__version__}"


def test_no_setting_of_a_checkout_or_of_variables_changes_what_is_installed(runner: Runner) -> None:
    nowhere = "http://127.0.0.1:1/simple"
    (runner.workspace / "uv.toml").write_text(f'index-url = "{nowhere}"\n')
    (runner.workspace / "pyproject.toml").write_text("[project]\nname = 'x'\nrequires-python = '==2.7'\n")
    (runner.workspace / ".python-version").write_text("2.7\n")
    (runner.workspace / "constraints.txt").write_text("click==1\n")
    hostile = {
        "UV_INDEX": nowhere,
        "UV_EXTRA_INDEX_URL": nowhere,
        "UV_CONSTRAINT": "constraints.txt",
        "UV_OVERRIDE": "constraints.txt",
        "UV_CONFIG_FILE": str(runner.workspace / "uv.toml"),
        "UV_PYTHON": "2.7",
        "UV_CACHE_DIR": str(runner.workspace / "cache"),
        "UV_TARGET": str(runner.workspace / "target"),
        "PIP_CONSTRAINT": "constraints.txt",
        "VIRTUAL_ENV": str(runner.workspace),
        "PYTHONPATH": str(runner.workspace),
    }
    before = sorted(runner.workspace.iterdir())
    done = runner.step("Install", hostile)
    assert done.returncode == 0, done.stderr
    assert version(runner) == f"flue-ci {__version__}"
    assert sorted(runner.workspace.iterdir()) == before


def test_a_package_that_is_not_the_locked_one_is_refused(runner: Runner) -> None:
    honest = runner.index.wheels[0]
    runner.index.wheels[0] = wheel(honest.name, honest.version, {"click/__init__.py": "print('not what was locked')"})
    done = runner.step("Install", {"UV_NO_VERIFY_HASHES": "1", "UV_REQUIRE_HASHES": "0"})
    assert done.returncode == 1
    assert "::error title=flue-ci::The packages that flue-ci needs could not be installed" in done.stdout
    assert runner.outputs() == {}


def test_a_package_without_a_hash_is_refused(runner: Runner) -> None:
    locked = runner.action / "requirements.txt"
    locked.write_text(locked.read_text().split(" ")[0] + "\n")
    assert runner.step("Install").returncode == 1
    assert runner.outputs() == {}


def test_where_uv_is_missing_the_locked_one_is_fetched(runner: Runner) -> None:
    if not importlib.util.find_spec("pip"):
        pytest.skip("this environment has no pip, which is what fetches uv")
    fetched = wheel("uv", "1.0", {"uv-1.0.data/scripts/uv": f'#!/bin/sh\nexec "{UV}" "$@"\n'})
    (runner.action / ".github" / "uv.txt").write_text(fetched.requirement)
    runner.index.wheels.append(fetched)
    (runner.tools / "uv").unlink()
    done = runner.step("Install", {"PIP_TARGET": "elsewhere", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_USER": "1"})
    assert done.returncode == 0, done.stderr
    assert version(runner) == f"flue-ci {__version__}"

    runner.index.wheels[-1] = wheel("uv", "1.0", {"uv-1.0.data/scripts/uv": "#!/bin/sh\necho not what was locked\n"})
    done = runner.step("Install")
    assert done.returncode == 1
    assert "::error title=flue-ci::Neither uv nor a Python whose pip" in done.stdout


def test_a_python_of_the_runners_tool_cache_is_used_where_the_usual_one_is_too_old(runner: Runner) -> None:
    program(runner.tools / "python3", "echo")  # what 3.10 answers
    cached = runner.root / "tool cache" / "Python" / "3.12.1" / "x64" / "bin"
    cached.mkdir(parents=True)
    program(cached / "python3", f'echo >>"{runner.root}/asked"; exec "{sys.executable}" "$@"')
    done = runner.step("Install", {"RUNNER_TOOL_CACHE": str(runner.root / "tool cache")})
    assert done.returncode == 0, done.stderr
    assert (runner.root / "asked").exists()
    assert version(runner) == f"flue-ci {__version__}"


def test_a_runner_without_python_and_uv_says_what_to_install(runner: Runner) -> None:
    (runner.tools / "uv").unlink()
    (runner.tools / "python3").unlink()
    done = runner.step("Install")
    assert done.returncode == 1
    assert "Install uv on it" in done.stdout


def test_uv_and_pip_trust_the_authority_that_any_of_the_variables_names(runner: Runner) -> None:
    authority = str(Path(__file__).parents[1] / "support/authority.pem")
    program(runner.tools / "uv", f'echo "$SSL_CERT_FILE|$PIP_CERT" >"{runner.root}/asked"; exit 1')
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        runner.step("Install", {name: authority, "HTTPS_PROXY": "http://127.0.0.1:9"})
        assert (runner.root / "asked").read_text() == f"{authority}|{authority}\n"
        (runner.root / "asked").unlink()


def test_windows_is_refused_in_words(runner: Runner) -> None:
    done = runner.step("Install", {"RUNNER_OS": "Windows"})
    assert done.returncode == 1
    assert "Windows runners are not supported" in done.stdout


def test_what_is_compiled_ahead_can_be_imported() -> None:
    code = re.search(r"-I -c '(from .*import e2b)'", (ROOT / ".github" / "install.sh").read_text())
    assert code
    subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, check=True)


@pytest.mark.parametrize("python", ["exit 127", "exit 1"], ids=["missing", "too old"])
def test_without_a_python_for_the_gate_the_run_itself_decides(runner: Runner, python: str) -> None:
    program(runner.tools / "python3", python)
    done = runner.step("Decide", {"FLUE_CI_REPORT": ""})
    assert (done.returncode, done.stdout) == (0, "")
    outputs = runner.outputs()
    assert re.fullmatch("[0-9a-f]{32}", outputs.pop("run-token"))
    assert outputs == {"proceed": "true", "gate": "late", "reacted": "false"}


def test_a_saved_report_needs_no_second_decision(runner: Runner) -> None:
    program(runner.tools / "python3", "exit 99")
    assert runner.step("Decide", {"FLUE_CI_REPORT": "somewhere"}).returncode == 0
    assert runner.outputs()["proceed"] == "true"


def test_the_gate_runs_from_the_actions_folder_without_the_workspace(runner: Runner) -> None:
    (runner.action / "flue_ci" / "gate" / "preflight.py").write_text(
        "import os, sys\ndef main():\n    print(sys.flags.isolated, sys.argv)\n    sys.exit(7)\n"
    )
    (runner.workspace / "flue_ci.py").write_text("raise SystemExit('the workspace was imported')")
    done = runner.step("Decide", {"FLUE_CI_REPORT": "", "PYTHONPATH": "."})
    assert (done.returncode, done.stdout) == (7, "1 ['-c']\n"), "the exit code of the gate is that of the step"


@pytest.mark.parametrize("code", [0, 1])
def test_a_sweep_names_the_run_and_never_fails_the_job(runner: Runner, code: int) -> None:
    program_path = runner.root / "installed" / "venv" / "bin" / "flue-ci"
    program_path.parent.mkdir(parents=True)
    program(program_path, f'echo "$@"; exit {code}')
    environment = {"FLUE_CI_RUN_TOKEN": "abc", "FLUE_CI_SANDBOX": "folder"}
    done = runner.step("Sweep", environment | {"FLUE_CI_INSTALLED": str(runner.root / "installed")})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "sandboxes kill --sandbox folder --run abc"
    assert [line.startswith("::warning title=flue-ci::") for line in lines[1:]] == [True] * code


@pytest.mark.parametrize(
    ("report", "arguments"), [("", "action"), ("-a folder", "publish -- -a folder")], ids=["a run", "a saved report"]
)
def test_the_run_takes_the_place_of_the_shell(runner: Runner, report: str, arguments: str) -> None:
    program_path = runner.root / "installed" / "venv" / "bin" / "flue-ci"
    program_path.parent.mkdir(parents=True)
    program(program_path, 'echo "$@" $PPID; exit 4')
    done = runner.step("Run", {"FLUE_CI_INSTALLED": str(runner.root / "installed"), "FLUE_CI_REPORT": report})
    assert done.returncode == 4
    assert done.stdout == f"{arguments} {os.getpid()}\n"
