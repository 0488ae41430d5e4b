"""Imports the SDK without the two thirds of it that a run never uses.

`import anthropic` executes 3,000 modules, because its packages import every type just to offer it under a second name.
Here such a package is a module that imports a name when somebody asks for it. The SDK's own code is neither changed nor
copied; whatever does not look as expected is imported in the ordinary way.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_IMPORT = re.compile(r"^from (\.[\w.]*) import (\([^)]*\)|[^\n(]*)", re.MULTILINE)
_NAME = re.compile(r"(\w+)(?: as (\w+))?")
_EMPTY = re.compile(r"^(?:#.*|from __future__ import annotations)$|\s+", re.MULTILINE)

Origins = dict[str, tuple[str, str]]  # name → (relative module, name in it)


def origins(source: str) -> tuple[Origins, bool]:
    """Where a package's names come from, and whether the package does nothing but offer them."""
    found: Origins = {}
    for module, names in _IMPORT.findall(source):
        for match in _NAME.finditer(re.sub(r"#.*", "", names)):
            found[match[2] or match[1]] = (module, match[1])
    return found, not _EMPTY.sub("", _IMPORT.sub("", source))


class LazyPackage(ModuleType):
    """A package whose names are imported one by one. A name of unknown origin makes it an ordinary package."""

    _origins: Origins
    _real: Loader

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
        self._real.exec_module(self)
        return getattr(self, name)


class _OnDemandLoader(Loader):
    def __init__(self, real: Loader, names: Origins) -> None:
        self._real = real
        self._names = names

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = LazyPackage(spec.name)
        module._origins, module._real = self._names, self._real
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed until a name is asked for."""


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._package and not name.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader and spec.origin and spec.submodule_search_locations:
            names, only_offers = origins(Path(spec.origin).read_text(encoding="utf-8"))
            if only_offers or name == self._package:
                spec.loader = _OnDemandLoader(spec.loader, names)
        return spec


@contextmanager
def lazy_imports(package: str) -> Iterator[None]:
    """Inside, packages of `package` that only offer names do so on demand; `package` itself in any case."""
    finder = _Finder(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def unload(package: str) -> None:
    """Takes the package out of the interpreter, so that it can be imported anew."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
