"""An ordinary run with setup, three tools and a check in a clean sandbox takes few requests, and no more unnoticed."""

from __future__ import annotations

from collections import Counter

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import bash, say
from tests.support.messages_server import Turn, tool

MOST = {"create": 2, "start": 19, "write": 1, "network": 2, "kill": 2}  # of two sandboxes; a tool is one of the starts


def test_the_requests_of_a_run_are_counted(make_flow: MakeFlow) -> None:
    script = [
        bash("ls"),
        Turn(blocks=[tool("read", {"path": "greeting.txt"})]),
        Turn(blocks=[tool("edit", {"path": "other.txt", "old": "hello", "new": "bye"})]),
        say("Done."),
    ]
    flow = make_flow(script, e2b=True)
    for name in ("greeting.txt", "other.txt"):
        (flow.repo / name).write_text("hello\n")
    flow.spec(sandbox={"setup": ["echo hi"]}, checks=[{"name": "t", "run": "grep bye other.txt"}])
    flow.commit()
    assert flow.run().report.conclusion == "success"
    counts = Counter(request.route for request in flow.e2b.requests)
    assert {route: count for route, count in counts.items() if count > MOST.get(route, 0)} == {}
    assert len(flow.model.requests) == len(script)
