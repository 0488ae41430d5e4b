"""Reviews of one pull request, as often as a test wants: the real tools, forge client and publisher over the GitHub of
the tests."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from flue_ci.action.review_scope import read_review_scope
from flue_ci.agent.tools.review import CloseFinding, ReviewCommentTool
from flue_ci.agent.tools.tool import ToolContext, ToolError, ToolOutput
from flue_ci.core.proposals import Proposal, ProposalRules
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.review_scope import ReviewScope
from flue_ci.forges.github.client import GitHub
from flue_ci.git.command import git_in
from flue_ci.git.fetch import Remote
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.review import ReviewPublisher
from flue_ci.report.report import Published, Publishing, Report, ReviewRecord, SandboxUsed, Trigger
from flue_ci.run.review_text import review_text
from tests.support.github_server import JSON, TOKEN, GitHubServer
from tests.support.scripted import MemorySandbox

WRITES = {"contents": "write", "issues": "write", "pull_requests": "write"}
RULES = ProposalRules(review_comments=30)
ROLES = ("admin", "maintain", "write")


def finding(line: int, **more: Any) -> dict[str, Any]:
    values = {"path": "app.py", "line": line, "severity": "high", "category": "correctness", "title": "It is wrong"}
    return values | more


class Reviewing:
    """A pull request, and an agent that reviews it. What it is told is in `scope`, what its tools said in `answers`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.github = GitHubServer(folder)
        self.github.permissions |= WRITES
        self.runs = 0
        self.requests = 0
        self.notices: list[str] = []

    def open(self, before: dict[str, str], after: dict[str, str]) -> None:
        self.work = self.github.repo("ada/tools", before)
        self.pull = self.github.pull(self.work, after)

    def push(self, files: dict[str, str | None], *, force: bool = False) -> None:
        """Another commit, in which None deletes a file; with `force` instead of those before."""
        number = self.pull["number"]
        removals = [path for path, text in files.items() if text is None]
        texts = {path: text for path, text in files.items() if text is not None}
        if removals and not force:
            self.git("checkout", "-q", self.pull["head"]["sha"])
            self.git("rm", "-q", *removals)
            self.git("-c", "maintenance.auto=false", "commit", "-q", "-m", "removed")
            sha = self.git("rev-parse", "HEAD")
            self.git("push", "-q", "--force", "origin", f"HEAD:refs/pull/{number}/head")
            self.git("checkout", "-q", "main")
            self.pull["head"]["sha"] = sha
        self.github.push(self.work, self.pull, texts, force=force)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.work, check=True, capture_output=True, text=True
        ).stdout.strip()

    async def review(
        self,
        *calls: dict[str, Any],
        looked_at: tuple[str, ...] = ("app.py",),
        complete: bool = True,
        in_thread: int | None = None,
    ) -> Published:
        """One run: its calls of the tools in turn, those with an `outcome` of `close_finding`."""
        self.runs += 1
        forge = GitHub(
            repo="ada/tools",
            token=TOKEN,
            api_url=f"{self.github.url}/api/v3",
            graphql_url=f"{self.github.url}/api/graphql",
            retry=RetryPolicy(timeout=5.0, first_wait=0.01),
        )
        head = self.pull["head"]["sha"]
        trigger = Trigger(
            event="pull_request.synchronize",
            repo="ada/tools",
            number=self.pull["number"],
            is_pull_request=True,
            head_sha=head,
            in_thread=in_thread,
            run_url=f"{self.github.url}/ada/tools/actions/runs/{self.runs}",
        )
        publishing = Publishing(rules=RULES, roles=ROLES)
        scope, self.notes = await read_review_scope(
            forge,
            Remote(url=f"{self.github.url}/ada/tools.git", token=TOKEN, scratch=self.folder),
            git_in(self.github.root / "ada/tools.git"),
            agent="review",
            publishing=publishing,
            trigger=trigger,
            base=self.git("rev-parse", "main"),
        )
        self.scope, self.text = scope, review_text(scope)
        self.proposals, self.answers = await call_tools(scope, calls)
        record = ReviewRecord(
            head=head,
            since=scope.since,
            changed_files=len(scope.changed_paths),
            looked_at=looked_at,
            moves=scope.moves,
            complete=complete,
            asked_about=scope.asked_about,
        )
        self.report = Report(
            conclusion="success",
            reason="done",
            exit_code=0,
            agent="review",
            sandbox=SandboxUsed(provider="e2b"),
            trigger=trigger,
            publish=publishing,
            proposals=tuple(self.proposals),
            review=record,
            started=f"2026-11-28T10:00:{self.runs:02}Z",
        )
        return await self.publish(forge)

    async def publish(self, forge: GitHub | None = None) -> Published:
        """Publishes the last report, perhaps once more."""
        forge = forge or GitHub(
            repo="ada/tools",
            token=TOKEN,
            api_url=f"{self.github.url}/api/v3",
            graphql_url=f"{self.github.url}/api/graphql",
            retry=RetryPolicy(timeout=5.0, first_wait=0.01),
        )
        target = PublishTarget(
            publishing=self.report.publish,
            repository="ada/tools",
            server_url=self.github.url,
            number=self.pull["number"],
            forge=forge,
            notify=self.notices.append,
            show_error=lambda *_: None,
        )
        published = await ReviewPublisher().publish(self.report, b"", target)
        self.requests = forge.requests
        return published

    @property
    def threads(self) -> list[JSON]:
        """The first comments of our threads."""
        return [line for line in self.github.lines if not line.get("in_reply_to_id") and "flue-ci" in line["body"]]

    @property
    def resolved(self) -> list[str]:
        return [self.github.review_state.resolved.get(thread["id"], "") for thread in self.threads]

    def reply(self, login: str, body: str, thread: int = 0) -> JSON:
        return self.github.say_on_line(
            self.pull["number"], login, body, path="app.py", reply_to=self.threads[thread]["id"]
        )


async def call_tools(scope: ReviewScope, calls: tuple[dict[str, Any], ...]) -> tuple[list[Proposal], list[str]]:
    """What these calls of the tools propose, and what the model is told."""
    comments, closings = ReviewCommentTool(), CloseFinding()
    rules = replace(RULES, review=scope)
    context = ToolContext(sandbox=MemorySandbox(), workdir="/home/user/tools", command_seconds=60.0, rules=rules)
    proposals, answers = [], []
    for call in calls:
        tool: ReviewCommentTool | CloseFinding = closings if "outcome" in call else comments
        try:
            output = await tool.call(call, context)
        except ToolError as error:
            output = ToolOutput(text=str(error), is_error=True)
        answers.append(output.text)
        if output.proposal:
            proposals.append(output.proposal)
    return proposals, answers
