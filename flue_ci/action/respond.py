"""An event of GitHub Actions from its arrival to its answer.

`_respond` is the whole way: find out what the event is about, who asked for which agent, run it, publish the report.
The gate has decided once before anything was installed; here it decides again, with the specs of the trusted commit.
"""

import asyncio
from collections.abc import Mapping

from flue_ci.action.agent_run import end_early, run_for_event
from flue_ci.action.authorize import Rejection, authorize_request, fetch_roles
from flue_ci.action.comment_request import read_command
from flue_ci.action.context import JobContext, open_context, read_event, run_step
from flue_ci.action.feedback import acknowledge, answer_wrong_inputs, post_error, react, reply
from flue_ci.action.job import ActionJob
from flue_ci.action.repair import plan_repair, repairs
from flue_ci.action.target import Target, read_agents
from flue_ci.assembly import preload_adapters
from flue_ci.core.errors import FlueError
from flue_ci.gate.policy import NOT_FOR_US, Allow, Skip, decide
from flue_ci.run.session import Signals
from flue_ci.safety.markdown import escape


def run_action(environ: Mapping[str, str]) -> int:
    """Acts on the event of this job; the exit code is the step's."""
    return run_step(environ, _act, answer_wrong_inputs)


def _act(job: ActionJob, signals: Signals) -> int:
    if job.inputs.report:
        from flue_ci.action.republish import publish_from_job

        return publish_from_job(job, job.inputs.report, signals)
    event = read_event(job.environ)
    settings = job.inputs.gate.with_bot(event.actor)  # the specs, which name bots, are not read yet
    decision = decide(event, settings, read_command)
    if decision == Skip(NOT_FOR_US) != decide(event, settings):  # the gate looks at the lines only
        return job.skip("what looks like a request stands in code, a quote, hidden text or a mail that is answered")
    if not isinstance(decision, Allow):
        return job.skip(decision.reason)
    if decision.tick:
        from flue_ci.action.tick import push_saved_change

        with open_context(job, event, signals) as context:
            return asyncio.run(push_saved_change(context, decision.tick))
    if not decision.command:
        event = event.without_request()
    with open_context(job, event, signals) as context:
        return asyncio.run(_respond(context, decision))


async def _respond(context: JobContext, decision: Allow) -> int:
    """Every ending leaves a report, an answer, a summary and outputs."""
    task = asyncio.current_task()
    assert task is not None
    preload_adapters(context.job.inputs.sandbox)
    with context.signals.cancel(task, context.job.say):
        roles = asyncio.ensure_future(fetch_roles(context.event, context.forge))
        try:
            target = await context.find_target(decision.command)
            agents = await read_agents(context.remote, target, context.trusted_folder)
            request = await authorize_request(context, decision.command, target, agents, roles)
            if isinstance(request, Rejection):
                return await _skip(context, target, request)
            if repairs(context.event, request):
                plan = await plan_repair(context, target, request)
                if isinstance(plan, Rejection):
                    return context.job.skip(plan.reason, f"### CI\n\n{escape(plan.reason)}\n")
                request = plan
            await acknowledge(context)
            return await run_for_event(context, target, request)
        except FlueError as error:
            await post_error(context, error)
            return end_early(context.job, error)
        except asyncio.CancelledError:
            task.uncancel()
            interruption = FlueError("interrupted", hint="the job was cancelled before an agent was started: ask again")
            await post_error(context, interruption)
            return end_early(context.job, interruption, 128 + (context.signals.first or 2))
        finally:
            roles.cancel()
            await asyncio.gather(roles, return_exceptions=True)
            await context.close()


async def _skip(context: JobContext, target: Target, rejection: Rejection) -> int:
    """Nothing to run: a reply to those who may ask, a reaction for those who may not, a notice, green."""
    if rejection.reply and target.number and context.event.is_comment and context.job.inputs.comment:
        await reply(context, target, rejection.reply)
    elif rejection.is_denied and context.event.comment_id:
        await react(context, "confused")
    return context.job.skip(rejection.reason)
