"""The agent spec, version 1, as values: the one home of pydantic.

The models hold shapes, defaults and the words of each key. What keys mean together is in `spec.rules`;
`spec.validation` finds the place of each problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticKnownError, core_schema

from flue_ci.agent.tools.registry import TOOLS
from flue_ci.core.errors import Diagnostic
from flue_ci.core.ports import Effort, Prices, Thinking
from flue_ci.core.registry import Registry
from flue_ci.core.text import AGENT_NAME, parse_duration
from flue_ci.gate.event import event_names
from flue_ci.models.registry import DEFAULT_MODEL, DEFAULT_PROVIDER, MODELS, NOT_SUPPORTED_YET
from flue_ci.spec.yaml_document import Document

DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
NAME = rf"^{AGENT_NAME}$"
MAX_SECONDS = 86_400.0
MAX_ITEMS = 200  # of a list or mapping; some lists have each entry compared with each other

OTHER_PUBLISHERS = Registry(kind="publisher", group="flue_ci.publishers", built_in={})  # those of other packages
Role = Literal["admin", "maintain", "write", "triage", "read"]


class InvalidValue(ValueError):
    """A value that a validator of ours refuses, with the words for people."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(message=message, hint=hint)


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    if not isinstance(value, str):
        hint = f"write {value}s or {value}m" if value <= 120 else f"write {value}s"
        raise InvalidValue("a duration needs a unit", hint)
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise InvalidValue(str(error), "write a number and a unit: 90s, 10m, 1h30m") from None
    if seconds > MAX_SECONDS:
        raise InvalidValue("longer than 24 hours", "24h is the most")
    return seconds


def _by_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _exactly_an_int(value: object) -> object:
    if type(value) is not int:  # 1.0 and true are equal to 1
        raise InvalidValue("must be the whole number 1", "write `version: 1`")
    return value


class WordOr:
    """Annotates a union of words and another type: a value of one of `shapes` is read as the other type, every other
    value has to be one of `words`. So a mistake has one message; pydantic would give one for each member of the union.

    `Annotated[Literal["auto", "none"] | tuple[str, ...], WordOr(("auto", "none"), tuple[str, ...], list, tuple)]`
    """

    def __init__(self, words: tuple[str, ...], other: Any, *shapes: type) -> None:
        self._words, self._other, self._shapes = words, other, shapes

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        other = handler.generate_schema(self._other)
        return core_schema.no_info_wrap_validator_function(self._validate, other, serialization=as_it_is)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        words: dict[str, Any] = {"type": "string", "enum": list(self._words)}
        if len(self._words) == 1:
            words = {"type": "string", "const": self._words[0]}
        return {"oneOf": [words, handler(schema)]}

    def _validate(self, value: object, validate_other: Callable[[object], object]) -> object:
        if isinstance(value, self._shapes):
            return validate_other(value)
        if isinstance(value, str) and value in self._words:
            return value
        raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, self._words))})


def _or_registered(registry: Registry) -> WrapValidator:
    """Accepts besides the names of a `Literal` those that other packages have registered."""

    def check(value: Any, check_literal: Callable[[Any], Any]) -> Any:
        try:
            return check_literal(value)
        except ValidationError:
            if isinstance(value, str) and registry.knows(value):
                return value
            raise

    return WrapValidator(check)


def _names_schema(*names: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "enum": list(names)}, {"type": "string", "minLength": 1}]})


def _key(default: Any, description: str, *examples: object, **more: Any) -> Any:
    """A field. A class as `default` stands for the mapping with all of its defaults, which needs no validator."""
    if isinstance(default, type) and issubclass(default, BaseModel):
        return Field(default_factory=default.model_construct, description=description, examples=list(examples), **more)
    return Field(default, description=description, examples=list(examples), **more)


Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
_Several = Field(max_length=MAX_ITEMS)
Texts = Annotated[tuple[Text, ...], Strict(False), _Several]
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": DURATION})]
Event = Annotated[str, WithJsonSchema({"type": "string", "enum": list(event_names())})]
Provider = Annotated[
    Literal["anthropic", "bedrock", "vertex"], _or_registered(MODELS), _names_schema("anthropic", *NOT_SUPPORTED_YET)
]
Tool = Annotated[
    Literal["bash", "read", "write", "edit", "grep", "glob"], _or_registered(TOOLS), _names_schema(*TOOLS.built_in)
]
Changes = Annotated[Literal["patch", "commit", "pull-request", "suggest", "none"], _or_registered(OTHER_PUBLISHERS)]
Egress = Annotated[Literal["open", "none"] | Texts, WordOr(("open", "none"), Texts, list, tuple)]


class Part(BaseModel):
    """A mapping of the spec: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class PricesSpec(Part):
    """Prices in US dollars per million tokens, for a model that flue-ci has no price of."""

    input: float = _key(..., "Input tokens.", 2.0, ge=0, le=10_000)
    output: float = _key(..., "Output tokens.", 10.0, ge=0, le=10_000)
    cache_write: float | None = _key(
        None, "Input written to the cache; 1.25 × `input` by default.", 2.5, ge=0, le=10_000
    )
    cache_read: float | None = _key(None, "Input read from the cache; 0.1 × `input` by default.", 0.2, ge=0, le=10_000)

    def to_prices(self) -> Prices:
        """The prices, with Anthropic's usual factors for those that are missing."""
        write, read = self.cache_write, self.cache_read
        if write is None:
            write = self.input * 1.25
        if read is None:
            read = self.input * 0.1
        return Prices(input=self.input, output=self.output, cache_write=write, cache_read=read)


class ModelSpec(Part):
    """The model that the loop talks to."""

    name: Text = _key(DEFAULT_MODEL, "The model's name.", "claude-sonnet-5-5", "claude-opus-5-5")
    max_output_tokens: int = _key(32_000, "Most tokens of one answer.", 32_000, ge=256, le=1_000_000)
    effort: Effort | None = _key(
        None, "How much the model puts into an answer; the model's own default when not given.", "medium"
    )
    thinking: Thinking | None = _key(
        None,
        "How the model thinks: shown as a `summarized` text while it works (default), `omitted`, only `between_tools` "
        "(the least there is on claude-sonnet-5-5), or `none` where the model allows it.",
        "between_tools",
    )
    provider: Provider = _key(DEFAULT_PROVIDER, "Who serves the model.", "anthropic")
    base_url: Text | None = _key(
        None,
        "Address of a server that speaks the Messages API; ANTHROPIC_BASE_URL counts when not given.",
        "https://llm.example.com",
    )
    prices: PricesSpec | None = _key(
        None, "Prices, for a model that flue-ci has no price of.", {"input": 2.0, "output": 10.0}
    )


class ProgramSpec(Part):
    """Another agent's program, run inside the sandbox in place of our own loop."""

    program: Text = _key(..., "`flue`, `claude-code`, or a command.", "claude-code")
    args: Texts = _key((), "Arguments for it.", ["--verbose"])


class TriggersSpec(Part):
    """What starts the agent on GitHub. Local runs need none."""

    comment: str | None = _key(
        None, "A comment `/flue WORD …` starts the agent; this is the WORD.", "fix-tests", pattern=NAME
    )
    labels: Texts = _key((), "Adding one of these labels starts the agent.", ["flue:fix"])
    events: Annotated[tuple[Event, ...], Strict(False), _Several] = _key(
        (), "Events, with their action after a dot.", ["pull_request.opened", "schedule"]
    )
    roles: Annotated[tuple[Role, ...], Strict(False), _Several] = _key(
        ("admin", "maintain", "write"), "Roles in the repository that may start it.", ["admin", "maintain"]
    )
    bots: Texts = _key((), "Logins of bots that may start it, exactly as GitHub writes them.", ["renovate[bot]"])
    forks: bool = _key(True, "Whether it runs on pull requests from forks (it never pushes there).", False)


class InjectSpec(Part):
    """A header that the sandbox's egress proxy adds; its value never enters the sandbox."""

    host: Text = _key(
        ..., "The host whose requests get the header; `*.example.com` for all below.", "packages.example.com"
    )
    header: Text = _key(..., "The header's name.", "Authorization")
    value: Text = _key(..., "Its value; `${NAME}` stands for a secret of `sandbox.secrets`.", "Bearer ${NPM_TOKEN}")


class NetworkSpec(Part):
    """What the sandbox may reach: `open`, `none`, or only the listed hosts."""

    setup: Egress = _key("open", "While `sandbox.setup` runs.", "open", ["packages.example.com", "*.example.org"])
    agent: Egress = _key("none", "While the agent acts and the checks run.", "none", ["packages.example.com"])
    inject: Annotated[tuple[InjectSpec, ...], Strict(False), _Several] = _key(
        (),
        "Headers added outside of the sandbox.",
        [{"host": "packages.example.com", "header": "Authorization", "value": "Bearer ${NPM_TOKEN}"}],
    )


class SandboxSpec(Part):
    """The machine the agent acts on."""

    template: str = _key(
        "base", "Name or id of the E2B template.", "base", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
    )
    timeout: Seconds = _key(1800.0, "The sandbox's whole life.", "30m", "1h", ge=10)
    setup: Texts = _key((), "Commands that prepare it, run in order before the agent.", ["pip install -e '.[test]'"])
    env: Annotated[dict[str, str], _Several] = _key(
        {}, "Environment variables inside. Not for secrets.", {"PIP_NO_INPUT": "1"}
    )
    secrets: Texts = _key(
        (),
        "Names of secrets, taken from flue-ci's environment. Visible inside, except those that `network.inject` uses.",
        ["NPM_TOKEN"],
    )
    network: NetworkSpec = _key(NetworkSpec, "What it may reach, by phase.", {"setup": "open", "agent": "none"})

    @property
    def injected_secrets(self) -> tuple[str, ...]:
        """Secrets that headers are made of. They stay outside."""
        values = [rule.value for rule in self.network.inject]
        return tuple(name for name in self.secrets if any(f"${{{name}}}" in value for value in values))

    @property
    def visible_secrets(self) -> tuple[str, ...]:
        """Secrets that commands in the sandbox see in their environment."""
        return tuple(name for name in self.secrets if name not in self.injected_secrets)


class WorkspaceSpec(Part):
    """The repository inside the sandbox."""

    history: int = _key(50, "How many commits of history the agent sees.", 50, ge=1, le=1_000_000)
    submodules: bool = _key(False, "Whether submodules come along.", False)
    lfs: bool = _key(False, "Whether files of Git LFS come along.", False)


class LimitsSpec(Part):
    """What ends a run early. The work so far is kept."""

    turns: int = _key(60, "Turns of the model.", 60, ge=1, le=10_000)
    minutes: float = _key(20.0, "Minutes that the agent may act.", 20, gt=0, le=1440)
    tokens: int = _key(2_000_000, "Tokens of all kinds, summed over all turns.", 2_000_000, ge=1_000, le=1_000_000_000)
    cost_usd: float | None = _key(None, "US dollars; no limit when not given.", 2.5, gt=0, le=100_000)
    command_seconds: float = _key(300.0, "Seconds that one command of the agent may take.", 300, ge=1, le=MAX_SECONDS)


class CheckSpec(Part):
    """A command that flue-ci runs after the agent. A failing one fails the run."""

    name: Text = _key(..., "What people call it.", "tests", max_length=100)
    run: Text = _key(..., "The command, for bash.", "pytest -q")
    timeout: Seconds = _key(600.0, "After this time it counts as failed.", "10m", ge=1)


class ContextSpec(Part):
    """Whose comments on a pull request or issue the agent reads. The agent works without them as well."""

    include: Texts = _key((), "Logins; only their comments are read. All by default.", ["octocat"])
    exclude: Texts = _key((), "Logins; what they wrote is left out.", ["codecov[bot]"])


class PublishSpec(Part):
    """What flue-ci does with the result on GitHub."""

    comment: Literal["sticky", "new", "none"] = _key(
        "sticky", "The comment with the report: one that is kept up to date, a new one each time, or none.", "sticky"
    )
    changes: Changes = _key(
        "patch", "What becomes of the agent's changes. `none`: the agent is not meant to change anything.", "patch"
    )
    review: bool = _key(False, "Whether the agent may write review comments on lines.", False)
    labels: Texts = _key((), "Labels that the agent may add, and no others.", ["flue:done"])
    protect: Texts = _key(
        (),
        "Files that are never pushed, only shown, besides those that are always protected. Globs.",
        ["migrations/**"],
    )


class _OrName:
    """In the JSON Schema of `model` a name may stand in place of the mapping."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(core_schema)]}


class AgentSpec(Part):
    """One agent: what it is for, what it may do, and what becomes of its work."""

    version: Annotated[Literal[1], BeforeValidator(_exactly_an_int)] = _key(..., "The version of this format.", 1)
    name: str = _key(
        "", "What the agent is called; the file's name without its ending by default.", "fix-tests", pattern=NAME
    )
    description: str = _key("", "What it is for, in one line.", "Make the failing tests pass.", max_length=1024)
    model: Annotated[ModelSpec, BeforeValidator(_by_name), _OrName()] = _key(
        ModelSpec,
        "The model: its name, or a mapping.",
        "claude-sonnet-5-5",
        {"name": "claude-opus-5-5", "effort": "high"},
    )
    instructions: str = _key(
        "", "The system prompt's own part: how this agent works. A Jinja2 template.", "You maintain this repository."
    )
    prompt: str = _key(
        "{{ instruction }}",
        "The task, a Jinja2 template. What was asked for, by default.",
        '{{ instruction | default("Make the test suite pass.") }}',
    )
    engine: Annotated[Literal["agent"] | ProgramSpec, WordOr(("agent",), ProgramSpec, Mapping, BaseModel)] = _key(
        "agent", "What acts: `agent`, our loop over a model, or another agent's program.", "agent"
    )
    triggers: TriggersSpec = _key(TriggersSpec, "What starts it on GitHub.", {"comment": "fix-tests"})
    sandbox: SandboxSpec = _key(SandboxSpec, "The machine it acts on.", {"setup": ["npm ci"]})
    workspace: WorkspaceSpec = _key(WorkspaceSpec, "The repository inside the sandbox.", {"history": 50})
    context: ContextSpec = _key(ContextSpec, "Whose comments the agent reads on GitHub.", {"exclude": ["codecov[bot]"]})
    tools: Annotated[tuple[Tool, ...], Strict(False), _Several] = _key(
        ("bash", "read", "write", "edit", "grep", "glob"),
        "The tools it has.",
        ["read", "grep", "glob"],
        json_schema_extra={"minItems": 1},
    )
    skills: Annotated[Literal["auto", "none"] | Texts, WordOr(("auto", "none"), Texts, list, tuple)] = _key(
        "auto", "Skills of `.agents/skills`: all (`auto`), `none`, or those named.", "auto", ["release-notes"]
    )
    limits: LimitsSpec = _key(LimitsSpec, "What ends a run early.", {"turns": 60, "minutes": 20})
    checks: Annotated[tuple[CheckSpec, ...], Strict(False), _Several] = _key(
        (),
        "Commands that decide whether the work is good, run after the agent.",
        [{"name": "tests", "run": "pytest -q"}],
    )
    result: dict[str, Any] | None = _key(
        None,
        "A JSON Schema of type object. The agent must answer with a value that fits it.",
        {"type": "object", "properties": {"severity": {"type": "string"}}},
    )
    publish: PublishSpec = _key(PublishSpec, "What becomes of the result on GitHub.", {"comment": "sticky"})

    _document: Document = PrivateAttr(default_factory=Document)

    @property
    def document(self) -> Document:
        """The file it was read from, for the places of its keys; an empty one for a spec made in memory."""
        return self._document

    def read_from(self, document: Document) -> AgentSpec:
        """Sets `document`; returns the spec itself."""
        self._document = document
        return self


def validate(data: Mapping[str, Any]) -> tuple[AgentSpec | None, list[Mapping[str, Any]]]:
    """The spec that `data` describes, or None and pydantic's errors, which `spec.messages` puts into words."""
    try:
        return AgentSpec.model_validate(data), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))
