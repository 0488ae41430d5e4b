"""The rules that hold the code together: layers, one home for each package, size, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flue_ci"
# The reading order is the dependency order: a module imports only modules of lines above it, or of its own line.
LAYERS = """
errors text clean keyshapes redact sdklog actions settings gitcmd ownfiles __init__
event command gate doorman
yamlscalar yamldoc prices modelrules typed prompt
specevents specnetwork specmodel specrules specerrors specoverrides specschema spec starter
outcome changes discussion report verdict
ports
checkout history snapshot source remote verify workspace collect apply
briefing skills search edit toolspecs tools budget loop checks
context guard markup render comment record run
origin sticky answer
console closing desk actionlog
models sandboxes forges
wiring
session preview trusted request local_run action_run publish_run doctor leftovers listing
cli
__main__
""".strip().splitlines()
HOMES = {
    "e2b": {"sandboxes.e2b"},
    "anthropic": {"models.claude"},
    "github": {"forges.github"},
    "yaml": {"yamldoc"},
    "jinja2": {"prompt"},
    "jsonschema": {"typed"},
    "pydantic": {"specmodel", "report"},
    "rich": {"console", "closing"},
    "click": {"cli", "__main__"},
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


def layer(name: str) -> int:
    top = name.split(".", maxsplit=1)[0]
    found = [number for number, line in enumerate(LAYERS) if top in line.split()]
    assert found, f"{name} stands in no layer"
    return found[0]


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_a_module_imports_only_what_stands_above_it(name: str, path: Path) -> None:
    known = {module for module, _ in modules()}
    for imported in imports(path):
        inner = imported.removeprefix("flue_ci.")
        if not imported.startswith("flue_ci.") or inner not in known:
            continue
        assert layer(inner) <= layer(name), f"{name} imports {inner}, which stands below it"
        if inner.startswith(("models.", "sandboxes.", "forges.")):
            own = name.split(".", maxsplit=1)[0] == inner.split(".")[0]
            assert own or name == "wiring", f"{name} imports the adapter {inner}; only wiring may"


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_each_package_has_one_home(name: str, path: Path) -> None:
    for imported in imports(path):
        package = imported.split(".")[0]
        assert name in HOMES.get(package, {name}), f"{name} imports {package}; its home is {HOMES[package]}"
        assert package in HOMES or package == "flue_ci" or package in sys.stdlib_module_names, (
            f"{name} imports {package}"
        )


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
        "import sys; from flue_ci.__main__ import guarded; code = guarded(sys.argv[1:]);"
        "big = ('e2b', 'anthropic', 'github', 'pydantic', 'rich', 'yaml', 'jinja2', 'asyncio');"
        "print([name for name in big if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_spec_is_read_without_the_vendors_packages() -> None:
    code = (
        "import sys, flue_ci.spec, flue_ci.wiring; big = ('e2b', 'anthropic', 'github', 'rich', 'jsonschema');"
        "print([name for name in big if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
