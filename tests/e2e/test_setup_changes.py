"""What setup commands leave behind is not the agent's change; what the agent makes of it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.e2e.flow import HANG_GUARD
from tests.support.fork_server import fork_server

SPEC = """\
version: 1
prompt: go
sandbox:
  setup: ["echo lock > setup.lock; echo x >> README.md; rm gone.txt; mkdir egg; echo 1 > egg/info; echo 2 > egg/kept"]
"""
COMMAND = "echo more >> setup.lock; rm egg/info; echo mine > mine.txt; echo back > gone.txt"
RECORDING = [
    {"flue_ci_recording": 1, "model": "recorded"},
    {"reply": {"text": "", "calls": [{"name": "bash", "input": {"command": COMMAND}}]}},
    {"reply": {"text": "Done."}},
]


def test_only_what_changed_since_setup_is_handed_in(tmp_path: Path) -> None:
    repo, out = tmp_path / "repo", tmp_path / "out"
    (repo / ".flue/agents").mkdir(parents=True)
    (repo / ".flue/agents/go.yml").write_text(SPEC)
    (repo / "README.md").write_text("hi\n")
    (repo / "gone.txt").write_text("here\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=repo, check=True)
    recording = tmp_path / "recording.jsonl"
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in RECORDING))
    command = ["run", "go", "--sandbox", "local", "--replay", str(recording), "--out", str(out)]
    done = fork_server().run(command, env=os.environ, cwd=repo, timeout=HANG_GUARD)
    assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads((out / "report.json").read_text())
    changed = {file["path"]: (file["kind"], file["added"], file["deleted"]) for file in report["changes"]["files"]}
    assert changed == {"setup.lock": ("added", 2, 0), "mine.txt": ("added", 1, 0), "gone.txt": ("modified", 1, 1)}
    subprocess.run(["git", "apply", "--check", str(out / "changes.patch")], cwd=repo, check=True)
