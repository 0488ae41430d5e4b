"""Every shell script of the project is read by ShellCheck."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*(ROOT / "flue_ci").rglob("*.sh"), *(ROOT / ".github").rglob("*.sh"), *ROOT.glob(".ci/run")])


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed; .ci/run installs it")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_names_its_shell_and_its_exceptions_have_reasons(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert re.match(r"#!/|# shellcheck shell=(sh|bash)$", lines[0])
    for line in lines:
        assert "shellcheck disable" not in line or re.search(r"disable=[SC\d,]+ # .", line), line
