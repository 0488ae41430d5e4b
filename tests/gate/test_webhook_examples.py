"""GitHub's own example payloads are read: every version of the server that they are of, every event that we support."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from flue_ci.gate import policy as gate
from flue_ci.gate.event import AFTER_CHECKS, AGENT_EVENTS, COMMENTS, parse_event

PACKAGE = "@octokit/webhooks-examples@7.6.1"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """(event, payload) of all servers, from the npm package that Octokit makes of GitHub's documentation."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, so GitHub's example payloads cannot be fetched")
    folder = tmp_path_factory.mktemp("examples")
    command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch GitHub's example payloads: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return [
        (entry["name"], payload)
        for path in sorted(Path(folder).glob("package/*/index.json"))
        for entry in json.loads(path.read_text())
        for payload in entry["examples"]
    ]


def test_every_example_is_read_and_decided(examples: list[tuple[str, dict[str, Any]]]) -> None:
    seen: set[str] = set()
    for name, payload in examples:
        event = parse_event(name, payload, {"GITHUB_REPOSITORY": "", "GITHUB_REPOSITORY_ID": ""})
        decision = gate.decide(event, gate.GateSettings())
        if name not in AGENT_EVENTS:
            assert isinstance(decision, gate.Skip)
            continue
        seen.add(name)
        assert event.repo == payload["repository"]["full_name"]
        assert event.repo_id == payload["repository"]["id"]
        assert event.default_branch
        assert event.actor == payload["sender"]["login"]
        if name in COMMENTS or name in ("pull_request", "issues"):
            thing = payload.get("pull_request") or payload["issue"]
            assert event.number == thing["number"]
            assert event.url
        if name in COMMENTS:
            said = payload.get("comment") or payload["review"]
            assert event.author == said["user"]["login"]
            assert event.text == (said["body"] or "")
            assert event.asked_at
        if name == "pull_request":
            assert event.head_sha == payload["pull_request"]["head"]["sha"]
            assert event.is_pull_request
        if name in AFTER_CHECKS:
            assert event.checked_sha == payload[name]["head_sha"]
    assert {*COMMENTS, *AFTER_CHECKS, "pull_request", "issues", "push", "release", "workflow_dispatch"} <= seen
