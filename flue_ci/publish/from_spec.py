"""What a spec says about publishing, as the values that publishers and tools work with."""

from dataclasses import replace

from flue_ci.core.proposals import ProposalRules
from flue_ci.report.report import NewPullRequest, Publishing, Trigger
from flue_ci.spec.schema import MAX_REVIEW_COMMENTS, PUSHES, AgentSpec


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
