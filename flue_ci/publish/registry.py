"""The publishers by name, those that a run needs, and what a spec says about publishing, as the values that publishers
and tools work with."""

from dataclasses import replace

from flue_ci.core.proposals import ProposalRules
from flue_ci.core.registry import Registry
from flue_ci.publish.publisher import Publisher, PublishTarget
from flue_ci.report.report import NewPullRequest, Publishing, Trigger
from flue_ci.spec.schema import MAX_REVIEW_COMMENTS, OTHER_PUBLISHERS, PUSHES, AgentSpec

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
        from flue_ci.publish.ask import AskPublisher

        publishers[target.publishing.changes] = AskPublisher()
    if target.forge is None:
        for name in [name for name, publisher in publishers.items() if publisher.needs_forge]:
            way = f", or here with --publish {name}" if name in PUSHES else " only"
            target.notify(f"`{name}` publishes in GitHub Actions{way}")
            del publishers[name]
    return publishers


def publishing(spec: AgentSpec) -> Publishing:
    """How a spec wants its report published. Links to hosts that the agent may reach anyway can carry no secret out
    that it could not send itself."""
    hosts = spec.sandbox.network.agent
    if isinstance(hosts, str):
        hosts = ()
    wishes = spec.publish
    when = wishes.when or ("checks-pass" if wishes.changes in PUSHES else "always")
    return Publishing(
        comment=wishes.comment,
        links=tuple(hosts),
        changes=wishes.changes,
        when=when,
        branch=wishes.branch,
        commits=wishes.commits,
        protect=wishes.protect,
        allow=wishes.allow,
        pull_request=NewPullRequest(**wishes.pull_request.model_dump()),
        rules=proposal_rules(spec),
        roles=spec.triggers.roles,
        repair=getattr(spec.repair, "attempts", 0),
    )


def proposal_rules(spec: AgentSpec) -> ProposalRules:
    """What an agent may propose for publication, by its spec."""
    wishes = spec.publish
    rules = ProposalRules(change=wishes.changes in PUSHES, labels=wishes.labels)
    if wishes.review:
        rules = replace(rules, review_comments=MAX_REVIEW_COMMENTS)
    if wishes.triage:
        rules = replace(rules, triages=wishes.triage.max, assignees=wishes.triage.assignees)
    if wishes.check_run:
        rules = replace(rules, check_runs=wishes.check_run.max)
    if wishes.reply:
        rules = replace(rules, replies=wishes.reply.max)
    return rules


def rules_for(spec: AgentSpec, trigger: Trigger | None) -> ProposalRules:
    """What makes sense for what the run is about: only issues are triaged, and only a discussion has labels."""
    rules = proposal_rules(spec)
    if trigger is None:
        return rules
    if trigger.is_pull_request or trigger.number is None:
        rules = replace(rules, triages=0, assignees=())
    if trigger.number is None:
        rules = replace(rules, labels=(), replies=0)
    return rules
