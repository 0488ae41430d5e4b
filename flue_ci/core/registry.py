"""Adapters by name: ours from a table, those of other packages by entry point, each imported only when it is used."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flue_ci.core.errors import UsageError
from flue_ci.core.text import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One kind of adapter.

    `kind` is what people call it (`sandbox`); `group` the entry point group in which other packages register theirs;
    `built_in` maps names to `package.module:attribute`. Entry points are read only for names that are not built in,
    because that takes about a tenth of a second.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    def load(self, name: str) -> Any:
        """The registered object. Raises `UsageError` for an unknown name, and for an adapter that cannot be
        imported."""
        target = self.built_in.get(name) or self._entry_point(name)
        if not target:
            advice = f"choose one of {', '.join(self.built_in)}, or install the package that brings it"
            hint = f"{did_you_mean(name, self.built_in)} {advice}".lstrip()
            raise UsageError(f"there is no {self.kind} {name!r}", hint=hint)
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the {self.kind} {name!r} cannot be loaded from {target}: {error}",
                hint="install or repair the package that brings it",
            ) from error

    def knows(self, name: str) -> bool:
        """Whether `load` would look for it. Imports nothing of the adapter."""
        return name in self.built_in or bool(self._entry_point(name))

    def _entry_point(self, name: str) -> str:
        return _entry_points(self.group, tuple(sys.path)).get(name, "")


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> Mapping[str, str]:
    """Name → `package.module:attribute`, of the packages installed along `path`, which is `sys.path`.

    Read once: a spec may hold hundreds of unknown names.
    """
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in reversed(tuple(entry_points(group=group)))}
