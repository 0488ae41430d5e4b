"""`--dry-run`: what a run would do, as names and values; nothing is started, nothing is asked of any service."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from flue_ci.agent.system_prompt import build_task
from flue_ci.agent.tools.toolbox import make_tools
from flue_ci.core.permissions import TICK, permissions_of
from flue_ci.core.ports import Limits
from flue_ci.core.text import human_bytes, human_cost, human_seconds, one_line
from flue_ci.git.source import Source
from flue_ci.publish.registry import publisher_names
from flue_ci.report.report import Publishing
from flue_ci.run.commands import HostCommand
from flue_ci.run.plan import PreparedRun, RunPlan
from flue_ci.spec.schema import AgentSpec


async def describe_run(run: PreparedRun, spec: AgentSpec, sandbox: str) -> tuple[dict[str, str], list[str]]:
    """Agent, sandbox, upload, prompt, limits and targets, each as one line for people, and notes. They may have
    secrets. Raises `FlueError` for what the sandbox cannot do, and for a repository that cannot be read."""
    run.services.provider.check(run.plan.request)
    source = await run.services.inputs.source()
    return _rows(run.plan, spec, source, sandbox), [*run.notes, *source.notes]


def _rows(plan: RunPlan, spec: AgentSpec, source: Source, sandbox: str) -> dict[str, str]:
    task = build_task(plan.prompt, f"~/{source.name}")
    tools = json.dumps([asdict(tool.spec) for tool in make_tools(task.tools)])
    request = plan.request
    network = str(plan.prompt.network)
    if plan.setup:
        network = f"{request.network} during setup, then {network}"
    base = f"{source.ref or 'detached'} {source.head[:12]}"
    if source.dirty:
        base += " with uncommitted work"
    return {
        "agent": f"{plan.agent} ({plan.spec})",
        "model": spec.model.name,
        "sandbox": f"{sandbox}, template {request.template}, at most {human_seconds(request.max_seconds)}",
        "network": network,
        "secrets_inside": ", ".join(plan.secrets) or "none",
        "base": base,
        "upload": f"{human_bytes(source.pack_bytes)}, {source.files:,} files",
        "setup": _list_commands(plan.setup),
        "prompt": f"{_size(task.system + tools)} system and tools, {_size(task.prompt)} task",
        "checks": _list_commands(plan.checks),
        "verify": _verification(plan, sandbox),
        "limits": ", ".join(_limits(plan.prompt.limits)),
        "publish": f"{describe_publishing(plan.publish)} (on GitHub; nothing leaves a checkout without --publish)",
    }


def describe_publishing(publishing: Publishing, place: str = "") -> str:
    """What becomes of the result, where (such as `ada/tools#7`), and the permissions that it needs."""
    names = publisher_names(publishing)
    parts = [f"comment: {publishing.comment}", f"changes: {publishing.changes}"]
    parts += [name for name in names if name not in ("comment", publishing.changes)]
    text = ", ".join(parts)
    if place:
        text += f", on {place}"
    more = [TICK] if publishing.when == "ask" and publishing.changes in names else []
    if publishing.repair:
        text, more = f"{text}, repairs of CI: at most {publishing.repair} in a row", [*more, "repair"]
    return f"{text}; needs {needs([*names, *more])}" if names else text


def needs(publishers: Iterable[str]) -> str:
    """`contents: write, pull-requests: write`."""
    permissions = permissions_of(publishers, {"contents": "read"})
    return ", ".join(f"{name}: {level}" for name, level in permissions.items())


def _list_commands(commands: tuple[HostCommand, ...]) -> str:
    return "; ".join(one_line(command.run, 60) for command in commands) or "none"


def _verification(plan: RunPlan, sandbox: str) -> str:
    if not plan.checks:
        return "no checks, so no second sandbox"
    if plan.verify.where == "same":
        return "the checks run in the agent's own sandbox"
    if not plan.verify.isolated:
        return "the checks run in a second folder on this machine, with the base and the changes"
    setup = ", setup again" if plan.setup else ""
    return f"a second {sandbox} sandbox from {plan.request.template}: the base{setup}, the changes, the checks"


def _limits(limits: Limits) -> list[str]:
    parts = []
    if limits.turns:
        parts.append(f"{limits.turns} turns")
    if limits.minutes:
        parts.append(f"{limits.minutes:g} minutes")
    if limits.tokens:
        parts.append(f"{limits.tokens:,} tokens")
    if limits.cost_usd:
        parts.append(human_cost(limits.cost_usd))
    return [*parts, f"{human_seconds(limits.command_seconds)} a command"]


def _size(text: str) -> str:
    return human_bytes(len(text.encode()))
