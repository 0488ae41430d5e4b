"""`--dry-run`: what a run would do, as names and values. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict

from flue_ci.agent.system_prompt import build_task
from flue_ci.agent.tools.definitions import SPECS
from flue_ci.core.text import human_bytes, human_cost, human_seconds, one_line
from flue_ci.git.source import Source
from flue_ci.run.pipeline import Job
from flue_ci.spec.schema import AgentSpec


def describe_run(job: Job, spec: AgentSpec, source: Source, sandbox: str) -> dict[str, str]:
    """Agent, sandbox, upload, prompt, limits and targets, each as one line for people."""
    task = build_task(job.brief, f"~/{source.name}")
    tools = json.dumps([asdict(SPECS[name]) for name in task.tools])
    limits = job.brief.limits
    bounds = [
        f"{limits.turns} turns" if limits.turns else "",
        f"{limits.minutes:g} minutes" if limits.minutes else "",
        f"{limits.tokens:,} tokens" if limits.tokens else "",
        human_cost(limits.cost_usd) if limits.cost_usd else "",
        f"{human_seconds(limits.command_seconds)} a command",
    ]
    network = f"{job.brief.network}" if not job.setup else f"{job.setup_network} during setup, then {job.brief.network}"
    return {
        "agent": f"{job.agent} ({job.spec})",
        "model": spec.model.name,
        "sandbox": f"{sandbox}, template {job.request.template}, at most {human_seconds(job.request.max_seconds)}",
        "network": network,
        "secrets_inside": ", ".join(job.secrets) or "none",
        "base": f"{source.ref or 'detached'} {source.head[:12]}{' with uncommitted work' if source.dirty else ''}",
        "upload": f"{human_bytes(source.pack_bytes)}, {source.files:,} files",
        "setup": "; ".join(one_line(command.run, 60) for command in job.setup) or "none",
        "prompt": f"{_size(task.system + tools)} system and tools, {_size(task.prompt)} task",
        "checks": "; ".join(one_line(check.run, 60) for check in job.checks) or "none",
        "limits": ", ".join(bound for bound in bounds if bound),
        "publish": f"changes: {spec.publish.changes}, comment: {spec.publish.comment} (nothing leaves a checkout)",
    }


def _size(text: str) -> str:
    return human_bytes(len(text.encode()))
