"""What the agent does to its machine does not speak for the checks."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from flue_ci.core.shell import load_script, shell_script
from tests.e2e.flow import HANG_GUARD
from tests.support.fork_server import fork_server

SPEC = """\
version: 1
prompt: go
checks: [{name: tests, run: sleep $(cat pause) && sh run-tests.sh}]
"""
COMMAND = ["run", "go", "--sandbox", "local", "-q"]
TRICKS = {
    "a start-up file that exits": "echo 'exit 0' > ~/.bash_profile",
    "a function in the start-up file": "echo 'sh() { return 0; }' > ~/.profile",
    "a start-up file that is a link": "printf 'exit 0\\n' > ~/x; ln -s x ~/.bash_profile",
    "a process that rewrites the test later": "(setsid sh -c 'sleep 3; echo exit 0 > run-tests.sh' &)",
}


def run(tmp_path: Path, command: str, pause: str) -> tuple[int, dict[str, object]]:
    repo, out = tmp_path / "repo", tmp_path / "out"
    (repo / ".flue/agents").mkdir(parents=True)
    (repo / ".flue/agents/go.yml").write_text(SPEC)
    (repo / "run-tests.sh").write_text("exit 1\n")
    (repo / "pause").write_text(pause)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=repo, check=True)
    recording = tmp_path / "recording.jsonl"
    call = {"name": "bash", "input": {"command": command}}
    replies = [{"calls": [call]}, {"text": "All tests pass."}]
    lines = [{"flue_ci_recording": 1, "model": "m"}, *({"reply": reply} for reply in replies)]
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command = [*COMMAND, "--replay", str(recording), "--out", str(out)]
    done = fork_server().run(command, env=os.environ, cwd=repo, timeout=HANG_GUARD)
    return done.returncode, json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.long
def test_a_failing_check_fails_whatever_the_agent_left_behind(tmp_path: Path, trick: str) -> None:
    code, report = run(tmp_path, TRICKS[trick], "4" if "later" in trick else "0")
    assert report["changes"]["files"] == []  # type: ignore[index]
    assert report["checks"][0]["exit_code"] == 1  # type: ignore[index]
    assert code == 1


def end_processes(home: Path) -> str:
    return shell_script({"flue_home": str(home)}, load_script("flue_ci.sandboxes.e2b", "end_processes.sh"))


def test_where_it_is_not_root_nothing_is_ended(tmp_path: Path) -> None:
    script = end_processes(tmp_path)
    drop = ["setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups"] if os.geteuid() == 0 else []
    with subprocess.Popen([*drop, "sleep", "60"]) as bystander:
        done = subprocess.run([*drop, "bash", "-c", script], check=False)
        assert done.returncode == 0
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of two users in a namespace of its own")
def test_in_a_sandbox_of_e2b_every_process_of_the_user_ends_and_no_other(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 61234, 61234)
    (tmp_path / "envd").write_bytes(Path("/bin/sleep").read_bytes())
    (tmp_path / "envd").chmod(0o755)
    as_user = "setpriv --reuid 61234 --regid 61234 --clear-groups"
    script = f"""
    {tmp_path}/envd 60 & {as_user} sleep 60 & {as_user} setsid sh -c 'trap "" TERM; sleep 60 & wait' & sleep 60 &
    until [ "$(ps -o pid= -u 61234 | wc -l)" -ge 3 ]; do sleep 0.05; done
    bash -c {shlex.quote(end_processes(home))}; echo "exit $?"
    sleep 0.2; ps -eo uid=,comm= | sort
    """
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "exit 0" in done.stdout, done.stderr
    assert "61234" not in done.stdout
    assert "envd" in done.stdout
    assert "0 sleep" in done.stdout
