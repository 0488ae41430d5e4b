"""Assembly: the one place that chooses adapters and builds a run from a spec, the options and the environment."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flue_ci.agent.loop import AgentLoop
from flue_ci.agent.system_prompt import GUIDANCE_CHARS, PromptParts, Skill
from flue_ci.agent.tools.toolbox import make_tools
from flue_ci.core.errors import UsageError
from flue_ci.core.ports import (
    EngineRequirements,
    Forge,
    HeaderRule,
    Limits,
    Model,
    ModelOptions,
    Network,
    SandboxProvider,
    SandboxRequest,
    WithoutIsolation,
)
from flue_ci.core.startup import fast_startup
from flue_ci.core.text import one_line
from flue_ci.git.contents import ContentOptions
from flue_ci.git.path_rules import read_repository_file
from flue_ci.models.registry import DEFAULT_PROVIDER, MODELS
from flue_ci.publish.registry import publishing, rules_for
from flue_ci.run.commands import HostCommand
from flue_ci.run.plan import RESCUE_SECONDS, PreparedRun, RunInputs, RunOptions, RunPlan, RunServices, VerifyPlan
from flue_ci.safety.encoded_values import MIN_LENGTH
from flue_ci.safety.redact import Redactor, secrets_of, unmaskable
from flue_ci.sandboxes.registry import OWN_METADATA, SANDBOXES
from flue_ci.settings import GitHubSettings, Settings
from flue_ci.spec.hidden_text import visible_text
from flue_ci.spec.result_schema import violations
from flue_ci.spec.schema import AgentSpec, ModelSpec, SubmodulesSpec
from flue_ci.spec.skills import INSIDE, load_skills
from flue_ci.spec.template import render

if TYPE_CHECKING:
    from flue_ci.forges.github.setup import RepositorySetup


def make_provider(name: str, settings: Settings, *, no_isolation: bool = False) -> SandboxProvider:
    """The sandbox provider of that name. Raises `UsageError` for an unknown one."""
    provider: SandboxProvider = SANDBOXES.load(name).from_settings(settings)
    if not no_isolation:
        return provider
    if not isinstance(provider, WithoutIsolation):
        raise UsageError("--no-isolation goes with --sandbox local only")
    return provider.without_isolation()


def make_forge(
    settings: Settings,
    notify: Callable[[str], None],
    *,
    retry_timeout: float | None = None,
    record: Callable[[str], None] | None = None,
) -> Forge:
    """GitHub, for the repository that a workflow runs in. `retry_timeout` in seconds; the settings' by default. With
    `record` nothing is written: it gets a line for each request that would."""
    from flue_ci.forges.github.client import DryRunGitHub, GitHub
    from flue_ci.forges.github.retry import RETRY_POLICY

    github = settings.github
    timeout = retry_timeout or settings.retry_timeout_seconds or RETRY_POLICY.timeout
    make: Callable[..., Forge] = partial(DryRunGitHub, record) if record else GitHub
    return make(
        repo=github.repo,
        token=github.token,
        api_url=github.api_url,
        graphql_url=github.graphql_url,
        retry=replace(RETRY_POLICY, timeout=timeout),
        notify=notify,
    )


def make_push_forge(
    settings: Settings, notify: Callable[[str], None], learn: Callable[[str], None], *, pull_requests: bool = False
) -> Forge | None:
    """GitHub with a token whose pushes start workflows, see `forges.github.app`; None when there is none."""
    from flue_ci.forges.github.app import open_push_forge

    return open_push_forge(settings, notify, learn, pull_requests=pull_requests)


async def examine_github(settings: GitHubSettings) -> "RepositorySetup":
    """What the repository `settings.repo` has of what its agents need on GitHub."""
    from flue_ci.forges.github.setup import examine_setup

    return await examine_setup(settings)


def preload_adapters(sandbox: str) -> None:
    """Imports what a run on GitHub needs, in a thread of its own: while GitHub is asked, half a second is free.

    GitHub's client comes first, because imports share one processor. A model of another vendor is imported later."""

    def load() -> None:
        from flue_ci.forges.github import client as github

        with fast_startup():
            github.preload()
            SANDBOXES.load(sandbox).preload()
            MODELS.load(DEFAULT_PROVIDER).preload()

    threading.Thread(target=load, name="preload", daemon=True).start()


def prepare_run(
    spec: AgentSpec,
    *,
    spec_path: Path,
    inputs: RunInputs,
    options: RunOptions,
    settings: Settings,
    signal: Callable[[], int],
) -> PreparedRun:
    """Everything for a run; nothing is started, nothing is spent. Raises `UsageError` for what is missing."""
    skills, notes = load_skills(inputs.trusted_folder, spec.skills)
    _check_keys(spec, options, settings)
    secrets = {name: settings.environ[name] for name in spec.sandbox.secrets}
    redact = Redactor([*secrets_of(settings.environ), *secrets.values()])
    provider = make_provider(options.sandbox, settings, no_isolation=options.no_isolation)
    make_tools(spec.tools)  # one that cannot be loaded is an error before anything starts
    model = _model(spec, options, settings, redact)
    engine = AgentLoop(model, violations=violations)
    plan = _plan(spec, spec_path, inputs, options.instruction, secrets, skills)
    plan = replace(plan, verify=replace(plan.verify, isolated=not options.no_isolation))
    return PreparedRun(
        plan=add_requirements(replace(plan, model=model.name), engine.requirements, _network(spec, "setup", secrets)),
        services=RunServices(
            provider=provider,
            engine=engine,
            inputs=inputs,
            files={f"{INSIDE}/{skill.name}/{name}": path for skill in skills for name, path in skill.files.items()},
            holds_secret=_run_secrets(settings, secrets).holds_secret,
            signal=signal,
            rescue_seconds=settings.rescue_seconds or RESCUE_SECONDS,
        ),
        redact=redact,
        notes=(*notes, *_warnings(spec, options), *_guidance(inputs.trusted_folder)[1]),
        report_notes=secret_notes(secrets),
        model=model,
    )


def secret_notes(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """What people must know of these secrets, which are by name."""
    names = unmaskable(secrets)
    if not names:
        return ()
    return (f"never masked, because values of fewer than {MIN_LENGTH} characters occur anywhere: {', '.join(names)}",)


def _run_secrets(settings: Settings, secrets: dict[str, str]) -> Redactor:
    """Only what this run handles is looked for in a patch: any other variable may hold a word such as `postgres`."""
    keys = (settings.anthropic_api_key, settings.anthropic_auth_token, settings.e2b_api_key)
    github = settings.github
    return Redactor([*secrets.values(), *keys, github.token, github.push_token, github.app_private_key])


def _plan(
    spec: AgentSpec,
    spec_path: Path,
    inputs: RunInputs,
    instruction: str,
    secrets: dict[str, str],
    skills: tuple[Skill, ...],
) -> RunPlan:
    prompt = _prompt_parts(spec, inputs, instruction, secrets, skills)
    timeout, folder = spec.sandbox.timeout, inputs.trusted_folder
    request = SandboxRequest(
        template=spec.sandbox.template,
        max_seconds=timeout,
        env=dict(spec.sandbox.env) | {name: secrets[name] for name in spec.sandbox.visible_secrets},
        metadata=OWN_METADATA | {"agent": spec.name, "repo": inputs.name, "run": inputs.run_id, "role": "agent"},
        network=prompt.network,
        agent_network=prompt.network,
    )
    if spec.sandbox.setup:
        request = replace(request, network=_network(spec, "setup", secrets))
    return RunPlan(
        agent=spec.name,
        instruction=instruction,
        model=spec.model.name,
        spec=spec_path.relative_to(folder).as_posix() if spec_path.is_relative_to(folder) else str(spec_path),
        prompt=prompt,
        request=request,
        setup=_setup_commands(spec.sandbox.setup, timeout),
        checks=tuple(
            HostCommand(kind="check", name=check.name, run=check.run, timeout=check.timeout) for check in spec.checks
        ),
        verify=VerifyPlan(where=spec.verification.where, setup_again=spec.verification.setup == "after"),
        secrets=spec.sandbox.visible_secrets,
        trigger=inputs.trigger,
        publish=publishing(spec),
    )


def _setup_commands(commands: Sequence[str], timeout: float) -> tuple[HostCommand, ...]:
    return tuple(
        HostCommand(kind="setup", name=one_line(command, 40), run=command, timeout=timeout) for command in commands
    )


def add_requirements(plan: RunPlan, needs: EngineRequirements, setup_network: Network) -> RunPlan:
    """The plan with what its engine needs beyond the spec: hosts, environment and setup commands, which run with
    `setup_network`."""
    if needs == EngineRequirements():
        return plan
    request = plan.request
    agent_network = _with_hosts(request.networks[-1], needs.hosts)
    request = replace(request, env={**request.env, **needs.env}, agent_network=agent_network)
    if not plan.setup:
        request = replace(request, network=setup_network if needs.setup else agent_network)
    return replace(
        plan,
        request=request,
        setup=(*_setup_commands(needs.setup, request.max_seconds), *plan.setup),
        prompt=replace(plan.prompt, network=agent_network),
    )


def _with_hosts(network: Network, hosts: tuple[str, ...]) -> Network:
    if not hosts or network.mode == "open":
        return network
    return replace(network, mode="hosts", hosts=tuple(dict.fromkeys([*network.hosts, *hosts])))


def contents(spec: AgentSpec) -> ContentOptions:
    """What of the repository the spec wants to come along beside its own commit."""
    submodules = spec.workspace.submodules
    hosts: tuple[str, ...] = ()
    if isinstance(submodules, SubmodulesSpec):
        hosts = submodules.hosts
    return ContentOptions(submodules=submodules is not False, hosts=hosts, lfs=spec.workspace.lfs)


def _prompt_parts(
    spec: AgentSpec, inputs: RunInputs, instruction: str, secrets: dict[str, str], skills: tuple[Skill, ...]
) -> PromptParts:
    variables: dict[str, object] = {"agent": {"name": spec.name, "description": spec.description}, **inputs.variables}
    if instruction.strip():
        variables["instruction"] = instruction
    prompt = render(spec.prompt, variables, mark=True)
    if instruction.strip() and instruction.strip() not in prompt:
        prompt = f"{prompt.rstrip()}\n\n{instruction.strip()}"  # a prompt that does not ask for it gets it all the same
    return PromptParts(
        instructions=render(spec.instructions, variables, mark=True),
        prompt=prompt,
        guidance=_guidance(inputs.trusted_folder)[0],
        skills=skills,
        network=_network(spec, "agent", secrets),
        check_commands=tuple(check.run for check in spec.checks),
        tools=tuple(spec.tools),
        limits=Limits(**spec.limits.model_dump()),
        result_schema=spec.result,
        rules=rules_for(spec, inputs.trigger),
    )


def _network(spec: AgentSpec, phase: str, secrets: dict[str, str]) -> Network:
    rule = getattr(spec.sandbox.network, phase)
    inject = tuple(
        HeaderRule(
            host=header.host,
            header=header.header,
            value=re.sub(r"\$\{(\w+)\}", lambda match: secrets[match[1]], header.value),
        )
        for header in spec.sandbox.network.inject
    )
    if isinstance(rule, str):
        return Network(mode="open" if rule == "open" else "none", inject=inject if rule == "open" else ())
    return Network(mode="hosts", hosts=tuple(rule), inject=inject)


def _model(spec: AgentSpec, options: RunOptions, settings: Settings, redact: Redactor) -> Model:
    """Raises `UsageError` for everything that can be known to be wrong by now."""
    from flue_ci.models.replay import Recorder, Replay

    model: Model = Replay(options.replay) if options.replay else _load_model(spec.model, settings)
    if options.record and not options.dry_run:
        return Recorder(model, options.record, redact=redact.redact_value)
    return model


def _load_model(spec: ModelSpec, settings: Settings) -> Model:
    prices = spec.prices.to_prices() if spec.prices else None
    options = ModelOptions(**spec.model_dump(exclude={"provider", "prices"}), prices=prices)
    model: Model = MODELS.load(spec.provider).from_options(options, settings)
    return model


def _warnings(spec: AgentSpec, options: RunOptions) -> Iterator[str]:
    """What people should see before it starts."""
    if options.no_isolation and options.dry_run:  # the sandbox says it when it opens
        yield "--no-isolation: the agent's commands run on this machine as you, with your files and your network"
    if spec.model.base_url:
        yield f"the spec sends the conversation and the model's key to {spec.model.base_url}"
    if spec.sandbox.visible_secrets:
        yield f"visible to everything in the sandbox: {', '.join(spec.sandbox.visible_secrets)}"


def _check_keys(spec: AgentSpec, options: RunOptions, settings: Settings) -> None:
    """Raises `UsageError` for all keys and secrets that are missing, at once."""
    keys: list[str] = []
    if not options.dry_run:
        keys += SANDBOXES.load(options.sandbox).missing_keys(settings)
        if not options.replay:
            keys += MODELS.load(spec.model.provider).missing_keys(settings)
    secrets = [name for name in spec.sandbox.secrets if not settings.environ.get(name)]
    problems = []
    if keys:
        problems.append(f"{' and '.join(keys)} {'is' if len(keys) == 1 else 'are'} not set")
    if secrets:
        problems.append(f"the spec wants {', '.join(secrets)}, but the environment has no such variable")
    if problems:
        raise UsageError("; ".join(problems), hint=_keys_hint(keys, secrets, options, settings))


def _keys_hint(keys: list[str], secrets: list[str], options: RunOptions, settings: Settings) -> str:
    """Where to set what is missing: on GitHub for a job, in the shell for a terminal."""
    if settings.in_job:
        return secrets_hint(settings.github, keys, secrets)
    hint = f"export {' '.join(f'{name}=…' for name in (*keys, *secrets))}"
    if secrets:
        return f"{hint}, or take it out of `sandbox.secrets`"
    if keys and keys[0] in SANDBOXES.load(options.sandbox).missing_keys(settings):
        return f"{hint}, or run with --sandbox local"
    return f"{hint}; `flue-ci demo` needs no key"


def secrets_hint(github: GitHubSettings, keys: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """How a job of GitHub Actions gets these keys (inputs of the action) and secrets (variables of the step)."""
    lines = [f"add what is missing as secrets of the repository, {github.secrets_url}", "and give it to the step:"]
    if keys:
        lines += ["with:", *(f"  {name.lower().replace('_', '-')}: ${{{{ secrets.{name} }}}}" for name in keys)]
    if secrets:
        lines += ["env:", *(f"  {name}: ${{{{ secrets.{name} }}}}" for name in secrets)]
    lines.append(
        "GitHub gives none to Dependabot's events, nor to comments on lines, reviews and pushes of a fork's pull "
        "request: a plain comment in the conversation works there."
    )
    return "\n".join(lines)


def _guidance(repo: Path) -> tuple[str, tuple[str, ...]]:
    """AGENTS.md, and a note when people who review it do not see all of it."""
    return visible_text(read_repository_file(repo, repo / "AGENTS.md", 4 * GUIDANCE_CHARS), "AGENTS.md")
