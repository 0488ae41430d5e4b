"""The action on loopback, installation excluded: what a comment costs that is not for us, when 👀 comes, when the model
is first asked, and how many requests GitHub gets.

`python -m benchmarks.action [--quick]`. Medians; GitHub, the sandboxes and the model answer at once.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flue_ci.gate.event import parse_event
from flue_ci.gate.policy import GateSettings, decide
from tests.e2e.flow import bash, say
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import GitHubServer
from tests.support.messages_script import Turn
from tests.support.messages_server import MessagesServer

ROUNDS = 7
LONG = "Words of a comment, as people write them; `code` and > quotes.\n" * 1_000
HOSTILE = ("`", "```\n", "<!-- ", "> > ", "@flue-bot ", "/flue ", "*_~", "a@", "[", "\n", "https://", "\u200b/flue\n")


@dataclass(frozen=True)
class Sample:
    """Seconds of the gate's step, from its start to 👀 (None: no reaction), from the run's start to the model's first
    request (None: no run), and requests to GitHub's API by both steps."""

    gate: float
    first: float | None
    requests: int


def answered(text: str) -> Sample:
    """One pull request, one comment, both steps of the action that follow it."""
    asked: list[float] = []
    turns: list[Turn] = [bash("echo changed > greeting.txt"), say("Done.")]

    def answer(_: dict[str, Any]) -> Turn:
        asked.append(time.monotonic())
        return turns[len(asked) - 1]

    with (
        tempfile.TemporaryDirectory() as home,
        GitHubServer(Path(home)) as github,
        MessagesServer(answer, caching=False) as model,
        E2BServer() as e2b,
    ):
        job = Job(github=github, model=model, e2b=e2b, home=Path(home), cold=True)
        pull = github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
        comment = github.say(pull["number"], "ada", text)
        environ = github.env("issue_comment", github.commented(pull, comment))
        before = len(github.requests)
        gate, decided = _timed(lambda: job.gate(environ))
        first = None
        if decided.outputs["proceed"] == "true":
            environ |= {"FLUE_CI_REACTED": decided.outputs["reacted"]}
            begun = time.monotonic()
            ended = job.run(["action"], environ)
            assert ended.code == 0, ended.log
            first = asked[0] - begun
        api = [path for _, path, _ in github.requests[before:] if "/info/refs" not in path and "/git-" not in path]
        return Sample(gate=gate, first=first, requests=len(api))


def decided(body: str) -> float:
    """Milliseconds of our own code for a decision: the event's payload read and judged."""
    payload = json.dumps(
        {
            "action": "created",
            "comment": {"id": 1, "body": body, "user": {"login": "ada", "type": "User"}},
            "issue": {"number": 1, "pull_request": {}, "title": "t", "body": "b" * 60_000},
            "sender": {"login": "ada", "type": "User"},
            "repository": {"id": 1, "full_name": "ada/tools", "default_branch": "main"},
        }
    )
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        decide(parse_event("issue_comment", json.loads(payload), {}), GateSettings(phrase="flue-bot"))
        times.append(time.perf_counter() - begun)
    return 1_000 * statistics.median(times)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.monotonic()
    done = run()
    return time.monotonic() - begun, done


def main(argv: list[str]) -> None:
    rounds = 3 if "--quick" in argv else ROUNDS
    answered("/flue fix-tests")  # warm
    ours = [answered("/flue fix-tests") for _ in range(rounds)]
    other = [answered("nice work") for _ in range(rounds)]
    firsts = sorted(sample.first for sample in ours if sample.first is not None)
    rows = {
        "comment that is not for us: the gate's step": f"{_median(other):.2f} s, {other[0].requests} requests",
        "comment for us: the gate's step, 👀 included": f"{_median(ours):.2f} s",
        "from the run's start to the model's first request": f"{statistics.median(firsts):.2f} s "
        f"({firsts[0]:.2f}–{firsts[-1]:.2f})",
        "both together": f"{statistics.median(s.gate + s.first for s in ours if s.first):.2f} s",
        "requests to GitHub's API for an answered comment": f"{ours[0].requests}",
        "our own code for a decision on a long comment": f"{decided(LONG):.1f} ms",
        "  on hostile ones, the slowest": f"{max(decided((piece * 65_000)[:65_000]) for piece in HOSTILE):.1f} ms",
    }
    for name, value in rows.items():
        print(f"{name:<56}{value}")


def _median(samples: list[Sample]) -> float:
    return statistics.median(sample.gate for sample in samples)


if __name__ == "__main__":
    main(sys.argv[1:])
