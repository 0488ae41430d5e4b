"""The agent spec, version 1, as values: the one home of pydantic.

The models hold shapes and defaults; `keys.toml` holds what each key is for. What keys mean together is in `spec.rules`;
`spec.validation` finds the place of each problem.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr, Strict, ValidationError, WithJsonSchema

from flue_ci.agent.tools.registry import TOOLS
from flue_ci.core.ports import Effort, Prices, Thinking
from flue_ci.core.registry import Registry
from flue_ci.core.text import AGENT_NAME, parse_duration
from flue_ci.gate.event import event_names
from flue_ci.models.registry import DEFAULT_MODEL, DEFAULT_PROVIDER, MODELS, NOT_SUPPORTED_YET
from flue_ci.spec.parts import (
    SEVERAL,
    BooleanOr,
    InvalidValue,
    Part,
    Text,
    Texts,
    WordOr,
    all_defaults,
    exactly_an_int,
    names_schema,
    or_name,
)
from flue_ci.spec.values import ROLES, is_custom_role
from flue_ci.spec.yaml_document import Document

DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
NAME = rf"^{AGENT_NAME}$"
MAX_SECONDS = 86_400.0
OTHER_PUBLISHERS = Registry(kind="publisher", group="flue_ci.publishers", built_in={})  # those of other packages
PUSHES = ("commit", "pull-request")  # what of `publish.changes` writes to a branch
DEFAULT_BRANCH_NAME = "flue/{agent}-{number}-{slug}"
MAX_REVIEW_COMMENTS = 30  # in one review
MAX_PROPOSALS = 50  # of one kind in one run


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


Role = Annotated[Literal["admin", "maintain", "write", "triage", "read"], or_name(is_custom_role), names_schema(*ROLES)]
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": DURATION})]
Event = Annotated[str, WithJsonSchema({"type": "string", "enum": list(event_names())})]
Provider = Annotated[
    Literal["anthropic", "bedrock", "vertex"], or_name(MODELS.knows), names_schema("anthropic", *NOT_SUPPORTED_YET)
]
Tool = Annotated[
    Literal["bash", "read", "write", "edit", "grep", "glob"], or_name(TOOLS.knows), names_schema(*TOOLS.built_in)
]
Egress = Annotated[Literal["open", "none"] | Texts, WordOr(("open", "none"), Texts, list, tuple)]
Changes = Annotated[Literal["patch", "commit", "pull-request", "suggest", "none"], or_name(OTHER_PUBLISHERS.knows)]
When = Literal["checks-pass", "always", "ask"]
Most = Annotated[int, Field(ge=1, le=MAX_PROPOSALS)]


class PricesSpec(Part):
    """Prices in US dollars per million tokens, for a model that flue-ci has no price of."""

    input: float = Field(ge=0, le=10_000)
    output: float = Field(ge=0, le=10_000)
    cache_write: float | None = Field(None, ge=0, le=10_000)
    cache_read: float | None = Field(None, ge=0, le=10_000)

    def to_prices(self) -> Prices:
        """The prices, with Anthropic's usual factors for those that are missing."""
        write = self.input * 1.25 if self.cache_write is None else self.cache_write
        read = self.input * 0.1 if self.cache_read is None else self.cache_read
        return Prices(input=self.input, output=self.output, cache_write=write, cache_read=read)


class ModelSpec(Part):
    """The model that the loop talks to."""

    name: Text = DEFAULT_MODEL
    max_output_tokens: int = Field(32_000, ge=256, le=1_000_000)
    effort: Effort | None = None
    thinking: Thinking | None = None
    provider: Provider = DEFAULT_PROVIDER
    base_url: Text | None = None
    prices: PricesSpec | None = None


class ProgramSpec(Part):
    """Another agent's program, run inside the sandbox in place of our own loop."""

    program: Text
    args: Texts = ()


class TriggersSpec(Part):
    """What starts the agent on GitHub. Local runs need none."""

    comment: str | None = Field(None, pattern=NAME)
    labels: Texts = ()
    events: Annotated[tuple[Event, ...], Strict(False), SEVERAL] = ()
    roles: Annotated[tuple[Role, ...], Strict(False), SEVERAL] = ("admin", "maintain", "write")
    bots: Texts = ()
    forks: bool = True


class InjectSpec(Part):
    """A header that the sandbox's egress proxy adds; its value never enters the sandbox."""

    host: Text
    header: Text
    value: Text


class NetworkSpec(Part):
    """What the sandbox may reach: `open`, `none`, or only the listed hosts."""

    setup: Egress = "open"
    agent: Egress = "none"
    inject: Annotated[tuple[InjectSpec, ...], Strict(False), SEVERAL] = ()


class SandboxSpec(Part):
    """The machine the agent acts on."""

    template: str = Field("base", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")
    timeout: Seconds = Field(1800.0, ge=10)
    setup: Texts = ()
    env: Annotated[dict[str, str], SEVERAL] = Field({})
    secrets: Texts = ()
    network: NetworkSpec = all_defaults(NetworkSpec)

    @property
    def injected_secrets(self) -> tuple[str, ...]:
        """Secrets that headers are made of. They stay outside."""
        values = [rule.value for rule in self.network.inject]
        return tuple(name for name in self.secrets if any(f"${{{name}}}" in value for value in values))

    @property
    def visible_secrets(self) -> tuple[str, ...]:
        """Secrets that commands in the sandbox see in their environment."""
        return tuple(name for name in self.secrets if name not in self.injected_secrets)


class SubmodulesSpec(Part):
    """Submodules come along, also those on hosts other than the repository's own."""

    hosts: Texts


class WorkspaceSpec(Part):
    """The repository inside the sandbox."""

    history: int = Field(50, ge=1, le=1_000_000)
    submodules: Annotated[bool | SubmodulesSpec, BooleanOr((), SubmodulesSpec, Mapping, BaseModel)] = False
    lfs: bool = False


class LimitsSpec(Part):
    """What ends a run early. The work so far is kept."""

    turns: int = Field(60, ge=1, le=10_000)
    minutes: float = Field(20.0, gt=0, le=1440)
    tokens: int = Field(2_000_000, ge=1_000, le=1_000_000_000)
    cost_usd: float | None = Field(None, gt=0, le=100_000)
    command_seconds: float = Field(300.0, ge=1, le=MAX_SECONDS)


class CheckSpec(Part):
    """A command that flue-ci runs after the agent. A failing one fails the run."""

    name: Text = Field(max_length=100)
    run: Text
    timeout: Seconds = Field(600.0, ge=1)


class VerifySpec(Part):
    """Where the checks run: in a clean sandbox, or in the agent's own; and when setup runs in the clean one."""

    where: Literal["fresh", "same"] = "fresh"
    setup: Literal["before", "after"] = "before"


class ContextSpec(Part):
    """Whose comments on a pull request or issue the agent reads. The agent works without them as well."""

    include: Texts = ()
    exclude: Texts = ()


class PullRequestSpec(Part):
    """The pull request that `publish.changes: pull-request` opens."""

    draft: bool = False
    reviewers: Texts = ()
    labels: Texts = ()
    forks: bool = False


class TriageSpec(Part):
    """What an agent may do with an issue."""

    max: Most = 1
    assignees: Texts = ()


class CheckRunSpec(Part):
    """Check runs with annotations that an agent may write."""

    max: Most = 1


class ReplySpec(Part):
    """Replies that an agent may write beside the comment with the report."""

    max: Most = 1


class RepairSpec(Part):
    """How often an agent may repair the CI of a branch."""

    attempts: int = Field(2, ge=1, le=10)


class PublishSpec(Part):
    """What flue-ci does with the result on GitHub."""

    comment: Literal["sticky", "new", "none"] = "sticky"
    changes: Changes = "patch"
    when: When | None = None
    branch: str = Field(DEFAULT_BRANCH_NAME, min_length=1, max_length=200)
    commits: Literal["squash", "keep"] = "squash"
    pull_request: PullRequestSpec = all_defaults(PullRequestSpec)
    review: bool = False
    labels: Texts = ()
    triage: TriageSpec | None = None
    check_run: CheckRunSpec | None = None
    reply: ReplySpec | None = None
    protect: Texts = ()
    allow: Texts = ()


class _OrName:
    """In the JSON Schema of `model` a name may stand in place of the mapping."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(core_schema)]}


class AgentSpec(Part):
    """One agent: what it is for, what it may do, and what becomes of its work."""

    version: Annotated[Literal[1], BeforeValidator(exactly_an_int)]
    name: str = Field("", pattern=NAME)
    description: str = Field("", max_length=1024)
    model: Annotated[ModelSpec, BeforeValidator(_by_name), _OrName()] = all_defaults(ModelSpec)
    instructions: str = ""
    prompt: str = "{{ instruction }}"
    engine: Annotated[Literal["agent"] | ProgramSpec, WordOr(("agent",), ProgramSpec, Mapping, BaseModel)] = "agent"
    triggers: TriggersSpec = all_defaults(TriggersSpec)
    sandbox: SandboxSpec = all_defaults(SandboxSpec)
    workspace: WorkspaceSpec = all_defaults(WorkspaceSpec)
    context: ContextSpec = all_defaults(ContextSpec)
    tools: Annotated[tuple[Tool, ...], Strict(False), SEVERAL] = Field(
        ("bash", "read", "write", "edit", "grep", "glob"), json_schema_extra={"minItems": 1}
    )
    skills: Annotated[Literal["auto", "none"] | Texts, WordOr(("auto", "none"), Texts, list, tuple)] = "auto"
    limits: LimitsSpec = all_defaults(LimitsSpec)
    verify: Annotated[
        Literal["fresh", "same"] | VerifySpec, WordOr(("fresh", "same"), VerifySpec, Mapping, BaseModel)
    ] = "fresh"
    checks: Annotated[tuple[CheckSpec, ...], Strict(False), SEVERAL] = ()
    result: dict[str, Any] | None = None
    publish: PublishSpec = all_defaults(PublishSpec)
    repair: RepairSpec | None = None

    _document: Document = PrivateAttr(default_factory=Document)

    @property
    def verification(self) -> VerifySpec:
        """`verify`, also where it is only a word."""
        return self.verify if isinstance(self.verify, VerifySpec) else VerifySpec(where=self.verify)

    @property
    def document(self) -> Document:
        """The file it was read from, for the places of its keys; an empty one for a spec made in memory."""
        return self._document

    def read_from(self, document: Document) -> Self:
        """Sets `document`; returns the spec itself."""
        self._document = document
        return self


@cache
def read_texts(name: str) -> Mapping[str, Any]:
    """The tables of `keys.toml` (`description` and `examples` of each key, by class), or of `messages.toml`."""
    return tomllib.loads((files("flue_ci.spec") / name).read_text(encoding="utf-8"))


def validate(data: Mapping[str, Any]) -> tuple[AgentSpec | None, list[Mapping[str, Any]]]:
    """The spec that `data` describes, or None and pydantic's errors, which `spec.messages` puts into words."""
    try:
        return AgentSpec.model_validate(data), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))
