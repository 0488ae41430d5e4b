"""A GitHub of our own on loopback: the REST API that flue-ci asks, GraphQL for two questions, and git over HTTP.

Follows https://docs.github.com/rest (version 2022-11-28): pages with `Link` headers, GitHub's own bodies of errors, its
limit of a body, its rules about tokens. PyGithub and git talk to it unpatched.

    with GitHubServer(tmp_path) as github:
        repo = github.repo("ada/tools", {"greeting.txt": "hello"})
        pull = github.pull(repo, {"greeting.txt": "bye"}, fork=True)
        comment = github.say(pull["number"], "ada", "/flue fix-tests")
        environ = github.env("issue_comment", github.commented(pull, comment), actor="ada")
"""

from __future__ import annotations

import atexit
import base64
import difflib
import gzip
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support import github_actions, github_app, github_git_data, github_outputs, github_pulls, github_reviews
from tests.support.faults import HOLD_SECONDS, Faults
from tests.support.github_refusal import Refusal as _Refusal

TOKEN = "ghs_canary0canary0canary0canary0canary0"
BOT = {"id": 41898282, "login": "github-actions[bot]", "type": "Bot", "node_id": "BOT"}
LONGEST_BODY = 65_536
JSON = dict[str, Any]


class GitHubServer(http.server.ThreadingHTTPServer):
    """The state is in plain attributes, for tests to fill and to read. `requests` are (method, path, status);
    `authorizations` what came with each request; `faults` meet a route such as `POST comments`, see `_route`."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root / "github"
        self.root.mkdir()
        self.faults = Faults()
        self.lock = threading.RLock()
        self.requests: list[tuple[str, str, int]] = []
        self.authorizations: list[str] = []
        self.accounts: dict[str, JSON] = {BOT["login"]: BOT}
        self.roles: dict[str, str] = {}
        self.permissions = {"contents": "read", "issues": "write", "pull_requests": "write", "checks": "read"}
        self.pulls: dict[int, JSON] = {}
        self.issues: dict[int, JSON] = {}
        self.files: dict[int, list[JSON]] = {}
        self.comments: list[JSON] = []  # of issues and pull requests; `_number` says which, and is not sent
        self.lines: list[JSON] = []  # review comments
        self.reviews: list[JSON] = []
        self.review_state = github_reviews.Reviews()
        self.graphql_queries: list[str] = []
        self.reactions: list[tuple[str, int, str]] = []  # kind, id, content
        self.checks: list[JSON] = []
        self.runs: list[JSON] | None = None  # of workflows: id, login, created_at
        self.annotations: dict[int, list[JSON]] = {}
        self.suites: list[JSON] = []  # check suites
        self.activities: list[JSON] | None = []  # of branches, oldest first; None: nobody may read them
        self.events: list[JSON] = []  # of issues and pull requests, oldest first; `_number` says which
        self.minimized: set[str] = set()
        self.actions: JSON | None = {"enabled": True, "allowed_actions": "all"}  # None: only administrators see it
        self.action_patterns = ["flue-ci/flue-ci@*"]
        self.allows_own_actions = True  # those of GitHub
        self.default_permissions = "read"
        self.secrets: dict[str, list[str]] | None = None  # names, of `actions`, `organization` and environments
        self.workflow_states: dict[str, str] = {}  # by path, of workflows that are not active
        self.archived = False
        self.git_data = github_git_data.GitData()
        self.pull_settings = github_pulls.Pulls()
        self.actions_runs = github_actions.Actions()
        self.app = github_app.App()
        self.name = "ada/tools"
        self._ids = 1000
        self._thread: threading.Thread | None = None
        for login, role in (("ada", "admin"), ("mona", "write"), ("stranger", "read")):
            self.account(login, role)

    # The world

    def account(self, login: str, role: str = "read", kind: str = "User") -> JSON:
        self.accounts[login] = {"id": self._id(), "login": login, "type": kind, "node_id": f"U_{login}"}
        self.roles[login] = role
        return self.accounts[login]

    def repo(self, name: str, files: dict[str, str]) -> Path:
        """A bare repository with one commit on main; returns a checkout to work in, with whose objects it works too."""
        self.name = name
        work = self.root.parent / "work"
        template = _template(tuple(sorted(files.items())))
        shutil.copytree(template / "served.git", self._served)
        shutil.copytree(template / "work", work)
        (self._served / "objects/info/alternates").write_text(f"{work}/.git/objects\n")
        with (work / ".git/config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = {self._served}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
        return work

    @property
    def _served(self) -> Path:
        return self.root / f"{self.name}.git"

    def put(self, ref: str, sha: str) -> None:
        """What a push of a commit of the checkout comes to."""
        path = self._served / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{sha}\n")

    def commit(self, work: Path, files: dict[str, str], message: str) -> str:
        return _commit(work, files, message)

    def pull(self, work: Path, files: dict[str, str], *, author: str = "mona", fork: bool = False) -> JSON:
        """A pull request to main; a fork's head is only at `refs/pull/N/head`."""
        number = self._id()
        base = _commit_at(work / ".git", "refs/heads/main")
        head = _commit_on(work, f"refs/heads/topic-{number}", base, files, "change")
        self.put(f"refs/pull/{number}/head", head)
        if not fork:
            self.put(f"refs/heads/topic-{number}", head)
        home = self.repository()
        there = home | {"id": 77, "full_name": f"{author}/tools", "fork": True} if fork else home
        pull = {
            **self._thing(number, author, "A change", "What it is for."),
            "node_id": f"PR_{number}",
            "html_url": f"{self.url}/{self.name}/pull/{number}",
            "draft": False,
            "base": {"ref": "main", "sha": base, "repo": home},
            "head": {"ref": f"topic-{number}", "sha": head, "repo": there},
        }
        self.pulls[number] = pull
        self.pushed(pull, head, ago=3600)
        self.files[number] = [_changed_file(work / name, name, text) for name, text in files.items()]
        return pull

    def push(self, work: Path, pull: JSON, files: dict[str, str], *, force: bool = False, ago: int = 0) -> str:
        """Another commit on the branch of a pull request; with `force`, one in place of its commits."""
        number, before = pull["number"], pull["head"]["sha"]
        parent = _commit_at(work / ".git", "refs/heads/main") if force else before
        head = _commit_on(work, f"refs/heads/topic-{number}", parent, files, "pushed later")
        self.put(f"refs/pull/{number}/head", head)
        pull["head"]["sha"] = head
        self.pushed(pull, head, ago=ago, kind="force_push" if force else "push", before=before)
        if force:
            self.happened(number, "head_ref_force_pushed", ago=ago)
        return head

    def pushed(self, pull: JSON, sha: str, *, ago: int, kind: str = "branch_creation", before: str = "0" * 40) -> None:
        """An entry in the history of the branch of a pull request."""
        if self.activities is None:
            return
        number = self._id()
        entry = {"id": number, "node_id": f"PUSH_{number}", "before": before, "after": sha, "timestamp": _time(ago)}
        entry |= {"ref": f"refs/heads/{pull['head']['ref']}", "activity_type": kind, "actor": pull["user"]}
        self.activities.append(entry | {"_repo": pull["head"]["repo"]["full_name"]})

    def happened(self, number: int, event: str, *, ago: int = 0, login: str = "stranger") -> None:
        """An event of an issue or pull request, such as `base_ref_changed`."""
        identity = self._id()
        self.events.append(
            {
                "id": identity,
                "node_id": f"EVENT_{identity}",
                "url": f"{self.url}/api/v3/repos/{self.name}/issues/events/{identity}",
                "actor": self.accounts[login],
                "event": event,
                "commit_id": None,
                "commit_url": None,
                "created_at": _time(ago),
                "_number": number,
            }
        )

    def suite(self, sha: str, *, ago: int, branch: str | None = None) -> None:
        """A check suite; of a fork's commit GitHub names no branch."""
        self.suites.append({"id": self._id(), "head_sha": sha, "head_branch": branch, "created_at": _time(ago)})

    def issue(self, author: str = "mona", title: str = "It is broken", body: str = "Look.") -> JSON:
        number = self._id()
        self.issues[number] = self._thing(number, author, title, body) | {
            "html_url": f"{self.url}/{self.name}/issues/{number}"
        }
        return self.issues[number]

    def say(self, number: int, login: str, body: str, *, ago: int = 0) -> JSON:
        with self.lock:
            comment = self._said(number, login, body, ago) | {
                "html_url": f"{self.url}/{self.name}/issues/{number}#issuecomment-{self._ids}"
            }
            self.comments.append(comment)
        return comment

    def say_on_line(self, number: int, login: str, body: str, *, path: str, reply_to: int | None = None) -> JSON:
        with self.lock:
            line = self._said(number, login, body, 0) | {"path": path, "line": 1, "diff_hunk": "@@ -1 +1 @@\n-a\n+b"}
            line["html_url"] = f"{self.url}/{self.name}/pull/{number}#discussion_r{line['id']}"
            if reply_to:
                line["in_reply_to_id"] = reply_to
            self.lines.append(line)
        return line

    def failed_check(self, sha: str, name: str, message: str) -> None:
        number = self._id()
        self.checks.append(
            {
                "id": number,
                "name": name,
                "head_sha": sha,
                "status": "completed",
                "conclusion": "failure",
                "html_url": f"{self.url}/{self.name}/runs/{number}",
                "output": {"title": "failed", "summary": "1 failed", "text": None, "annotations_count": 1},
            }
        )
        note = {"path": "test.py", "start_line": 3, "annotation_level": "failure", "message": message, "title": None}
        self.annotations[number] = [note]

    def repository(self) -> JSON:
        owner, _, name = self.name.partition("/")
        return {
            "id": 42,
            "name": name,
            "full_name": self.name,
            "owner": {"login": owner, "id": 1, "type": "User"},
            "default_branch": "main",
            "private": False,
            "fork": False,
        }

    def ours(self) -> list[JSON]:
        """What the job's token wrote, in order."""
        return [each for each in (*self.comments, *self.lines) if each["user"]["login"] == BOT["login"]]

    def vote(self, comment: JSON, login: str, content: str = "THUMBS_DOWN") -> None:
        """A reaction of a person on a comment in a thread."""
        self.review_state.reactions.append((comment["id"], login, content))

    def resolve(self, comment: JSON, login: str) -> None:
        """A person ends the thread that begins with this comment."""
        self.review_state.resolved[comment["id"]] = login

    def count(self, method: str, part: str) -> int:
        return sum(1 for verb, path, _ in self.requests if verb == method and part in path)

    @property
    def bot(self) -> JSON:
        """The account of the job's token."""
        return BOT

    def now(self) -> str:
        return _time(0)

    # The job

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commented(self, thing: JSON, comment: JSON, *, action: str = "created") -> JSON:
        issue = {key: thing[key] for key in ("number", "title", "body", "user", "labels", "state", "html_url")}
        if "head" in thing:
            issue["pull_request"] = {"html_url": thing["html_url"]}
        return self._payload(comment["user"]["login"]) | {"action": action, "issue": issue, "comment": comment}

    def pulled(self, pull: JSON, action: str, sender: str, **more: Any) -> JSON:
        return self._payload(sender) | {"action": action, "number": pull["number"], "pull_request": pull, **more}

    def payload(self, sender: str, **more: Any) -> JSON:
        return self._payload(sender) | more

    def env(self, event: str, payload: JSON, *, actor: str = "", sha: str = "", ref: str = "") -> dict[str, str]:
        """What a job finds in its environment; the files lie below the server's folder."""
        job = self.root.parent / "job"
        job.mkdir(exist_ok=True)
        (job / "event.json").write_text(json.dumps(payload))
        for name in ("output", "summary"):
            (job / name).touch()
        actor = actor or payload["sender"]["login"]
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(job / "event.json"),
            "GITHUB_OUTPUT": str(job / "output"),
            "GITHUB_STEP_SUMMARY": str(job / "summary"),
            "GITHUB_REPOSITORY": self.name,
            "GITHUB_REPOSITORY_ID": "42",
            "GITHUB_ACTOR": actor,
            "GITHUB_TRIGGERING_ACTOR": actor,
            "GITHUB_API_URL": f"{self.url}/api/v3",
            "GITHUB_GRAPHQL_URL": f"{self.url}/api/graphql",
            "GITHUB_SERVER_URL": self.url,
            "GITHUB_RUN_ID": "7",
            "GITHUB_WORKFLOW_REF": f"{self.name}/.github/workflows/flue.yml@refs/heads/main",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_SHA": sha or _commit_at(self._served, "refs/heads/main"),
            "GITHUB_REF": ref or "refs/heads/main",
            "RUNNER_TEMP": str(job),
            "FLUE_CI_GITHUB_TOKEN": TOKEN,
        }

    # The server

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no matter; what else goes wrong is an answer of 500."""

    def _id(self) -> int:
        with self.lock:
            self._ids += 1
            return self._ids

    def _payload(self, sender: str) -> JSON:
        return {"repository": self.repository(), "sender": self.accounts[sender]}

    def _thing(self, number: int, author: str, title: str, body: str) -> JSON:
        return {
            "id": number,
            "number": number,
            "title": title,
            "body": body,
            "state": "open",
            "user": self.accounts[author],
            "labels": [],
            "created_at": _time(3600),
            "updated_at": _time(3600),
        }

    def _said(self, number: int, login: str, body: str, ago: int) -> JSON:
        identity = self._id()
        return {
            "id": identity,
            "node_id": f"C_{identity}",
            "_number": number,
            "user": self.accounts[login],
            "body": body,
            "created_at": _time(ago),
            "updated_at": _time(ago),
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GitHubServer

    @property
    def token(self) -> str:
        """As it came, without the scheme."""
        return (self.headers.get("Authorization") or "").rpartition(" ")[2]

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `requests`."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        path = urlsplit(self.path).path
        fault = self.server.faults.take(_route(self.command, path))
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.hold:
            fault.released.wait(HOLD_SECONDS)
        if fault and fault.drop == "before":
            self._drop()
            return
        if fault and fault.status:
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
            self._send(fault.status, fault.body if fault.body is not None else {"message": fault.message}, headers)
            return
        if path.startswith("/storage/"):
            self._send(*github_actions.stored(self.server, path, dict(self.headers.items())))
            return
        if ".git/" in path:
            self._git(path, body)
            return
        try:
            status, answer, headers = self._act(path, body)
        except _Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            answer = {"message": refusal.message, "documentation_url": "https://docs.github.com/rest", "status": status}
            if refusal.errors:
                answer["errors"] = refusal.errors
        if fault and fault.drop:
            self._drop()
            return
        self._send(status, answer, headers)

    def _act(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        given = json.loads(body) if body else {}
        if (answer := github_app.answer(self, path.removeprefix("/api/v3"), given)) is not None:
            return 201 if self.command == "POST" else 200, answer, {}
        if not (self.headers.get("Authorization") or "").endswith((TOKEN, github_app.APP_TOKEN)):
            raise _Refusal(401, "Bad credentials")
        with self.server.lock:
            self.server.git_data.spend(self.command)
        if path == "/api/graphql":
            with self.server.lock:
                return 200, self._graphql(given), {}
        path = path.removeprefix("/api/v3")
        if path == "/user":
            raise _Refusal(403, "Resource not accessible by integration")
        here = f"/repos/{self.server.name}"
        if other := re.fullmatch(r"/repos/([^/]+/[^/]+)/activity", path):
            return self._paged(self.activity(other[1]))
        if not path.startswith(here):
            raise _Refusal(404, "Not Found")
        for verb, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, path.removeprefix(here))
            if verb == self.command and found:
                with self.server.lock:
                    answer = action(self, given, *(unquote(part) for part in found.groups()))
                if answer is None:
                    return 204, b"", {}
                if isinstance(answer, list):
                    return self._paged(answer)
                if isinstance(answer, dict) and "check_runs" in answer:
                    status, items, headers = self._paged(answer["check_runs"])
                    return status, answer | {"check_runs": items}, headers
                return 201 if verb == "POST" and not path.endswith("/reviews") else 200, answer, {}
        raise _Refusal(404, "Not Found")

    def _paged(self, items: list[JSON]) -> tuple[int, Any, dict[str, str]]:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        if since := query.get("since"):
            items = [item for item in items if item["updated_at"] >= since]
        if query.get("direction") == "desc":
            items = items[::-1]
        last = max((len(items) + size - 1) // size, 1)
        rest = "".join(f"&{key}={value}" for key, value in query.items() if key != "page")
        base = f"{self.server.url}{urlsplit(self.path).path}?{rest[1:]}&page="
        links = [f'<{base}{page + 1}>; rel="next"', f'<{base}{last}>; rel="last"'] if page < last else []
        links += [f'<{base}{page - 1}>; rel="prev"', f'<{base}1>; rel="first"'] if page > 1 else []
        return 200, items[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}

    def _graphql(self, given: JSON) -> JSON:
        if "query{viewer" in given["query"]:
            return {"data": {"viewer": {"login": BOT["login"], "databaseId": BOT["id"]}}}
        if "ReviewThread" in given["query"] or "reviewThreads" in given["query"]:
            return github_reviews.graphql(self, given)
        ids = given["variables"]["ids"]
        return {"data": {"nodes": [{"id": each, "isMinimized": each in self.server.minimized} for each in ids]}}

    def _allow(self, *names: str) -> None:
        if not any(self.server.permissions.get(name) == "write" for name in names):
            accepted = "; ".join(f"{name}=write" for name in names)
            raise _Refusal(403, "Resource not accessible by integration", **{"X-Accepted-GitHub-Permissions": accepted})

    # What can be asked

    def permission(self, _: JSON, login: str) -> JSON:
        if login not in self.server.roles:
            raise _Refusal(404, f"{login} is not a user")
        role = self.server.roles[login]
        coarse = {"maintain": "write", "triage": "read"}.get(role, role)
        return {"permission": coarse, "role_name": role, "user": self.server.accounts[login]}

    def read_pull(self, _: JSON, number: str) -> JSON:
        return _there(self.server.pulls, number)

    def read_issue(self, _: JSON, number: str) -> JSON:
        return _there(self.server.issues | self.server.pulls, number)

    def read_comments(self, _: JSON, number: str) -> list[JSON]:
        return [each for each in self.server.comments if each["_number"] == int(number)]

    def all_comments(self, _: JSON) -> list[JSON]:
        return self.server.comments

    def all_lines(self, _: JSON) -> list[JSON]:
        return self.server.lines

    def read_lines(self, _: JSON, number: str) -> list[JSON]:
        return [each for each in self.server.lines if each["_number"] == int(number)]

    def read_reviews(self, _: JSON, number: str) -> list[JSON]:
        return [each for each in self.server.reviews if each["_number"] == int(number)]

    def read_events(self, _: JSON, number: str) -> list[JSON]:
        return [each for each in self.server.events if each["_number"] == int(number)]

    def read_commits(self, _: JSON, number: str) -> list[JSON]:
        pull = _there(self.server.pulls, number)
        git = self.server.root / f"{self.server.name}.git"
        names = _git(git, "rev-list", "--reverse", f"{pull['base']['sha']}..{pull['head']['sha']}").splitlines()
        return [{"sha": name, "node_id": f"C_{name}"} for name in names]

    def activity(self, repo: str) -> list[JSON]:
        """Of this repository and of forks; the newest first."""
        if self.server.activities is None:
            raise _Refusal(403, "Resource not accessible by integration")
        query = parse_qs(urlsplit(self.path).query)
        ref = query.get("ref", [""])[0]
        entries = [each for each in self.server.activities if each["_repo"] == repo and ref in ("", each["ref"])]
        return sorted(entries, key=lambda each: str(each["timestamp"]), reverse=True)

    def check_suites(self, _: JSON, sha: str) -> JSON:
        entries = [each for each in self.server.suites if each["head_sha"] == sha]
        return {"total_count": len(entries), "check_suites": entries}

    def all_runs(self, _: JSON) -> JSON:
        """Only with `actions: read`, as `workflow_runs`. Those of a pull request have its branch and repository."""
        if self.server.runs is None:
            raise _Refusal(403, "Resource not accessible by integration")
        sha = parse_qs(urlsplit(self.path).query)["head_sha"][0]
        entries = [each for each in self.server.runs if each.get("head_sha") == sha]
        return {"total_count": len(entries), "workflow_runs": entries}

    def read_comment(self, _: JSON, identity: str) -> JSON:
        return _there({each["id"]: each for each in self.server.comments}, identity)

    def read_files(self, _: JSON, number: str) -> list[JSON]:
        return self.server.files.get(int(number), [])

    def comment(self, given: JSON, number: str) -> JSON:
        self._allow("issues", "pull_requests")
        return self.server.say(int(number), BOT["login"], _body(given))

    def reply(self, given: JSON, number: str, to: str) -> JSON:
        self._allow("pull_requests")
        asked = self.read_line({}, to)
        if asked.get("in_reply_to_id"):
            raise _Refusal(422, "Validation Failed: replies to replies are not supported")
        text = _body(given)
        return self.server.say_on_line(int(number), BOT["login"], text, path=asked["path"], reply_to=int(to))

    def edit(self, given: JSON, kind: str, identity: str) -> JSON:
        self._allow("issues", "pull_requests")
        among = self.server.lines if kind == "pulls" else self.server.comments
        found = next((each for each in among if each["id"] == int(identity)), None)
        if found is None:
            raise _Refusal(404, "Not Found")
        found |= {"body": _body(given), "updated_at": _time(0)}
        return found

    def react(self, given: JSON, kind: str, identity: str) -> JSON:
        self._allow("issues", "pull_requests")
        self.server.reactions.append((kind, int(identity), given["content"]))
        return {"id": 1, "content": given["content"]}

    def pulls_of(self, _: JSON, sha: str) -> list[JSON]:
        """GitHub knows this of its own branches' commits only, not of forks'."""
        own = [pull for pull in self.server.pulls.values() if pull["head"]["repo"] == pull["base"]["repo"]]
        return [pull for pull in own if pull["head"]["sha"] == sha]

    def read_line(self, _: JSON, identity: str) -> JSON:
        return _there({each["id"]: each for each in self.server.lines}, identity)

    def check_runs(self, _: JSON, sha: str) -> JSON:
        name = parse_qs(urlsplit(self.path).query).get("check_name", [""])[0]
        found = [each for each in self.server.checks if each["head_sha"] == sha and name in ("", each["name"])]
        return {"total_count": len(found), "check_runs": found}

    def workflow_runs(self, _: JSON, workflow: str) -> JSON:
        """Only with `actions: read`, that is, when the test has given runs."""
        if self.server.runs is None:
            raise _Refusal(403, "Resource not accessible by integration")
        query = parse_qs(urlsplit(self.path).query)
        since = query["created"][0].removeprefix(">=")
        found = [
            {"id": each["id"], "path": f".github/workflows/{workflow}", "actor": user, "created_at": each["created_at"]}
            for each in self.server.runs
            for user in [self.server.accounts[each["login"]]]
            if each["login"] == query["actor"][0] and each["created_at"] >= since
        ]
        return {"total_count": len(found), "workflow_runs": found}

    # How the repository is set up

    def about(self, _: JSON) -> JSON:
        return self.server.repository() | {"archived": self.server.archived}

    def _administration(self) -> None:
        if self.server.actions is None:
            raise _Refusal(403, "Resource not accessible by personal access token")

    def actions_permissions(self, _: JSON) -> JSON:
        self._administration()
        assert self.server.actions is not None
        return self.server.actions

    def selected_actions(self, _: JSON) -> JSON:
        self._administration()
        return {
            "github_owned_allowed": self.server.allows_own_actions,
            "verified_allowed": False,
            "patterns_allowed": self.server.action_patterns,
        }

    def workflow_permissions(self, _: JSON) -> JSON:
        self._administration()
        return {
            "default_workflow_permissions": self.server.default_permissions,
            "can_approve_pull_request_reviews": self.server.pull_settings.may_create,
        }

    def actions_secrets(self, _: JSON, kind: str) -> JSON:
        return self._secrets(kind.removesuffix("-secrets").replace("secrets", "actions"))

    def environment_secrets(self, _: JSON, name: str) -> JSON:
        return self._secrets(name)

    def _secrets(self, place: str) -> JSON:
        """Names only. None: the token may not read them."""
        if self.server.secrets is None:
            raise _Refusal(403, "Resource not accessible by personal access token")
        names = self.server.secrets.get(place, [])
        secrets = [{"name": name, "created_at": _time(60), "updated_at": _time(60)} for name in names]
        return {"total_count": len(secrets), "secrets": secrets}

    def all_workflows(self, _: JSON) -> JSON:
        git = self.server.root / f"{self.server.name}.git"
        paths = _git(git, "ls-tree", "-r", "--name-only", "main", "--", ".github/workflows").splitlines()
        workflows = [
            {"id": number, "name": path, "path": path, "state": self.server.workflow_states.get(path, "active")}
            for number, path in enumerate(paths, start=1)
        ]
        return {"total_count": len(workflows), "workflows": workflows}

    def read_annotations(self, _: JSON, identity: str) -> list[JSON]:
        return self.server.annotations.get(int(identity), [])

    def contents(self, _: JSON, path: str) -> Any:
        git = self.server.root / f"{self.server.name}.git"
        try:
            kind = _git(git, "cat-file", "-t", f"main:{path}")
        except subprocess.CalledProcessError:
            raise _Refusal(404, "Not Found") from None
        if kind == "tree":
            names = _git(git, "ls-tree", "--name-only", f"main:{path}").splitlines()
            return [{"name": name, "path": f"{path}/{name}", "type": "file"} for name in names]
        content = base64.encodebytes(_git(git, "show", f"main:{path}").encode()).decode()
        return {"path": path, "type": "file", "encoding": "base64", "content": content}

    # Bytes

    def _git(self, path: str, body: bytes) -> None:
        authorization = self.headers.get("Authorization", "")
        wanted = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if authorization and authorization != f"Basic {wanted}":
            self._send(401, b"", {"WWW-Authenticate": 'Basic realm="GitHub"'})
            return
        query = urlsplit(self.path).query
        repository, _, service = path.removeprefix("/").partition(".git/")
        protocol = self.headers.get("Git-Protocol", "")
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        folder = self.server.root / f"{repository}.git"
        if protocol == "version=2" and folder.is_dir() and service == "git-upload-pack":
            self._send(200, _upload_pack(folder, body), {"Content-Type": "application/x-git-upload-pack-result"})
            return
        if protocol == "version=2" and folder.is_dir() and (service, query) == ("info/refs", "service=git-upload-pack"):
            config = (folder / "config").read_bytes()
            kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
            self._send(200, _abilities(config, folder), kind)
            return
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_GIT_PROTOCOL": protocol,
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self._send(int(headers.pop("Status", "200").split()[0]), rest, headers)

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(_sent(answer)).encode()
        self.server.requests.append((self.command, urlsplit(self.path).path, status))
        self.send_response(status)
        kind = {} if isinstance(answer, bytes) else {"Content-Type": "application/json; charset=utf-8"}
        for name, value in (kind | headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drop(self) -> None:
        self.server.requests.append((self.command, urlsplit(self.path).path, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


_ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", r"/collaborators/([^/]+)/permission", _Handler.permission),
    ("GET", r"/pulls/(\d+)", _Handler.read_pull),
    ("GET", r"/pulls/comments/(\d+)", _Handler.read_line),
    ("GET", r"/issues/(\d+)", _Handler.read_issue),
    ("GET", r"/issues/(\d+)/(?:events|timeline)", _Handler.read_events),
    ("GET", r"/issues/comments/(\d+)", _Handler.read_comment),
    ("GET", r"/pulls/(\d+)/commits", _Handler.read_commits),
    ("GET", r"/commits/([0-9a-f]+)/check-suites", _Handler.check_suites),
    ("GET", r"/actions/runs", _Handler.all_runs),
    ("GET", r"/issues/(\d+)/comments", _Handler.read_comments),
    ("GET", r"/issues/comments", _Handler.all_comments),
    ("GET", r"/pulls/comments", _Handler.all_lines),
    ("GET", r"/pulls/(\d+)/comments", _Handler.read_lines),
    ("GET", r"/pulls/(\d+)/reviews", _Handler.read_reviews),
    ("GET", r"/pulls/(\d+)/files", _Handler.read_files),
    ("POST", r"/issues/(\d+)/comments", _Handler.comment),
    ("POST", r"/pulls/(\d+)/comments/(\d+)/replies", _Handler.reply),
    ("PATCH", r"/(issues|pulls)/comments/(\d+)", _Handler.edit),
    ("POST", r"/(issues|pulls)/comments/(\d+)/reactions", _Handler.react),
    ("POST", r"/(issues)/(\d+)/reactions", _Handler.react),
    ("GET", r"/commits/([0-9a-f]+)/pulls", _Handler.pulls_of),
    ("GET", r"/commits/([0-9a-f]+)/check-runs", _Handler.check_runs),
    ("GET", r"/check-runs/(\d+)/annotations", _Handler.read_annotations),
    ("GET", r"/actions/workflows/([^/]+)/runs", _Handler.workflow_runs),
    ("GET", r"/contents/(.+)", _Handler.contents),
    ("GET", r"", _Handler.about),
    ("GET", r"/actions/permissions", _Handler.actions_permissions),
    ("GET", r"/actions/permissions/selected-actions", _Handler.selected_actions),
    ("GET", r"/actions/permissions/workflow", _Handler.workflow_permissions),
    ("GET", r"/actions/(secrets|organization-secrets)", _Handler.actions_secrets),
    ("GET", r"/environments/([^/]+)/secrets", _Handler.environment_secrets),
    ("GET", r"/actions/workflows", _Handler.all_workflows),
    *github_git_data.ROUTES,
    *github_pulls.ROUTES,
    *github_outputs.ROUTES,
    *github_reviews.ROUTES,
    *github_actions.ROUTES,
)


def _sent(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _sent(value) for key, value in answer.items() if key[0] != "_" or key.startswith("__")}
    return [_sent(each) for each in answer] if isinstance(answer, list) else answer


def _route(method: str, path: str) -> str:
    """`GET comments`, `PATCH comments`, `GET permission`, `POST graphql`: the last part that is no number."""
    return f"{method} {[part for part in path.split('/') if part and not part.isdigit()][-1]}"


def _there(things: dict[int, JSON], number: str) -> JSON:
    if int(number) not in things:
        raise _Refusal(404, "Not Found")
    return things[int(number)]


def _body(given: JSON) -> str:
    body: str = given["body"]
    if len(body) > LONGEST_BODY:
        raise _Refusal(422, "Validation Failed: body is too long (maximum is 65536 characters)")
    return body


def _time(ago: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))


@cache
def _template(files: tuple[tuple[str, str], ...]) -> Path:
    """A repository as GitHub serves it and a checkout of it, to be copied: made once for each content."""
    folder = Path(tempfile.mkdtemp(prefix="github-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    served, work = folder / "served.git", folder / "work"
    _git(folder, "init", "-q", "--bare", "--template=", "--initial-branch=main", str(served))
    _git(served, "config", "http.receivepack", "true")
    _git(folder, "init", "-q", "--template=", "-b", "main", str(work))
    _commit(work, dict(files), "start")
    shutil.copy(work / ".git/refs/heads/main", served / "refs/heads/main")
    return folder


def _upload_pack(folder: Path, request: bytes, *options: str) -> bytes:
    """What a fetch is answered, as git's own `http-backend` does it, of which it is two processes less."""
    environment = {"PATH": os.environ["PATH"], "GIT_PROTOCOL": "version=2"}
    command = ["git", "upload-pack", "--stateless-rpc", *options, str(folder)]
    return subprocess.run(command, input=request, env=environment, capture_output=True, check=False).stdout


_ABILITIES: dict[bytes, bytes] = {}


def _abilities(config: bytes, folder: Path) -> bytes:
    """What a fetch is told first: the same of all repositories with the same configuration."""
    if config not in _ABILITIES:
        _ABILITIES[config] = _upload_pack(folder, b"", "--advertise-refs")
    return _ABILITIES[config]


def _commit(work: Path, files: dict[str, str], message: str) -> str:
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    _git(work, "add", "-A")
    _git(work, "-c", "maintenance.auto=false", "commit", "-q", "--allow-empty", "-m", message)
    return _commit_at(work / ".git", "HEAD")


def _commit_on(work: Path, ref: str, parent: str, files: dict[str, str], message: str) -> str:
    """A commit of `files` on a branch, whatever it was before; the work tree stays as it is."""
    stream = [f"commit {ref}\n".encode()]
    for who in ("author Ada Author <ada@example.com>", "committer Carl Committer <carl@example.com>"):
        stream.append(f"{who} {int(time.time())} +0000\n".encode())
    text = message.encode()
    stream += [f"data {len(text)}\n".encode(), text, f"\nfrom {parent}\n".encode()]
    for path, content in files.items():
        data = content.encode()
        stream += [f"M 100644 inline {path}\ndata {len(data)}\n".encode(), data, b"\n"]
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=work, input=b"".join(stream), check=True, capture_output=True)
    return _commit_at(work / ".git", ref)


def _changed_file(file: Path, name: str, text: str) -> JSON:
    """As the list of a pull request's files has it; `file` is as it was before."""
    before = []
    if file.is_file():
        before = file.read_text().splitlines()
    lines = [*difflib.unified_diff(before, text.splitlines(), lineterm="")][2:]
    return {
        "filename": name,
        "status": "modified" if before else "added",
        "additions": sum(line.startswith("+") for line in lines),
        "deletions": sum(line.startswith("-") for line in lines),
        "patch": "\n".join(lines),
    }


def _commit_at(repository: Path, ref: str) -> str:
    text = (repository / ref).read_text().strip()
    if text.startswith("ref: "):
        return _commit_at(repository, text.removeprefix("ref: "))
    return text


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True)
    return done.stdout.strip()
