"""The rules that hold the code together: layers, one home for each package, size, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flue_ci"
# A room is a folder, or a module at the top. From the door to the ground: a room imports only rooms named after it.
ROOMS = (
    "__main__",
    "cli",
    "commands",
    "action",
    "assembly",
    "terminal",
    "run",
    "publish",
    "agent",
    "spec",
    "workspace",
    "report",
    "models",
    "sandboxes",
    "forges",
    "git",
    "safety",
    "gate",
    "settings",
    "core",
)
ADAPTERS = ("models.claude", "models.recording", "models.replay", "sandboxes.e2b", "sandboxes.local", "forges.github")
# Third-party packages, and the rooms or modules that may import them.
HOMES = {
    "e2b": ("sandboxes.e2b",),
    "anthropic": ("models.claude",),
    "github": ("forges.github",),
    "yaml": ("spec.yaml_document",),
    "jinja2": ("spec.template",),
    "jsonschema": ("spec.result_schema",),
    "pydantic": ("spec.schema", "report.report"),
    "pydantic_core": ("spec.schema",),
    "rich": ("terminal",),
    "click": ("cli", "__main__"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "demo"):
            continue  # the demo's own repository
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def depth(name: str) -> int:
    assert room(name) in ROOMS, f"{name} stands in no room; the rooms are {', '.join(ROOMS)}"
    return ROOMS.index(room(name))


# Modules that are still to be cut: each line is to go.
TO_CUT = {
    ("git.fetch", "workspace"),
    ("run.session", "assembly"),
    ("run.session", "terminal"),
}


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_a_room_imports_only_rooms_below_it(name: str, path: Path) -> None:
    known = {module for module, _ in modules()}
    for imported in imports(path):
        inner = imported.removeprefix("flue_ci.")
        if not imported.startswith("flue_ci.") or inner not in known or (name, room(inner)) in TO_CUT:
            continue
        assert depth(name) <= depth(inner), f"{name} imports {inner}, which stands above it"


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_each_package_has_one_home(name: str, path: Path) -> None:
    for imported in imports(path):
        package = imported.split(".")[0]
        if package == "flue_ci" or package in sys.stdlib_module_names:
            continue
        assert package in HOMES, f"{name} imports {package}"
        assert any(within(name, home) for home in HOMES[package]), f"{name} imports {package}; it is at home elsewhere"


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_only_assembly_imports_adapters(name: str, path: Path) -> None:
    for imported in imports(path):
        inner = imported.removeprefix("flue_ci.")
        for adapter in ADAPTERS:
            if imported.startswith("flue_ci.") and within(inner, adapter):
                assert room(name) in (room(adapter), "assembly"), f"{name} imports {inner}; only assembly may"


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_modules_and_functions_stay_readable(name: str, path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400, f"{name} is longer than 400 lines"
    tree = ast.parse(text)
    if text.strip():
        assert ast.get_docstring(tree), f"{name} does not say what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 55, f"{name}.{node.name} has {length} lines"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_no_large_package(arguments: list[str]) -> None:
    code = (
        "import sys; from flue_ci.__main__ import run_command_line; code = run_command_line(sys.argv[1:]);"
        "big = ('e2b', 'anthropic', 'github', 'pydantic', 'rich', 'yaml', 'jinja2', 'asyncio');"
        "print([name for name in big if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_spec_is_read_without_the_vendors_packages() -> None:
    code = (
        "import sys, flue_ci.spec.load, flue_ci.assembly; big = ('e2b', 'anthropic', 'github', 'rich', 'jsonschema');"
        "print([name for name in big if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
