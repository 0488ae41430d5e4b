"""`publish.changes: commit`: the changes as a commit on the pull request's own branch, signed by GitHub."""

from flue_ci.core.commits import ChangesForge, CommitRecord
from flue_ci.core.errors import ForgeError
from flue_ci.core.text import one_line
from flue_ci.publish.commit_message import run_name, run_of
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push import Push, PushRefused, create_commits, explain, prepare_push, refused_by_place
from flue_ci.report.report import Published, Report

NO_CI = (
    "CI does not start on it, because the job's own token pushed it: give the action the input push-token, or push a "
    "commit yourself"
)


class CommitPublisher:
    """A `Publisher`. A re-run finds the commit that is there already and makes none."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """The commit, or why there is none. Raises `FlueError` when GitHub is out of reach."""
        try:
            push, commit = await _commit(report, target)
        except PushRefused as refusal:
            return Published(publisher="commit", state="refused", detail=one_line(f"not committed: {refusal}", 500))
        return Published(
            publisher="commit",
            url=commit.url,
            detail=describe_commit(push, commit, target),
            commit=commit.sha,
            verified=commit.verified,
        )


def describe_commit(push: Push, commit: CommitRecord, target: PublishTarget) -> str:
    """Where a commit went, and whether CI starts on it."""
    place = f"on {one_line(target.branch, 100)}"
    if commit.sha and not run_of(commit.message):
        return f"{place}, where somebody has made the very same changes"
    if push.steps:
        place = f"the last of {len(push.steps)} {place}"
    if push.note:
        place = f"{place}, {push.note}"
    if target.push_forge is None:
        if target.publishing.repair:
            return f"{place}. {NO_CI}. Without CI the repair stops after this one commit"
        return f"{place}. {NO_CI}"
    return f"{place}. CI starts on it"


async def _commit(report: Report, target: PublishTarget) -> tuple[Push, CommitRecord]:
    forge = target.forge
    if reason := refused_by_place(report, target):
        raise PushRefused(reason)
    if not isinstance(forge, ChangesForge):
        raise PushRefused("this forge takes no commits")
    push = await prepare_push(report, target)
    head = await forge.branch_head(target.branch)
    if head != push.source.head:
        return push, await _earlier_commit(forge, push, head, target.branch, run_name(report))
    commit = await create_commits(forge, push, [head])
    mover = target.push_forge or forge
    try:
        await mover.move_branch(target.branch, commit.sha)
    except ForgeError as error:
        raise explain(error, target.branch) from error
    return push, commit


async def _earlier_commit(forge: ChangesForge, push: Push, head: str, branch: str, run: str) -> CommitRecord:
    """The commit of these very changes that stands on the branch already: an earlier attempt made it. Raises
    `PushRefused` when there is none."""
    if not head:
        raise PushRefused(f"branch {one_line(branch, 100)} is no longer there")
    base = push.source.head
    try:
        commits = await forge.commits_between(base, head)
    except ForgeError as error:
        raise explain(error) from error
    for commit in commits or ():
        if commit.tree == push.whole.tree and (commit.parents == (base,) or run_of(commit.message) == run):
            return commit
    raise PushRefused(f"branch {one_line(branch, 100)} is at {head[:7]} by now, no longer at {base[:7]}: ask again")
