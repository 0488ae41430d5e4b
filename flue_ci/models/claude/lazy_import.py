"""Imports the SDK without the two thirds of it that a run never uses: `preload` is the door.

`import anthropic` executes 3,000 modules, because its packages import every type just to offer it under a second name.
Here such a package is a module that imports a name when it is first used, and two modules that import half of all types
for functions that seldom run are executed when such a function is first called. The SDK's own code is neither changed
nor copied; a package that does not look as expected is imported in the ordinary way.
"""

import importlib
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from flue_ci.core.startup import fast_startup

_IMPORT = re.compile(r"^from (\.[\w.]*) import (\([^)]*\)|[^\n(]*)", re.MULTILINE)
_NAME = re.compile(r"(\w+)(?: as (\w+))?")
_EMPTY = re.compile(r"^(?:#.*|from __future__ import annotations)$|\s+", re.MULTILINE)
_USED_NAMES = (
    "APIConnectionError",
    "APIStatusError",
    "AsyncAnthropic",
    "AsyncStream",
    "CredentialsError",
    "DefaultAsyncHttpxClient",
    "Timeout",
)
_RARELY_CALLED = (
    "anthropic._error_classes",  # the error of a response with an error status
    "anthropic.lib._tracing._api_call",  # spans, which our client has none of
)
Origins = dict[str, tuple[str, str]]  # name → (relative module, name in it)


def preload() -> None:
    """Imports the SDK, without collecting garbage meanwhile."""
    if "anthropic" in sys.modules:
        return
    with fast_startup():
        try:
            with _lazy_imports():
                sdk = importlib.import_module("anthropic")
                for name in _USED_NAMES:
                    getattr(sdk, name)
        except Exception:  # noqa: BLE001 (an SDK of another shape: the ordinary way takes longer and always works)
            for name in [name for name in sys.modules if _is_of_sdk(name)]:
                del sys.modules[name]
            importlib.import_module("anthropic")


def _is_of_sdk(module: str) -> bool:
    return module == "anthropic" or module.startswith("anthropic.")


@contextmanager
def _lazy_imports() -> Iterator[None]:
    """Inside, packages of the SDK that only offer names import them on first use; `anthropic` itself in any case."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _find_origins(source: str) -> tuple[Origins, bool]:
    """Where a package's names come from, and whether the package does nothing but offer them."""
    origins: Origins = {}
    for module, names in _IMPORT.findall(source):
        for match in _NAME.finditer(re.sub(r"#.*", "", names)):
            origins[match[2] or match[1]] = (module, match[1])
    return origins, not _EMPTY.sub("", _IMPORT.sub("", source))


class _LazyPackage(ModuleType):
    """A package whose names are imported one by one. A name of unknown origin makes it an ordinary package."""

    _origins: Origins
    _loader: Loader

    def __getattr__(self, name: str) -> Any:
        if name in self._origins:
            module, inner = self._origins[name]
            if module.strip("."):
                value = getattr(importlib.import_module(module, self.__name__), inner)
            else:
                value = importlib.import_module(module + inner, self.__name__)
            self.__dict__[name] = value
            return value
        if name.startswith("_") and name != "__all__":
            raise AttributeError(name)  # the import system looks for submodules this way
        self.__class__ = ModuleType  # type: ignore[assignment]
        self._loader.exec_module(self)
        return getattr(self, name)


class _LazyLoader(Loader):
    def __init__(self, loader: Loader, origins: Origins) -> None:
        self._loader = loader
        self._origins = origins

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _LazyPackage(spec.name)
        module._origins, module._loader = self._origins, self._loader
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Executes nothing; `_LazyPackage` imports each name on first use."""


class _LateModule(ModuleType):
    """A module that is executed at the first call of one of its functions, or for a name that is no function's."""

    _loader: Loader
    _lock: threading.RLock

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not name[0].islower():
            return getattr(_executed(self), name)

        def call(*arguments: Any, **named: Any) -> Any:
            return getattr(_executed(self), name)(*arguments, **named)

        return call


def _executed(module: _LateModule) -> ModuleType:
    """The module, which other threads do not get before it is executed."""
    with module._lock:
        if isinstance(module, _LateModule):
            module._loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
    return module


class _LateLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _LateModule(spec.name)
        module._loader, module._lock = self._loader, threading.RLock()
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Executes nothing; `_LateModule` does."""


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not _is_of_sdk(name):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader and name in _RARELY_CALLED:
            spec.loader = _LateLoader(spec.loader)
        elif spec and spec.loader and spec.origin and spec.submodule_search_locations:
            origins, only_offers = _find_origins(Path(spec.origin).read_text(encoding="utf-8"))
            if only_offers or name == "anthropic":
                spec.loader = _LazyLoader(spec.loader, origins)
        return spec
