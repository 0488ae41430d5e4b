"""The publishers by name, and those that a run needs."""

from flue_ci.core.registry import Registry
from flue_ci.publish.ask import AskPublisher
from flue_ci.publish.publisher import Publisher, PublishTarget
from flue_ci.spec.publish_schema import OTHER_PUBLISHERS

PUBLISHERS = Registry(
    kind="publisher",
    group=OTHER_PUBLISHERS.group,
    built_in={
        "commit": "flue_ci.publish.commit:CommitPublisher",
        "labels": "flue_ci.publish.proposals:LabelsPublisher",
        "triage": "flue_ci.publish.proposals:TriagePublisher",
        "check-run": "flue_ci.publish.proposals:CheckRunPublisher",
        "reply": "flue_ci.publish.proposals:ReplyPublisher",
        "comment": "flue_ci.publish.progress_comment:CommentPublisher",
        "review": "flue_ci.publish.review:ReviewPublisher",
    },
)


def load_publishers(changes: str, target: PublishTarget) -> dict[str, Publisher]:
    """New publishers for one run: the one that `publish.changes` of the spec names, if any, those of the agent's
    proposals, then the comment, so that it can show what became of the rest. Raises `UsageError` for one that cannot be
    imported."""
    rules = target.publishing.rules
    proposals = {
        "review": rules.review_comments,
        "labels": rules.labels,
        "triage": rules.triages,
        "check-run": rules.check_runs,
        "reply": rules.replies,
    }
    names = [name for name, is_wanted in proposals.items() if is_wanted and PUBLISHERS.knows(name)]
    if changes not in ("patch", "none") and PUBLISHERS.knows(changes):
        names.insert(0, changes)
    if target.publishing.comment != "none" and target.number is not None:
        names.append("comment")
    publishers: dict[str, Publisher] = {name: PUBLISHERS.load(name)() for name in names}
    if target.publishing.when == "ask" and target.publishing.changes in publishers:
        publishers[target.publishing.changes] = AskPublisher()
    if target.forge is None:
        for name in [name for name, publisher in publishers.items() if publisher.needs_forge]:
            target.notify(f"`{name}` publishes in GitHub Actions only")
            del publishers[name]
    return publishers
