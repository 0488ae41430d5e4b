"""Which sandboxes there are. An adapter is one module and one line here, or an entry point of another package."""

from typing import Protocol

from flue_ci.core.errors import Diagnostic
from flue_ci.core.ports import SandboxProvider
from flue_ci.core.registry import Registry
from flue_ci.settings import Settings

SANDBOXES = Registry(
    kind="sandbox",
    group="flue_ci.sandboxes",
    built_in={
        "e2b": "flue_ci.sandboxes.e2b.provider:E2BProvider",
        "local": "flue_ci.sandboxes.local.provider:LocalProvider",
    },
)
OWN_METADATA = {"flue-ci": "1"}  # in the metadata of every sandbox that flue-ci starts


class SandboxAdapter(Protocol):
    """What `SANDBOXES.load` gives: a class of `SandboxProvider`s (see `core.ports`) with these class methods.

    Importing its module must not import the provider's SDK: `preload` and the first use do that.
    """

    def from_settings(self, settings: Settings) -> SandboxProvider:
        """A provider for the keys and addresses in `settings`. Asks nothing; works without keys too."""

    def missing_keys(self, settings: Settings) -> tuple[str, ...]:
        """Names of the environment variables that a run needs and that are not set."""

    async def diagnose(self, settings: Settings, *, offline: bool) -> Diagnostic:
        """Whether it works here and now, for `flue-ci doctor`; `key` is the name that people see. Never raises
        `FlueError`, ends within 30 seconds, starts nothing that lasts. `offline`: without the network."""

    def preload(self) -> None:
        """Imports the SDK. Blocks; called in a thread, before the first use or not at all."""
