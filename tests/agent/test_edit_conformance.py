"""The program that edits a file inside of a sandbox, in one command, does what `replace_text` does on the host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flue_ci.agent.tools.files import _first_difference, replace_text
from flue_ci.agent.tools.text_format import check_encoding
from flue_ci.agent.tools.tool import ToolError
from flue_ci.core.shell import load_script

PROGRAM = load_script("flue_ci.agent.tools", "edit.pl")
PERL = shutil.which("perl") or ""
PIECES = st.sampled_from(["a", "b", "ab", "\n", "\r\n", "é", "$1", "(", "\\", "\0"])
TEXTS = st.lists(PIECES, max_size=8).map("".join)
FILES = st.lists(st.one_of(PIECES.map(str.encode), st.sampled_from([b"\xff", b"\xc3"])), max_size=12).map(b"".join)


def expected(data: bytes, old: str, new: str, *, everywhere: bool) -> tuple[int, bytes, int] | None:
    """Count, content and first line; None where the program leaves it to the host."""
    before = data.decode("utf-8", "surrogateescape")
    try:
        check_encoding(data, new)
        after, count = replace_text(before, old, new, everywhere=everywhere)
    except ToolError:
        return None
    return count, after.encode("utf-8", "surrogateescape"), _first_difference(before, after)


@pytest.mark.skipif(not PERL, reason="there is no Perl here")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b"a\r\nb\r\n", "a\nb", "x\ny", False)
@example(b"a\r\nb\nc\n", "b\n", "x\ny\n", False)
@example(b"\xff\xfea\0", "a", "b", False)
@example(b"\xffa", "a", "\u00e9", False)
@example(b"", "a", "b", True)
@given(FILES, TEXTS.filter(bool), TEXTS, st.booleans())
def test_the_program_replaces_as_the_host_does(tmp_path: Path, data: bytes, old: str, new: str, all_: bool) -> None:
    if old == new:
        return
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    done = subprocess.run(
        [PERL, "-e", PROGRAM, "--", source, target, "1" if all_ else ""],
        input="".join(f"{each.encode('utf-8', 'surrogateescape').hex()}\n" for each in (old, new)),
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
        check=False,
    )
    wanted = expected(data, old, new, everywhere=all_)
    text = data.decode("utf-8", "surrogateescape")
    is_odd = b"\0" in data or (not new.isascii() and any("\udc80" <= each <= "\udcff" for each in text))
    if wanted is None or (is_odd and done.returncode):
        assert (done.returncode, target.exists()) == (3, False)
        return
    assert (done.returncode, done.stderr) == (0, "")
    count, line = done.stdout.split()
    assert (int(count), target.read_bytes()) == wanted[:2]
    assert int(line) <= wanted[2]
