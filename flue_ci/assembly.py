"""Assembly: the one place that chooses adapters and builds a run from a spec, the options and the environment."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flue_ci.agent.loop import AgentLoop
from flue_ci.agent.system_prompt import GUIDANCE_CHARS, PromptParts
from flue_ci.core.errors import UsageError
from flue_ci.core.ports import (
    Engine,
    Forge,
    HeaderRule,
    Limits,
    Model,
    Network,
    Sandbox,
    SandboxProvider,
    SandboxRequest,
)
from flue_ci.core.text import one_line
from flue_ci.git.own_files import read_repository_file
from flue_ci.git.source import Source
from flue_ci.report.report import Publishing
from flue_ci.run.commands import HostCommand
from flue_ci.run.inputs import RunInputs
from flue_ci.run.pipeline import Job, RunServices
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings
from flue_ci.spec.result_schema import violations
from flue_ci.spec.schema import AgentSpec, ModelSpec
from flue_ci.spec.skills import INSIDE, SkillFiles, load_skills
from flue_ci.spec.template import render
from flue_ci.workspace.upload import upload_files

if TYPE_CHECKING:
    from flue_ci.models.claude.client import Claude

OURS = {"flue-ci": "1"}  # every sandbox of ours says so in its metadata
PROVIDERS = ("e2b", "local")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line chose. `isolation` false means `--no-isolation`."""

    provider: str = "e2b"
    isolation: bool = True
    record: Path | None = None
    dry_run: bool = False
    replay: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A run ready to start. `found` gets the source once it has been read; `close` ends what was opened."""

    job: Job
    kit: RunServices
    redact: Redactor
    notes: tuple[str, ...]
    found: list[Source]
    closing: tuple[Callable[[], Awaitable[None]], ...]

    @property
    def source(self) -> Source | None:
        return self.found[0] if self.found else None

    async def close(self) -> None:
        for close in reversed(self.closing):
            await close()


def make_provider(name: str, settings: Settings, *, isolation: bool = True) -> SandboxProvider:
    """The sandbox provider of that name. Raises `UsageError` for an unknown one."""
    if name == "local":
        from flue_ci.sandboxes.local.provider import LocalProvider

        return LocalProvider(isolation=isolation)
    if name == "e2b":
        from flue_ci.sandboxes.e2b.provider import E2BProvider, Timeouts

        timeouts = Timeouts()
        return E2BProvider(
            api_key=settings.e2b_api_key,
            domain=settings.e2b_domain,
            api_url=settings.e2b_api_url,
            sandbox_url=settings.e2b_sandbox_url,
            pace=replace(timeouts, retry_timeout=settings.retry_timeout_seconds or timeouts.retry_timeout),
        )
    raise UsageError(f"there is no sandbox {name!r}", hint=f"choose one of {', '.join(PROVIDERS)}")


def make_forge(settings: Settings, notify: Callable[[str], None], *, retry_timeout: float | None = None) -> Forge:
    """GitHub, for the repository that a workflow runs in. `retry_timeout` in seconds; the settings' by default."""
    from flue_ci.forges.github.client import GitHub

    where = settings.github
    retry_timeout = settings.retry_timeout_seconds if retry_timeout is None else retry_timeout
    return GitHub(
        repo=where.repo,
        token=where.token,
        api_url=where.api_url,
        notify=notify,
        **({} if retry_timeout is None else {"retry_timeout_seconds": retry_timeout}),
    )


def warm_up() -> None:
    """Imports what a run on E2B needs, in a thread of its own: while GitHub is asked, half a second is free. What asks
    it comes first, because imports share one processor."""

    def load() -> None:
        from flue_ci.forges.github import client as github
        from flue_ci.models.claude import client as claude
        from flue_ci.sandboxes.e2b import provider as e2b

        github.preload()
        e2b.preload()
        claude.preload()

    threading.Thread(target=load, name="warm-up", daemon=True).start()


def prepare_run(  # noqa: PLR0913 (the whole of a run comes together here)
    spec: AgentSpec,
    *,
    spec_path: Path,
    origin: RunInputs,
    instruction: str,
    options: RunOptions,
    settings: Settings,
    signal: Callable[[], int],
) -> PreparedRun:
    """Everything for a run; nothing is started, nothing is spent. Raises `UsageError` for what is missing."""
    skills, notes = load_skills(origin.trusted_folder, spec.skills)
    secrets = _secrets(spec, settings)
    redact = Redactor([*secrets_of(settings.environ), *secrets.values()])
    handled = _handled(settings, secrets)
    notes = (*notes, *_warnings(spec, options))
    provider = make_provider(options.provider, settings, isolation=options.isolation)
    if not options.dry_run:
        _need_keys(options, settings)
    model, prepare = _model(spec, options, settings, redact.redact_value)
    found: list[Source] = []

    async def source() -> Source:
        found.append(await origin.source())
        return found[0]

    async def engine() -> tuple[Engine, str]:
        await asyncio.to_thread(prepare)
        gc.enable()  # off since the start, see `__main__`
        return AgentLoop(model, violations=violations), model.name

    async def place_files(box: Sandbox) -> None:
        await _place(skills, box)

    return PreparedRun(
        job=replace(_job(spec, spec_path, origin, instruction, secrets, skills), model=model.name),
        kit=RunServices(
            provider=provider,
            source=source,
            engine=engine,
            place_files=place_files,
            holds_secret=handled.holds_secret,
            signal=signal,
            discussion=origin.discussion,
        ),
        redact=redact,
        notes=notes,
        found=found,
        closing=(model.close,),
    )


def _handled(settings: Settings, secrets: dict[str, str]) -> Redactor:
    """Of a patch, only what this run handles: any other variable may hold a word such as `postgres`."""
    keys = (settings.anthropic_api_key, settings.anthropic_auth_token, settings.e2b_api_key, settings.github.token)
    return Redactor([*secrets.values(), *keys])


def _job(
    spec: AgentSpec,
    spec_path: Path,
    origin: RunInputs,
    instruction: str,
    secrets: dict[str, str],
    skills: tuple[SkillFiles, ...],
) -> Job:
    setup_network, told = _network(spec, "setup", secrets), _brief(spec, origin, instruction, secrets, skills)
    limit = spec.sandbox.timeout
    return Job(
        agent=spec.name,
        instruction=instruction,
        model=spec.model.name,
        spec=_shown(spec_path, origin.trusted_folder),
        brief=told,
        request=SandboxRequest(
            template=spec.sandbox.template,
            max_seconds=limit,
            env=dict(spec.sandbox.env) | {name: secrets[name] for name in spec.sandbox.visible_secrets},
            metadata=OURS | {"agent": spec.name, "repo": origin.name, "run": origin.run},
            network=setup_network if spec.sandbox.setup else told.network,
        ),
        setup_network=setup_network,
        setup=tuple(
            HostCommand(kind="setup", name=one_line(command, 40), run=command, timeout=limit)
            for command in spec.sandbox.setup
        ),
        checks=tuple(
            HostCommand(kind="check", name=check.name, run=check.run, timeout=check.timeout) for check in spec.checks
        ),
        secrets=spec.sandbox.visible_secrets,
        wants_changes=spec.publish.changes != "none",
        trigger=origin.trigger,
        publish=publishing(spec),
    )


def publishing(spec: AgentSpec) -> Publishing:
    """What a spec asks of whoever publishes. Hosts that the sandbox may reach are no secret way out in a link."""
    network = spec.sandbox.network
    lists = [tuple(rule) for rule in (network.setup, network.agent) if not isinstance(rule, str)]
    return Publishing(
        comment=spec.publish.comment, links=tuple(dict.fromkeys(host for hosts in lists for host in hosts))
    )


def _brief(
    spec: AgentSpec, origin: RunInputs, instruction: str, secrets: dict[str, str], skills: tuple[SkillFiles, ...]
) -> PromptParts:
    variables: dict[str, object] = {
        "agent": {"name": spec.name, "description": spec.description},
        **origin.variables,
    }
    if instruction.strip():
        variables["instruction"] = instruction
    prompt = render(spec.prompt, variables)
    if instruction.strip() and instruction.strip() not in prompt:
        prompt = f"{prompt.rstrip()}\n\n{instruction.strip()}"  # a prompt that does not ask for it gets it all the same
    return PromptParts(
        instructions=render(spec.instructions, variables),
        prompt=prompt,
        guidance=_guidance(origin.trusted_folder),
        skills=tuple(skill.inside("~") for skill in skills),
        network=_network(spec, "agent", secrets),
        check_commands=tuple(check.run for check in spec.checks),
        tools=tuple(spec.tools),
        limits=Limits(
            turns=spec.limits.turns,
            minutes=spec.limits.minutes,
            tokens=spec.limits.tokens,
            cost_usd=spec.limits.cost_usd,
            command_seconds=spec.limits.command_seconds,
        ),
        result_schema=spec.result,
    )


def _network(spec: AgentSpec, phase: str, secrets: dict[str, str]) -> Network:
    rule = getattr(spec.sandbox.network, phase)
    inject = tuple(
        HeaderRule(host=header.host, header=header.header, value=_filled(header.value, secrets))
        for header in spec.sandbox.network.inject
    )
    if isinstance(rule, str):
        return Network(mode="open" if rule == "open" else "none", inject=inject if rule == "open" else ())
    return Network(mode="hosts", hosts=tuple(rule), inject=inject)


def _filled(text: str, secrets: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: secrets[match[1]], text)


def _secrets(spec: AgentSpec, settings: Settings) -> dict[str, str]:
    missing = [name for name in spec.sandbox.secrets if not settings.environ.get(name)]
    if missing:
        raise UsageError(
            f"the spec wants {', '.join(missing)}, but the environment has no such variable",
            hint=f"export {missing[0]}=…, or take it out of `sandbox.secrets`",
        )
    return {name: settings.environ[name] for name in spec.sandbox.secrets}


def _model(
    spec: AgentSpec, options: RunOptions, settings: Settings, clean: Callable[[object], object]
) -> tuple[Model, Callable[[], None]]:
    """The model, and what takes time to prepare it. Raises `UsageError` for whatever can be known to be wrong by
    now."""
    from flue_ci.models.replay import Recorder, Replay

    model: Model
    if options.replay:
        model, prepare = Replay(options.replay), _nothing
    else:
        claude = _claude(spec.model, settings)
        model, prepare = claude, claude.prepare
    record = options.record if not options.dry_run else None
    return (Recorder(model, record, clean=clean) if record else model), prepare


def _nothing() -> None:
    pass


def _claude(spec: ModelSpec, settings: Settings) -> Claude:
    from flue_ci.models.claude.client import Claude, ClaudeSettings

    wanted = ClaudeSettings(
        model=spec.name,
        max_output_tokens=spec.max_output_tokens,
        effort=spec.effort,
        thinking=spec.thinking,
        api_key=settings.anthropic_api_key or None,  # None: the SDK looks for ANTHROPIC_AUTH_TOKEN
        base_url=spec.base_url or settings.anthropic_base_url or None,
        prices=spec.prices.to_prices() if spec.prices else None,
    )
    return Claude(
        replace(
            wanted,
            retry_timeout_seconds=settings.retry_timeout_seconds or wanted.retry_timeout_seconds,
            first_byte_seconds=settings.idle_seconds or wanted.first_byte_seconds,
            idle_seconds=settings.idle_seconds or wanted.idle_seconds,
        )
    )


def _warnings(spec: AgentSpec, options: RunOptions) -> Iterator[str]:
    """What people should see before it starts."""
    if not options.isolation:
        yield "--no-isolation: the agent's commands run on this machine as you, with your files and your network"
    if spec.model.base_url:
        yield f"the spec sends the conversation and the model's key to {spec.model.base_url}"
    if spec.sandbox.visible_secrets:
        yield f"visible to everything in the sandbox: {', '.join(spec.sandbox.visible_secrets)}"


def _need_keys(options: RunOptions, settings: Settings) -> None:
    if options.provider == "e2b" and not settings.e2b_api_key.strip():
        raise UsageError("E2B_API_KEY is not set", hint="export E2B_API_KEY=…, or run with --sandbox local")
    if not options.replay and not (settings.anthropic_api_key.strip() or settings.anthropic_auth_token.strip()):
        raise UsageError("ANTHROPIC_API_KEY is not set", hint="export ANTHROPIC_API_KEY=…; `flue-ci demo` needs no key")


async def check_model(name: str, settings: Settings) -> None:
    """Asks the API for the model by name. Raises `ModelError`."""
    model = _claude(ModelSpec(name=name), settings)
    try:
        await model.check()
    finally:
        await model.close()


def diagnose_local() -> tuple[bool, str, str]:
    """Whether the local sandbox works here, what was found, and what to do."""
    from flue_ci.sandboxes.local.provider import diagnose

    return diagnose()


def _guidance(repo: Path) -> str:
    return read_repository_file(repo, repo / "AGENTS.md", 4 * GUIDANCE_CHARS)


def _shown(path: Path, repo: Path) -> str:
    return path.relative_to(repo).as_posix() if path.is_relative_to(repo) else str(path)


async def _place(skills: tuple[SkillFiles, ...], box: Sandbox) -> None:
    await upload_files(
        box, {f"{INSIDE}/{skill.name}/{inside}": path for skill in skills for inside, path in skill.files}
    )


__all__ = ["OURS", "PROVIDERS", "PreparedRun", "RunOptions", "make_provider", "prepare_run"]
