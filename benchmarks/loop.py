"""Start-up, time per turn, memory and request size of `flue-ci run` against a bare loop on the same SDK, in one run.

Both are fresh processes that talk to the same scripted Messages server without latency; flue-ci works in its `local`
sandbox. `python -m benchmarks.loop [--rounds 5]` prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.messages_script import Turn, text, tool
from tests.support.messages_server import API_KEY, MessagesServer

TASK = "Look at the repository, then say done."
SPEC = "version: 1\nprompt: '{{ instruction }}'\nlimits: {turns: 200}\npublish: {changes: none}\n"


@dataclass(frozen=True)
class Sample:
    """One process: seconds to the first request and in all, seconds per further turn, peak memory in MB."""

    first: float
    per_turn: float
    total: float
    memory: float
    bodies: tuple[bytes, ...]


def scripted(turns: int) -> Any:
    """A task of that many turns, each with one shell command. Every answer depends only on how far the conversation
    is."""

    def answer(body: dict[str, Any]) -> Turn:
        said = sum(message["role"] == "assistant" for message in body["messages"])
        if said >= turns - 1:
            return Turn(blocks=[text("done")])
        return Turn(blocks=[tool("bash", {"command": f"echo turn {said}"}, id=f"toolu_{said:04}")])

    return answer


def four_commands(body: dict[str, Any]) -> Turn:
    """Four commands of half a second in one turn, then the end."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        return Turn(blocks=[text("done")])
    return Turn(blocks=[tool("bash", {"command": "sleep 0.5"}, id=f"toolu_{number}") for number in range(4)])


def a_megabyte(body: dict[str, Any]) -> Turn:
    """A command that prints a megabyte, then the end."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        return Turn(blocks=[text("done")])
    return Turn(blocks=[tool("bash", {"command": "seq 1 155000"}, id="toolu_1")])


def measure(command: Sequence[str], turns: int, environment: dict[str, str], cwd: Path, script: Any = None) -> Sample:
    """Runs the command against a fresh server that says what `script` does (default: a task of `turns` turns)."""
    arrived: list[float] = []
    bodies: list[bytes] = []
    script = script or scripted(turns)

    def answer(body: dict[str, Any]) -> Turn:
        arrived.append(time.monotonic())
        return script(body)

    with MessagesServer(answer, caching=False) as server:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment | {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": API_KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        total = time.monotonic() - started
        bodies = [seen.raw for seen in server.requests]
    if status != 0 or len(arrived) != turns:
        raise SystemExit(f"{command}: status {status}, {len(arrived)} of {turns} turns\n{output.decode()}")
    per_turn = (arrived[-1] - arrived[0]) / (turns - 1)
    return Sample(arrived[0] - started, per_turn, total, usage.ru_maxrss / 1000, tuple(bodies))


def help_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    start = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def own_bytes(body: bytes) -> int:
    """Bytes of the first request that are not the user's own text."""
    return len(body) - len(json.dumps(TASK, ensure_ascii=False)[1:-1].encode())


def stable_prefix(bodies: Sequence[bytes]) -> bool:
    """True when system, tools and all earlier messages come again byte for byte, but for the moving cache marks."""

    def parts(body: bytes) -> list[str]:
        sent = json.loads(body)
        for message in sent["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else []:
                block.pop("cache_control", None)
        return [json.dumps(sent.get("system")), json.dumps(sent.get("tools")), *map(json.dumps, sent["messages"])]

    told = [parts(body) for body in bodies]
    return all(later[: len(earlier)] == earlier for earlier, later in pairwise(told))


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        repository = home / "repository"
        (repository / ".flue" / "agents").mkdir(parents=True)
        (repository / ".flue" / "agents" / "look.yml").write_text(SPEC)
        (repository / "README.md").write_text("# A repository\n")
        identity = ["-c", "user.name=b", "-c", "user.email=b@example.com"]
        for step in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
            subprocess.run(["git", *identity, *step], cwd=repository, check=True)
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "NO_PROXY": "127.0.0.1"}
        flue = [str(Path(sys.executable).with_name("flue-ci")), "run", "look", TASK, "--sandbox", "local"]
        bare = [sys.executable, str(Path(__file__).with_name("bare_loop.py")), str(repository), TASK]
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, median of {rounds} paired rounds\n")
        rows = _rows(flue, bare, rounds, environment, repository)
        helped = [help_seconds([flue[0], "--help"], environment) for _ in range(2 * rounds)]
        click = [help_seconds([sys.executable, "-c", "import click"], environment) for _ in range(2 * rounds)]
    shown, limit = statistics.median(helped), statistics.median(click)
    rows.append(("flue-ci --help against import click, s", f"{shown:.3f}", f"{limit:.3f}", shown / limit, "≤ 2"))
    print(f"{'':<44}{'flue-ci':>10}{'bare loop':>11}{'ratio':>8}   aim")
    for name, ours, theirs, ratio, aim in rows:
        print(f"{name:<44}{ours:>10}{theirs:>11}{f'{ratio:.2f}' if ratio else '':>8}   {aim}")


def _rows(
    flue: list[str], bare: list[str], rounds: int, environment: dict[str, str], cwd: Path
) -> list[tuple[str, str, str, float | None, str]]:
    measure(flue, 2, environment, cwd)  # compiles what is not compiled yet
    measure(bare, 2, environment, cwd)
    short = [(measure(flue, 10, environment, cwd), measure(bare, 10, environment, cwd)) for _ in range(rounds)]
    long = [(measure(flue, 100, environment, cwd), measure(bare, 100, environment, cwd)) for _ in range(rounds)]

    def middle(pairs: list[tuple[Sample, Sample]], field: str) -> tuple[float, float]:
        ours = statistics.median(getattr(pair[0], field) for pair in pairs)
        return ours, statistics.median(getattr(pair[1], field) for pair in pairs)

    rows: list[tuple[str, str, str, float | None, str]] = []
    for name, pairs, field, factor, unit, aim in (
        ("start to first model request, s", short + long, "first", 1.0, ".3f", "≤ 0.9"),
        ("added per turn over 10 turns, ms", short, "per_turn", 1000.0, ".1f", "≤ 2"),
        ("added per turn over 100 turns, ms", long, "per_turn", 1000.0, ".1f", "≤ 2"),
        ("whole run of 10 turns, s", short, "total", 1.0, ".3f", ""),
        ("peak memory, 100 turns, MB", long, "memory", 1.0, ".0f", "≤ 120 MB"),
    ):
        ours, theirs = middle(pairs, field)
        rows.append((name, f"{ours * factor:{unit}}", f"{theirs * factor:{unit}}", ours / theirs, aim))
    ours_first, bare_first = long[0][0].bodies[0], long[0][1].bodies[0]
    rows.append(
        (
            "first request without the user's text, bytes",
            f"{own_bytes(ours_first)}",
            f"{own_bytes(bare_first)}",
            None,
            "≤ 8192",
        )
    )
    together = statistics.median(measure(flue, 2, environment, cwd, four_commands).per_turn for _ in range(rounds))
    rows.append(("four commands of 0.5 s in one turn, s", f"{together:.2f}", "", None, "≤ 0.65"))
    told = measure(flue, 2, environment, cwd, a_megabyte)
    cost = len(told.bodies[1]) - len(told.bodies[0])
    rows.append(("1 MB of output, bytes in the next request", f"{cost}", "", None, "≤ 16384"))
    stable = [stable_prefix(sample.bodies) for pair in long for sample in pair[:1]]
    rows.append(("prefix byte-stable on every turn", "yes" if all(stable) else "NO", "", None, "yes"))
    return rows


if __name__ == "__main__":
    main()
