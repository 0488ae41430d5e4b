"""Our GitHub on loopback answers nothing that GitHub's own description does not know: routes, fields and their types.

It leaves fields out, as GitHub's older servers do; what it gives has to be of the described shape.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flue_ci.forges.github.app import make_proof
from tests.support.github_app import APP_ID, INSTALLATION, private_key
from tests.support.github_server import TOKEN, GitHubServer

# npm and a description of 12 MB take seconds, and what they prove concerns tests alone.
pytestmark = pytest.mark.family(0)
PACKAGE = "@octokit/openapi@23.0.2"
JSON = dict[str, Any]
ON_LINE = {"path": "y.txt", "line": 1, "side": "RIGHT", "body": "here"}
CHECK_RUN: JSON = {
    "name": "flue-ci",
    "external_id": "k",
    "status": "completed",
    "conclusion": "neutral",
    "output": {"title": "t", "summary": "s", "annotations": []},
}
_REVIEW = "/pulls/{}/reviews/{}"
REVIEWED: list[tuple[str, str, JSON | None]] = [("PUT", _REVIEW, {"body": "y"}), ("DELETE", _REVIEW, None)]
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> JSON:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, so GitHub's description of its API cannot be fetched")
    folder = tmp_path_factory.mktemp("openapi")
    command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch GitHub's description: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        found: JSON = json.load(archive.extractfile("package/generated/api.github.com.json"))  # type: ignore[arg-type]
    return found


def resolved(schema: JSON, description: JSON) -> JSON:
    while "$ref" in schema:
        node: Any = description
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    return schema


def strange(value: Any, schema: JSON, description: JSON, place: str = "$") -> list[str]:
    """What of a value the schema does not know. Fields that are missing are no matter here."""
    schema = resolved(schema, description)
    if value is None and schema.get("nullable"):
        return []
    for word in ("anyOf", "oneOf"):
        if word in schema:
            found = [strange(value, each, description, place) for each in schema[word]]
            return min(found, key=len)
    if "allOf" in schema:
        several = [resolved(each, description) for each in schema["allOf"]]
        schema = {
            "type": "object",
            "properties": {k: v for each in several for k, v in each.get("properties", {}).items()},
        }
    types = schema.get("type")
    kinds = [types] if isinstance(types, str) else types or []
    if kinds and not any(isinstance(value, KINDS[kind]) for kind in kinds):
        return [f"{place}: {type(value).__name__} instead of {'/'.join(kinds)}"]
    if isinstance(value, list):
        return [each for item in value for each in strange(item, schema.get("items", {}), description, f"{place}[]")]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        unknown = [
            f"{place}.{name}: unknown" for name in value if name not in known and "additionalProperties" not in schema
        ]
        inner = [
            each
            for name, item in value.items()
            if name in known
            for each in strange(item, known[name], description, f"{place}.{name}")
        ]
        return unknown + inner
    return []


@cache
def route(template: str) -> re.Pattern[str]:
    """The paths of a template. (There are more of them than `re` remembers.)"""
    pattern = re.sub(r"\{path\}|(?<=ref/)\{ref\}|(?<=refs/)\{ref\}", ".+", template)
    return re.compile(re.sub(r"\{[^}]+\}", "[^/]+", pattern))


def described(description: JSON, verb: str, path: str, status: int) -> JSON:
    """The schema of an answer. Raises `AssertionError` for a route or status that GitHub does not have."""
    for template, item in description["paths"].items():
        if verb.lower() in item and route(template).fullmatch(path):
            responses = item[verb.lower()]["responses"]
            assert str(status) in responses, f"{verb} {template} does not answer {status}"
            answer = resolved(responses[str(status)], description)
            schema: JSON = answer["content"]["application/json"]["schema"]
            return schema
    raise AssertionError(f"GitHub has no {verb} {path}")


def tree_of(work: Path, commit: str) -> str:
    command = ["git", "rev-parse", f"{commit}^{{tree}}"]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, check=True).stdout.strip()


def test_every_answer_is_one_that_github_could_give(description: JSON, tmp_path: Path) -> None:
    with GitHubServer(tmp_path) as github:
        files = {".flue/agents/a.yml": "version: 1\n", ".github/workflows/flue.yml": "on: push\n"}
        work = github.repo("ada/tools", files)
        github.secrets = {"actions": ["A"], "organization": ["B"], "keys": ["C"]}
        pull = github.pull(work, {"x.txt": "x\n"}, fork=True)
        number, sha = pull["number"], pull["head"]["sha"]
        comment = github.say(number, "ada", "hello")
        line = github.say_on_line(number, "ada", "here", path="x.txt")
        issue = github.issue()
        github.failed_check(sha, "ci", "boom")
        github.suite(sha, ago=60)
        own = github.pull(work, {"y.txt": "y\n"})
        github.push(work, own, {"y.txt": "z\n"}, force=True)
        github.happened(number, "base_ref_changed")
        github.permissions["contents"] = "write"
        github.permissions["checks"] = "write"
        tree = {"base_tree": own["head"]["sha"], "tree": [{"path": "z", "mode": "100644", "content": "z"}]}
        commit = {"message": "x", "tree": tree_of(work, "main"), "parents": [own["head"]["sha"]]}
        github.permissions["actions"] = "write"
        github.actions_runs.run(github, id=7)
        github.actions_runs.artifact(github, 7, "report", b"zip")
        github.actions_runs.job(github, 7, "test", b"log")
        asked: list[tuple[str, str, JSON | None]] = [
            ("GET", "/actions/runs/7", None),
            ("GET", "/actions/runs/7/artifacts", None),
            ("GET", "/actions/runs/7/attempts/1/jobs", None),
            ("POST", "/actions/runs/7/rerun-failed-jobs", None),
            ("GET", "/collaborators/ada/permission", None),
            ("GET", f"/pulls/{number}", None),
            ("GET", f"/issues/{issue['number']}", None),
            ("GET", f"/issues/{number}/comments", None),
            ("GET", "/issues/comments", None),
            ("GET", "/pulls/comments", None),
            ("GET", f"/pulls/{number}/comments", None),
            ("GET", f"/pulls/{number}/reviews", None),
            ("GET", f"/pulls/{number}/files", None),
            ("POST", f"/issues/{number}/comments", {"body": "x"}),
            ("POST", f"/pulls/{number}/comments/{line['id']}/replies", {"body": "x"}),
            ("PATCH", f"/issues/comments/{comment['id']}", {"body": "x"}),
            ("PATCH", f"/pulls/comments/{line['id']}", {"body": "x"}),
            ("POST", f"/issues/comments/{comment['id']}/reactions", {"content": "eyes"}),
            ("POST", f"/pulls/comments/{line['id']}/reactions", {"content": "confused"}),
            ("POST", f"/issues/{number}/reactions", {"content": "eyes"}),
            ("GET", f"/issues/{number}/events", None),
            ("GET", f"/issues/comments/{comment['id']}", None),
            ("GET", f"/pulls/{number}/commits", None),
            ("GET", f"/commits/{sha}/check-suites", None),
            ("GET", "/activity", None),
            ("GET", f"/commits/{sha}/pulls", None),
            ("GET", f"/commits/{sha}/check-runs", None),
            ("GET", f"/check-runs/{github.checks[0]['id']}/annotations", None),
            ("GET", "/contents/.flue/agents/a.yml", None),
            ("GET", "", None),
            ("GET", "/actions/permissions", None),
            ("GET", "/actions/permissions/selected-actions", None),
            ("GET", "/actions/permissions/workflow", None),
            ("GET", "/actions/secrets", None),
            ("GET", "/actions/organization-secrets", None),
            ("GET", "/environments/keys/secrets", None),
            ("GET", "/actions/workflows", None),
            ("POST", "/git/blobs", {"content": "eA==", "encoding": "base64"}),
            ("POST", "/git/trees", tree),
            ("POST", "/git/commits", commit),
            ("GET", f"/git/commits/{sha}", None),
            ("GET", f"/compare/{own['base']['sha']}...{own['head']['sha']}", None),
            ("GET", "/git/ref/heads/main", None),
            ("GET", "/git/matching-refs/heads/ma", None),
            ("POST", "/git/refs", {"ref": "refs/heads/new", "sha": sha}),
            ("PATCH", "/git/refs/heads/new", {"sha": sha}),
            ("POST", "/pulls", {"title": "x", "head": "new", "base": "main"}),
            ("GET", "/pulls", None),
            ("PATCH", f"/pulls/{number}", {"title": "y"}),
            ("POST", f"/pulls/{number}/requested_reviewers", {"reviewers": ["ada"]}),
            ("POST", f"/issues/{number}/labels", {"labels": ["x"]}),
            ("POST", f"/issues/{number}/assignees", {"assignees": ["ada"]}),
            ("GET", "/commits", None),
            ("POST", "/check-runs", CHECK_RUN | {"head_sha": sha}),
            ("POST", f"/pulls/{own['number']}/reviews", {"event": "COMMENT", "body": "x", "comments": [ON_LINE]}),
            ("GET", f"/pulls/{own['number']}/reviews", None),
            ("GET", f"/pulls/{own['number']}/comments", None),
            ("POST", f"/pulls/{own['number']}/reviews", {"body": "a draft"}),
        ]
        problems = []
        for verb, template, body in [*asked, *REVIEWED]:
            path = template
            if verb in ("PUT", "DELETE"):
                path = template.format(own["number"], github.reviews[{"PUT": 0, "DELETE": -1}[verb]]["id"])
            request = urllib.request.Request(
                f"{github.url}/api/v3/repos/ada/tools{path}",
                data=None if body is None else json.dumps(body).encode(),
                headers={"Authorization": f"Bearer {TOKEN}"},
                method=verb,
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                schema = described(description, verb, f"/repos/ada/tools{path}", answer.status)
                value = json.load(answer)
            problems += [f"{verb} {path} {each}" for each in strange(value, schema, description)]
        assert problems == []


def test_files_are_answered_with_a_redirect_and_an_app_as_github_could(description: JSON, tmp_path: Path) -> None:
    paths = description["paths"]
    for path in ("/actions/artifacts/{artifact_id}/{archive_format}", "/actions/jobs/{job_id}/logs"):
        assert "302" in paths[f"/repos/{{owner}}/{{repo}}{path}"]["get"]["responses"]
    with GitHubServer(tmp_path) as github:
        for verb, path, body in (
            ("GET", "/repos/ada/tools/installation", None),
            ("POST", f"/app/installations/{INSTALLATION}/access_tokens", b'{"permissions": {"contents": "write"}}'),
        ):
            request = urllib.request.Request(f"{github.url}/api/v3{path}", data=body, method=verb)
            request.add_header("Authorization", f"Bearer {make_proof(APP_ID, private_key())}")
            with urllib.request.urlopen(request, timeout=20) as answer:
                schema = described(description, verb, path, answer.status)
                assert strange(json.load(answer), schema, description) == []
