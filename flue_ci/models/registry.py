"""Models by `model.provider`: ours in one table, those of other packages by the entry point group `flue_ci.models`.

`MODELS.load(provider)` is a class that has what `ModelAdapter` says.
"""

from typing import Final, Protocol

from flue_ci.core.errors import Diagnostic
from flue_ci.core.ports import Model, ModelOptions
from flue_ci.core.registry import Registry
from flue_ci.settings import Settings

DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_PROVIDER: Final = "anthropic"
OWN_HOST = "api.anthropic.com"  # of the default provider
NOT_SUPPORTED_YET = ("bedrock", "vertex")  # names of `model.provider` that a spec may hold and a run refuses

MODELS = Registry(
    kind="model provider", group="flue_ci.models", built_in={DEFAULT_PROVIDER: "flue_ci.models.claude.client:Claude"}
)


class ModelAdapter(Protocol):
    """What a registered class brings. Its module may import the vendor's SDK in `preload` and `prepare` only."""

    @classmethod
    def from_options(cls, options: ModelOptions, settings: Settings) -> Model:
        """The model. Opens nothing yet. Raises `UsageError` for options that it cannot follow."""

    @staticmethod
    def missing_keys(settings: Settings) -> tuple[str, ...]:
        """The names of environment variables that are needed and not set; `settings.environ` has all variables."""

    @classmethod
    async def diagnose(cls, settings: Settings, *, offline: bool) -> Diagnostic:
        """Whether key and address work, for `doctor`. Its `key` is the vendor's name. `offline`: without asking."""

    @staticmethod
    def preload() -> None:
        """Imports the vendor's SDK. Called in a thread, early; may be called again."""
