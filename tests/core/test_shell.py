"""The package's shell scripts: found as files of the package, their values never read as shell."""

from __future__ import annotations

import subprocess

import pytest

from flue_ci.core.shell import shell_script


@pytest.mark.parametrize("value", ["plain", "", "$(touch x)", "a'b\"c`d`", "two\nlines\\", "$HOME", "-n"])
def test_no_value_is_read_as_shell(value: str) -> None:
    script = shell_script({"first": value, "second": "2"}, 'printf "%s|%s" "$first" "$second"')
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{value}|2"
