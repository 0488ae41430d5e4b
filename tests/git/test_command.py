"""Running git: what happens to a process that writes more than is wanted."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from flue_ci.git.command import Git, TooMuchOutput


@pytest.mark.parametrize("limit", [10, 70_000, 2_000_000])
async def test_too_much_output_ends_git_and_the_call(tmp_path: Path, limit: int) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "big").write_bytes(b"x" * 20_000_000)
    blob = subprocess.run(["git", "hash-object", "-w", "big"], cwd=tmp_path, check=True, capture_output=True, text=True)
    async with asyncio.timeout(60):
        with pytest.raises(TooMuchOutput, match=f"git cat-file: more than {limit} bytes"):
            await Git(cwd=tmp_path).run("cat-file", "blob", blob.stdout.strip(), limit=limit)
