"""Prompt templates: the one home of jinja2, which is imported only for text that has braces.

A template is text with variables, conditions and loops. It reads nothing, calls nothing of ours and stays small:
operators, filters and methods come from short lists, and every render has a budget.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flue_ci.core.errors import UsageError
from flue_ci.core.text import closest_match, one_line

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 1_000_000
MAX_STEPS = 100_000
MAX_NUMBER = 10**18
MAX_DEPTH = 60
MAX_WORK = 100_000_000

# What a template may use, with the attributes of each. `instruction` is what the person asked for; `pr` and `issue`
# exist only when the run is about one. All of them are values made of text, numbers, lists and mappings.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "instruction": (),
    "agent": ("name", "description"),
    "event": ("name", "actor"),
    "repo": ("name", "ref", "sha"),
    "pr": ("number", "title", "body", "author", "base", "head", "labels", "url"),
    "issue": ("number", "title", "body", "author", "labels", "url"),
}
# fmt: off
FILTERS = frozenset((
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "indent", "int",
    "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace",
    "reverse", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "truncate",
    "unique", "upper",
))
_TEXT_FILTERS = frozenset((
    "capitalize", "indent", "lower", "replace", "string", "title", "tojson", "trim", "truncate", "upper",
))
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset((
        "capitalize", "count", "endswith", "find", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip",
        "split", "splitlines", "startswith", "strip", "title", "upper",
    )),
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
}
# fmt: on
_BRACES = re.compile(r"\{[{%#]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What is wrong with a template. `line` counts from 1 within the template."""

    line: int
    message: str
    hint: str = ""


def render(template: str, variables: Mapping[str, object]) -> str:
    """`template` with its variables filled in; at most `MAX_CHARS` characters.

    A variable that was not given is undefined: `default` and `if` take it for absent, anything else is an error. The
    same goes for an `instruction` without text. Raises `UsageError` that names the line.
    """
    if not _BRACES.search(template):
        return template
    import jinja2

    given = {name: value for name, value in variables.items() if name != "instruction" or str(value).strip()}
    budget = _Budget(template)
    try:
        tree = _checked(template)
        compiled = _environment(budget).from_string(tree)
        return budget.join(compiled.generate(given))
    except _Bad as bad:
        raise _usage(bad.flaw) from None
    except jinja2.TemplateError as error:
        raise _usage(Flaw(line=_line_of(error), message=_first_line(error), hint=_hint(error))) from None
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError, SyntaxError) as error:
        message = f"the prompt cannot be made: {_first_line(error)}"
        raise _usage(Flaw(line=_line_of(error), message=message)) from None


def flaw_of(template: str) -> Flaw | None:
    """The first thing in `template` that can be known to be wrong before there are values, or None."""
    if not _BRACES.search(template):
        return None
    import jinja2

    try:
        _environment(_Budget()).compile(_checked(template))
    except _Bad as bad:
        return bad.flaw
    except jinja2.TemplateError as error:
        return Flaw(line=_line_of(error), message=_first_line(error), hint=_hint(error))
    except (SyntaxError, RecursionError, ValueError) as error:  # Python's own limits: loops, chains of `elif`, digits
        return Flaw(line=1, message=_first_line(error))
    return None


def _usage(flaw: Flaw) -> UsageError:
    return UsageError(f"prompt template, line {flaw.line}: {flaw.message}", hint=flaw.hint)


class _Bad(Exception):
    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.flaw = Flaw(line=line, message=message, hint=hint)


class _Budget:
    """What one render may still do. Its functions stand in for loops and before whatever makes text or lists."""

    def __init__(self, template: str = "") -> None:
        self._step_size = len(template)  # what one round of a loop may write by itself
        self._steps = 0
        self._work = 0

    def _charge(self, characters: int) -> None:
        self._work += characters
        if self._work > MAX_WORK:
            raise ValueError("it handles too much text")

    def count(self, items: Iterable[object]) -> Iterator[object]:
        for item in items:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise ValueError(f"its loops take more than {MAX_STEPS:,} steps")
            self._charge(self._step_size)
            yield item

    def weigh(self, value: Any) -> Any:
        """`value`, when it is small. What it holds several times counts several times, as it would written out."""
        size, rest = 0, [value]
        while rest:
            item = rest.pop()
            size += len(item) if isinstance(item, str) else 10
            if isinstance(item, list | tuple):
                rest += item
            elif isinstance(item, Mapping):
                rest += [*item.keys(), *item.values()]
            _fits(size + 10 * len(rest))
        self._charge(size)
        return value

    def weighed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda value, *args, **named: function(self.weigh(value), *args, **named)

    def join(self, value: Iterable[object], d: str = "", attribute: str | None = None) -> str:
        """jinja2's filter, with bounds."""
        parts: list[str] = []
        size = 0
        for item in self.count(value):
            found = item.get(attribute, "") if attribute is not None and isinstance(item, Mapping) else item
            text = str(self.weigh(found))
            parts += [d, text] if parts else [text]
            size += len(d) + len(text)
            _fits(size)
        return "".join(parts)


def _fits(size: int) -> None:
    if size > MAX_CHARS:
        raise ValueError(f"text longer than {MAX_CHARS:,} characters")


def _checked(template: str) -> nodes.Template:
    """The template's tree, with loops and joined text made to count. Raises `_Bad` for what is not allowed in one."""
    import jinja2
    from jinja2 import nodes

    try:
        tree = _environment(_Budget()).parse(template)
    except jinja2.TemplateSyntaxError as error:
        raise _Bad(error.lineno, _first_line(error), _hint(error)) from None
    except RecursionError:
        raise _Bad(1, "nested too deeply") from None
    _check_depth(tree)
    kinds = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport, nodes.Macro, nodes.CallBlock, nodes.Block)
    for node in tree.find_all(kinds):
        raise _Bad(
            node.lineno,
            f"`{type(node).__name__.lower()}` is not available in a prompt",
            "a prompt is text, variables, `if` and `for`",
        )
    for filtered in tree.find_all(nodes.Filter):
        if filtered.name not in FILTERS:
            raise _Bad(
                filtered.lineno, f"there is no filter `{one_line(filtered.name, 40)}`", _meant(filtered.name, FILTERS)
            )
    for number in tree.find_all(nodes.Const):
        if number.value in (math.inf, -math.inf):  # would be written as a name that does not exist
            raise _Bad(number.lineno, "a number that is too large")
    _check_names(tree)
    return _counting(tree)


def _check_depth(tree: nodes.Template) -> None:
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise _Bad(level[0].lineno, "nested too deeply")


def _check_names(tree: nodes.Template) -> None:
    from jinja2 import meta, nodes

    unknown = meta.find_undeclared_variables(tree) - VARIABLES.keys() - {"range", "namespace"}
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            raise _Bad(name.lineno, f"there is no variable `{one_line(name.name, 40)}`", _meant(name.name, VARIABLES))
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    for access in tree.find_all(nodes.Getattr):
        if not isinstance(access.node, nodes.Name) or access.node.name in own or access.node.name not in VARIABLES:
            continue
        known = VARIABLES[access.node.name]
        if known and access.attr not in known:
            raise _Bad(
                access.lineno, f"`{access.node.name}` has no `{one_line(access.attr, 40)}`", _meant(access.attr, known)
            )


def _counting(tree: nodes.Template) -> nodes.Template:
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Counting(NodeTransformer):
        def visit_For(self, node: nodes.For) -> nodes.For:
            if node.recursive:
                raise _Bad(node.lineno, "`recursive` loops are not available in a prompt")
            self.generic_visit(node)
            node.iter = nodes.Filter(node.iter, "_count", [], [], None, None, lineno=node.lineno)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
            self.generic_visit(node)
            return nodes.Filter(
                nodes.List(node.nodes, lineno=node.lineno), "_join", [], [], None, None, lineno=node.lineno
            )

        def visit_List(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Node:
            self.generic_visit(node)
            if getattr(node, "ctx", "load") != "load":  # the targets of `for a, b in …`
                return node
            return nodes.Filter(node, "_weigh", [], [], None, None, lineno=node.lineno)

        visit_Tuple = visit_Dict = visit_List

    Counting().visit(tree)
    tree.set_environment(_environment(_Budget()))
    return tree


def _environment(budget: _Budget) -> ImmutableSandboxedEnvironment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Absent(jinja2.StrictUndefined):
        """A variable of ours without a value is false in an `if`; anything else undefined is an error there."""

        __slots__ = ()

        def __bool__(self) -> bool:  # type: ignore[override]  # jinja2 types it as always failing
            if self._undefined_name in VARIABLES and self._undefined_obj is jinja2.utils.missing:
                return False
            return super().__bool__()

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            return _bounded(operator, left, right, super().call_binop, context)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            if callable(value) and not isinstance(obj, jinja2.runtime.LoopContext):
                return attr in _METHODS.get(type(obj), ())
            return super().is_safe_attribute(obj, attr, value)

        def wrap_str_format(self, value: Any) -> None:
            """No special way for `str.format`: like any method that is not listed it is refused."""

    environment = Environment(
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=Absent,
        optimized=False,
    )
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
    own = {"indent": _indent, "replace": _replace, "tojson": _tojson, "truncate": _truncate}
    known = {name: own.get(name, environment.filters[name]) for name in FILTERS}
    environment.filters = {
        name: budget.weighed(known[name]) if name in _TEXT_FILTERS else known[name] for name in known
    }
    environment.filters |= {"_count": budget.count, "_join": budget.join, "_weigh": budget.weigh, "join": budget.join}
    environment.finalize = budget.weigh
    return environment


def _bounded(operator: str, left: Any, right: Any, compute: Any, context: Any) -> Any:
    """An operator's value, refused before it is computed when it would be huge."""
    if isinstance(left, int | float) and isinstance(right, int | float):
        if operator == "**" and (abs(right) > 64 or abs(left) > MAX_NUMBER):
            raise ValueError("a number that is too large")
        value = compute(context, operator, left, right)
        if isinstance(value, complex) or abs(value) > MAX_NUMBER:
            raise ValueError("a number that is too large")
        return value
    if operator in ("*", "%", "**"):
        raise ValueError(f"`{operator}` is for numbers; join text with `~`")
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        _fits(len(left) + len(right))
    return compute(context, operator, left, right)


def _indent(text: str, width: int = 4, first: bool = False) -> str:
    if not 0 <= width <= 100:
        raise ValueError("`indent` takes a width from 0 to 100")
    lines = str(text).split("\n")
    _fits(len(text) + width * len(lines))
    pad = " " * width
    rest = [pad + line if line else line for line in lines[1:]]
    return "\n".join([pad + lines[0] if first else lines[0], *rest])


def _tojson(value: object, indent: int | None = None) -> str:
    """JSON as people read it: nothing is escaped for HTML."""
    if indent is not None and not 0 <= indent <= 10:
        raise ValueError("`tojson` takes an indent from 0 to 10")
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _truncate(text: object, length: int = 255, killwords: bool = False, end: str = "…") -> str:
    text = str(text)
    if len(text) <= length:
        return text
    cut = text[: max(length - len(end), 0)]
    return (cut if killwords or " " not in cut else cut.rsplit(" ", 1)[0]) + end


def _replace(text: str, old: str, new: str) -> str:
    text = str(text)
    _fits(len(text) + text.count(old) * max(len(new) - len(old), 0))
    return text.replace(old, new)


def _meant(word: str, known: Iterable[str]) -> str:
    near = closest_match(word, known)
    return f"did you mean `{near}`?" if near else f"there are: {', '.join(sorted(known))}"


def _first_line(error: BaseException) -> str:
    text = one_line(str(error) or type(error).__name__, 200)
    return re.sub(r"^'(\w+)' is undefined$", r"`\1` is not known in this run", text)


def _hint(error: BaseException) -> str:
    text = str(error)
    if found := re.match(r"'(\w+)' is undefined", text):
        name = found[1]
        if name == "instruction":
            return 'say what to do: flue-ci run AGENT "…", or give it a default in the spec'
        if name in VARIABLES:
            return f"guard it with `{{% if {name} %}}`, or give it a default"
    if "endfor" in text or "endif" in text or "end of template" in text or "end of print" in text:
        return "close every `{{`, `{%`, `if` and `for`; text that needs braces goes between {% raw %} and {% endraw %}"
    return ""


def _line_of(error: BaseException) -> int:
    """The template's line in the traceback, which jinja2 rewrites to template lines."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return int(line or 1)
