"""What the clean sandbox adds to a run with a check: `verify: fresh` and `same` in turn, over a repository of 3,000
files, in local sandboxes, with a recorded model.

`python -m benchmarks.verification [--quick]`
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.repository import SMALL, git, make_repository

ROUNDS = 9
WORK_SECONDS = 2  # of the agent, from its first change to its last word; few agents take less
SPEC = "version: 1\nprompt: go\nverify: {where}\nchecks: [{{name: change, run: grep -q changed note.txt}}]\n"
REPLIES = (
    {"calls": [{"name": "bash", "input": {"command": "echo changed > note.txt"}}]},
    {"calls": [{"name": "bash", "input": {"command": f"sleep {WORK_SECONDS}"}}]},
    {"text": "Done."},
)


def prepare(folder: Path) -> tuple[Path, Path]:
    """A repository with an agent for each place, and the recording of their model."""
    repo = make_repository(folder / "repo", *SMALL[1:])
    agents = repo / ".flue/agents"
    agents.mkdir(parents=True)
    for where in ("fresh", "same"):
        (agents / f"{where}.yml").write_text(SPEC.format(where=where))
    git(repo, "add", "-A")
    git(repo, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "agents")
    recording = folder / "recording.jsonl"
    lines = [{"flue_ci_recording": 1, "model": "m"}, *({"reply": reply} for reply in REPLIES)]
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return repo, recording


def run(where: str, repo: Path, recording: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Seconds of one run, whole, and those of its stages."""
    command = [sys.executable, "-m", "flue_ci", "run", where, "--sandbox", "local", "--replay", str(recording), "-q"]
    start = time.monotonic()
    subprocess.run([*command, "--out", str(out)], cwd=repo, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    timings: dict[str, float] = json.loads((out / "report.json").read_text())["timings"]
    return seconds, timings


def main(arguments: list[str] | None = None) -> None:
    rounds = 3 if "--quick" in (sys.argv[1:] if arguments is None else arguments) else ROUNDS
    samples: dict[str, list[tuple[float, dict[str, float]]]] = {"fresh": [], "same": []}
    with tempfile.TemporaryDirectory() as directory:
        repo, recording = prepare(Path(directory))
        for number in range(rounds):
            for where, values in samples.items():
                values.append(run(where, repo, recording, Path(directory, f"{where}-{number}")))
    print(f"The clean sandbox: {SMALL[0]}, local sandbox, medians of {rounds} (seconds)")
    medians = {where: statistics.median(seconds for seconds, _ in values) for where, values in samples.items()}
    for where, values in samples.items():
        stages = {name for _, timings in values for name in timings}
        parts = {name: statistics.median(timings.get(name, 0.0) for _, timings in values) for name in sorted(stages)}
        print(
            f"  {where:6} {medians[where]:6.2f}   " + "  ".join(f"{name} {value:.2f}" for name, value in parts.items())
        )
    print(f"  added  {medians['fresh'] - medians['same']:6.2f}")


if __name__ == "__main__":
    main()
