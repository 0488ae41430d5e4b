"""The publishers by name, and those that a run needs."""

from flue_ci.core.registry import Registry
from flue_ci.publish.ask import AskPublisher
from flue_ci.publish.publisher import Publisher, PublishTarget
from flue_ci.report.report import Publishing
from flue_ci.spec.schema import OTHER_PUBLISHERS, PUSHES

PUBLISHERS = Registry(
    kind="publisher",
    group=OTHER_PUBLISHERS.group,
    built_in={
        "commit": "flue_ci.publish.commit:CommitPublisher",
        "pull-request": "flue_ci.publish.pull_request:PullRequestPublisher",
        "suggest": "flue_ci.publish.suggest:SuggestPublisher",
        "labels": "flue_ci.publish.proposals:LabelsPublisher",
        "triage": "flue_ci.publish.proposals:TriagePublisher",
        "check-run": "flue_ci.publish.proposals:CheckRunPublisher",
        "reply": "flue_ci.publish.proposals:ReplyPublisher",
        "comment": "flue_ci.publish.progress_comment:CommentPublisher",
        "review": "flue_ci.publish.review:ReviewPublisher",
    },
)


def publisher_names(publishing: Publishing) -> list[str]:
    """The publishers that a spec wants: the one that `publish.changes` names, if any, those of the agent's proposals,
    then the comment, so that it can show what became of the rest."""
    rules, changes = publishing.rules, publishing.changes
    proposals = {
        "review": rules.review_comments,
        "labels": rules.labels,
        "triage": rules.triages,
        "check-run": rules.check_runs,
        "reply": rules.replies,
    }
    names = [name for name, is_wanted in proposals.items() if is_wanted]
    if changes not in ("patch", "none") and PUBLISHERS.knows(changes):
        names.insert(0, changes)
    if publishing.comment != "none":
        names.append("comment")
    return names


def load_publishers(target: PublishTarget, *, only_comment: bool = False) -> dict[str, Publisher]:
    """New publishers for one run, those of its spec; `only_comment`: the rest is left to a later job. Raises
    `UsageError` for one that cannot be imported."""
    names = publisher_names(target.publishing)
    if target.number is None:
        names = [name for name in names if name != "comment"]
    if only_comment:
        names = [name for name in names if name == "comment"]
    publishers: dict[str, Publisher] = {name: PUBLISHERS.load(name)() for name in names}
    if target.publishing.when == "ask" and target.publishing.changes in publishers:
        publishers[target.publishing.changes] = AskPublisher()
    if target.forge is None:
        for name in [name for name, publisher in publishers.items() if publisher.needs_forge]:
            way = f", or here with --publish {name}" if name in PUSHES else " only"
            target.notify(f"`{name}` publishes in GitHub Actions{way}")
            del publishers[name]
    return publishers
