"""Prompt templates: the one home of jinja2, which is imported only for text that has braces.

A template is text with variables, conditions and loops; filters and methods come from short lists. A template that
could take long or grow large is rendered in a process of its own, with limits for time and memory: whatever its loops,
filters and methods do counts there. Specs come from people with write access, or from a checkout of somebody else's.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flue_ci.core.errors import Diagnostic, UsageError
from flue_ci.core.text import did_you_mean, one_line

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 1_000_000
MAX_DEPTH = 60
MAX_NODES = 10_000  # of the syntax tree: compiling so many takes a second
MAX_SMALL_FILTERS = 10  # each may take a twentieth of a second for a long comment
MAX_SECONDS = 5.0
MAX_MEMORY = 512_000_000  # bytes of address space, on Linux

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
# What strangers wrote, except for these attributes: printed, it is marked as material.
_UNTRUSTED: Mapping[str, tuple[str, ...]] = {"pr": ("number", "base", "url"), "issue": ("number", "url")}
_FILTER_NAMES = """
abs capitalize count d default dictsort first float groupby indent int items join last length list lower map max min
reject rejectattr replace reverse select selectattr sort string sum title tojson trim truncate unique upper
"""
_TEXT_METHODS = """
capitalize count endswith find lower lstrip removeprefix removesuffix rstrip split splitlines startswith strip
title upper
"""
FILTERS = frozenset(_FILTER_NAMES.split())
_SMALL_FILTERS = frozenset(("d", "default", "first", "last", "length", "lower", "title", "trim", "upper"))
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
}
_BRACES = re.compile(r"\{[{%#]")


def render(
    template: str, variables: Mapping[str, object], *, max_seconds: float = MAX_SECONDS, mark: bool = False
) -> str:
    """`template` with its variables filled in; at most `MAX_CHARS` characters. With `mark`, what it prints of `pr` and
    `issue` stands between <untrusted …> and </untrusted>, which must not occur in the variables.

    A variable that has no value is undefined: `default` and `if` take it for absent, anything else is an error. The
    same goes for an `instruction` without text. Raises `UsageError` that names the line.
    """
    if not _BRACES.search(template):
        return template
    values = {name: value for name, value in variables.items() if name != "instruction" or str(value).strip()}
    tree, runnable = _compile(template, mark=mark)
    if _is_small(tree):
        return _evaluate(runnable, values)
    return _render_in_child(template, values, max_seconds, mark)


def template_flaw(template: str) -> Diagnostic | None:
    """The first flaw of `template` that shows before there are values, or None. Its `line` is one of the template."""
    if not _BRACES.search(template):
        return None
    try:
        _compile(template)
    except _TemplateFlaw as error:
        return error.flaw
    return None


def required_variables(template: str) -> Mapping[str, int]:
    """The variables without which a valid `template` cannot be rendered, each with the first line that needs it. One
    that stands only behind a condition, or has a `default`, is none."""
    if not _BRACES.search(template):
        return {}
    from jinja2 import nodes

    tree = _environment().parse(template)
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    lines: dict[str, int] = {}
    for node in tree.body:
        for name in _evaluated_names(node):
            if name.name in VARIABLES.keys() - own:
                lines.setdefault(name.name, name.lineno)
    return lines


def _evaluated_names(node: nodes.Node) -> Iterator[nodes.Name]:
    """The names that are read in any case when `node` is, and must have a value."""
    from jinja2 import nodes

    children: Iterable[nodes.Node] = node.iter_child_nodes()
    if isinstance(node, nodes.Name):
        yield node
    elif (
        isinstance(node, nodes.Filter) and node.name in ("d", "default") and isinstance(node.node, nodes.Name)
    ) or isinstance(node, nodes.Test):
        return
    elif isinstance(node, nodes.If | nodes.CondExpr):
        children = [node.test]
    elif isinstance(node, nodes.For):
        children = [node.iter]
    elif isinstance(node, nodes.And | nodes.Or):
        children = [node.left]
    for child in children:
        is_condition = isinstance(node, nodes.If | nodes.CondExpr | nodes.And | nodes.Or | nodes.Not)
        if not (is_condition and isinstance(child, nodes.Name)):
            yield from _evaluated_names(child)


class _TemplateFlaw(UsageError):
    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"prompt template, line {line}: {message}", hint=hint)
        self.flaw = Diagnostic(line=line, message=message, hint=hint)


def _is_small(tree: nodes.Template) -> bool:
    """Whether the template takes little time and memory for its length: there are no loops, no operators, no calls and
    few filters, and variables are put in one after the other."""
    from jinja2 import nodes

    small = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Name, nodes.Getattr, nodes.Const)
    if sum(1 for _ in tree.find_all(nodes.Filter)) > MAX_SMALL_FILTERS:
        return False
    return all(
        isinstance(node, small) or (isinstance(node, nodes.Filter) and node.name in _SMALL_FILTERS)
        for node in tree.find_all(nodes.Node)
    )


def _render_in_child(template: str, values: Mapping[str, object], max_seconds: float, mark: bool) -> str:
    code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flue_ci.spec.template import child; child()"
    command = [sys.executable, "-I", "-c", code, json.dumps(sys.path)]
    job = json.dumps({"template": template, "values": values, "max_seconds": max_seconds, "mark": mark})
    try:
        # In a session of its own, so that Ctrl-C reaches only this process, which ends the run in an orderly way.
        process = subprocess.run(
            command, input=job.encode(), capture_output=True, timeout=max_seconds, start_new_session=True, check=False
        )
        answer = json.loads(process.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # the process was ended from outside, or by one of its limits
        message = f"the prompt cannot be made: it takes more than {max_seconds:g} seconds, or too much memory"
        raise _TemplateFlaw(1, message, "use fewer or shorter loops") from None
    if "text" in answer:
        return str(answer["text"])
    raise _TemplateFlaw(**answer)


def child() -> None:
    """The process that renders one template: the job comes on its input, the text or the flaw goes to its output."""
    import resource

    job = json.load(sys.stdin)
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(job["max_seconds"]),) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    except (OSError, ValueError):  # macOS has no limit for memory; the one for time is left
        pass
    try:
        answer: dict[str, object] = {"text": _evaluate(_compile(job["template"], mark=job["mark"])[1], job["values"])}
    except _TemplateFlaw as error:
        answer = {"line": error.flaw.line, "message": error.flaw.message, "hint": error.flaw.hint}
    json.dump(answer, sys.stdout)


def _evaluate(template: Template, values: Mapping[str, object]) -> str:
    import jinja2

    chunks: list[str] = []
    size = 0
    try:
        for chunk in template.generate(values):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_CHARS:
                raise ValueError(f"text longer than {MAX_CHARS:,} characters")
    except jinja2.TemplateError as error:
        raise _flaw_of(error, _first_line(error)) from None
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError, MemoryError, RecursionError) as error:
        raise _flaw_of(error, f"the prompt cannot be made: {_first_line(error)}") from None
    return "".join(chunks)


def _compile(template: str, *, mark: bool = False) -> tuple[nodes.Template, Template]:
    """The template's tree, and the template ready to be filled in. Raises `_TemplateFlaw`."""
    import jinja2

    environment = _environment()
    try:
        tree = environment.parse(template)
    except RecursionError:
        raise _TemplateFlaw(1, "nested too deeply") from None
    except jinja2.TemplateError as error:
        raise _flaw_of(error, _first_line(error)) from None
    except ValueError as error:  # Python's own limit for digits
        raise _TemplateFlaw(1, _first_line(error)) from None
    _check_size(tree)
    _check_nodes(tree)
    try:
        _check_names(tree)
        if mark:
            _mark_untrusted(tree)
        return tree, environment.from_string(tree)
    except jinja2.TemplateError as error:
        raise _flaw_of(error, _first_line(error)) from None
    except (SyntaxError, RecursionError, ValueError) as error:  # Python's own limits for loops and chains of `elif`
        raise _TemplateFlaw(1, _first_line(error)) from None


def _mark_untrusted(tree: nodes.Template) -> None:
    """Puts marks around what is printed of untrusted variables, also by way of the template's own variables."""
    from jinja2 import nodes

    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    if not any(name.name in _UNTRUSTED for name in tree.find_all(nodes.Name)):
        return
    trusted = {
        id(access.node)
        for access in tree.find_all(nodes.Getattr)
        if isinstance(access.node, nodes.Name) and access.attr in _UNTRUSTED.get(access.node.name, ())
    }
    for output in tree.find_all(nodes.Output):
        parts: list[nodes.Expr] = []
        for part in output.nodes:
            names = [name for name in nodes.Output([part]).find_all(nodes.Name) if id(name) not in trusted]
            if any(name.name in _UNTRUSTED or name.name in own for name in names):
                parts += [nodes.TemplateData('<untrusted source="GitHub">'), part, nodes.TemplateData("</untrusted>")]
            else:
                parts.append(part)
        output.nodes = parts


def _check_nodes(tree: nodes.Template) -> None:
    from jinja2 import nodes

    kinds = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport, nodes.Macro, nodes.CallBlock, nodes.Block)
    for node in tree.find_all(kinds):
        message = f"`{type(node).__name__.lower()}` is not available in a prompt"
        raise _TemplateFlaw(node.lineno, message, "a prompt is text, variables, `if` and `for`")
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise _TemplateFlaw(loop.lineno, "`recursive` loops are not available in a prompt")
    for call in tree.find_all(nodes.Filter):
        if call.name not in FILTERS:
            message = f"there is no filter `{one_line(call.name, 40)}`"
            raise _TemplateFlaw(call.lineno, message, _suggest(call.name, FILTERS))
    for number in tree.find_all(nodes.Const):
        if number.value in (math.inf, -math.inf):  # would be written as a name that does not exist
            raise _TemplateFlaw(number.lineno, "a number that is too large")


def _check_size(tree: nodes.Template) -> None:
    level: list[nodes.Node] = [tree]
    count = 0
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
        count += len(level)
        if count > MAX_NODES:
            raise _TemplateFlaw(
                level[0].lineno, f"more than {MAX_NODES:,} pieces", "a prompt is text with a few variables"
            )
    raise _TemplateFlaw(level[0].lineno, "nested too deeply")


def _check_names(tree: nodes.Template) -> None:
    from jinja2 import meta, nodes

    # This is `meta.find_undeclared_variables` without its optimizer, which would compute constants.
    generator = meta.TrackingCodeGenerator(_environment())
    generator.optimizer = None
    generator.visit(tree)
    unknown = generator.undeclared_identifiers - VARIABLES.keys() - {"range", "namespace"}
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            message = f"there is no variable `{one_line(name.name, 40)}`"
            raise _TemplateFlaw(name.lineno, message, _suggest(name.name, VARIABLES))
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    for access in tree.find_all(nodes.Getattr):
        if not isinstance(access.node, nodes.Name) or access.node.name in own:
            continue
        attributes = VARIABLES.get(access.node.name, ())
        if attributes and access.attr not in attributes:
            message = f"`{access.node.name}` has no `{one_line(access.attr, 40)}`"
            raise _TemplateFlaw(access.lineno, message, _suggest(access.attr, attributes))


def _environment() -> ImmutableSandboxedEnvironment:
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
    # Because this function needs the context, jinja2 computes no constants such as 'a' * 10**9 while it compiles.
    environment.finalize = jinja2.pass_context(lambda _, value: value)
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
    filters = environment.filters | {"tojson": _tojson, "truncate": _truncate}
    environment.filters = {name: filters[name] for name in FILTERS}
    return environment


def _tojson(value: object, indent: int | None = None) -> str:
    """JSON as people read it: nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _truncate(text: object, length: int = 255, killwords: bool = False, end: str = "…") -> str:
    text = str(text)
    if len(text) <= length:
        return text
    head = text[: max(length - len(end), 0)]
    if not killwords:
        head = head.rsplit(" ", 1)[0]
    return head + end


def _suggest(word: str, names: Iterable[str]) -> str:
    return did_you_mean(word, names, f"there are: {', '.join(sorted(names))}")


def _first_line(error: BaseException) -> str:
    text = one_line(str(error) or type(error).__name__, 200)
    return re.sub(r"^'(\w+)' is undefined$", r"`\1` is not known in this run", text)


def _flaw_of(error: BaseException, message: str) -> _TemplateFlaw:
    return _TemplateFlaw(_line_of(error), message, _hint(error))


def _hint(error: BaseException) -> str:
    text = str(error)
    if match := re.match(r"'(\w+)' is undefined", text):
        name = match[1]
        if name == "instruction":
            return 'say what to do: flue-ci run AGENT "…", or give it a default in the spec'
        if name in VARIABLES:
            return f"guard it with `{{% if {name} %}}`, or give it a default"
    if "endfor" in text or "endif" in text or "end of template" in text or "end of print" in text:
        return "close every `{{`, `{%`, `if` and `for`; text that needs braces goes between {% raw %} and {% endraw %}"
    return ""


def _line_of(error: BaseException) -> int:
    """The template's line: of the error, or of the traceback, where jinja2 writes lines of the template."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return int(line or 1)
