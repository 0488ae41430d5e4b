"""A run over a repository with a submodule and a file of Git LFS."""

from __future__ import annotations

import hashlib
import json
import subprocess

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import bash, say

CONTENT = b"content\n" * 100


def test_submodules_and_lfs_are_there_and_their_changes_come_back(make_flow: MakeFlow) -> None:
    change = "cat sub/inner.txt && tail -n 1 big.bin && echo more >> sub/inner.txt && echo new > sub/lib.o"
    flow = make_flow([bash(change), say("Done.")])
    inner = flow.home / "inner"
    subprocess.run(["git", "init", "-q", "-b", "main", str(inner)], check=True)
    (inner / "inner.txt").write_text("inner\n")
    for command in (["add", "-A"], ["commit", "-q", "-m", "inner"]):
        subprocess.run(["git", *command], cwd=inner, check=True)
    flow.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    oid = hashlib.sha256(CONTENT).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(CONTENT)}\n"
    (flow.repo / "big.bin").write_text(pointer)
    (flow.repo / "lost.bin").write_text(pointer.replace(oid, "0" * 64))
    (flow.repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    store = flow.repo / ".git/lfs/objects" / oid[:2] / oid[2:4]
    store.mkdir(parents=True)
    (store / oid).write_bytes(CONTENT)
    checks = [{"name": "apart", "run": "grep -qx content big.bin && [ $(wc -l < sub/inner.txt) = 1 ]"}]
    setup = ["echo built > sub/lib.o"]
    flow.spec(workspace={"submodules": True, "lfs": True}, checks=checks, sandbox={"setup": setup})
    flow.commit()
    ended = flow.run("--sandbox", "local")
    assert ended.code == 0, ended.err
    (work,) = ended.report.changes.other_work
    assert (work.label, work.patch, work.files) == ("submodule sub", "changes-submodule-sub.patch", 2)
    assert "+more" in (flow.out / work.patch).read_text()
    assert not ended.report.changes.files
    assert (
        "submodule sub changed: 2 files, in changes-submodule-sub.patch; the checks ran without it"
        in ended.report.notes
    )
    (result,) = [event for event in ended.events if event["event"] == "tool_ended"]
    assert "inner\\ncontent" in json.dumps(result)
    (prompt,) = [event for event in ended.events if event["event"] == "prompt"]
    assert "1 file kept with Git LFS stays a pointer inside" in prompt["data"]["system"]
