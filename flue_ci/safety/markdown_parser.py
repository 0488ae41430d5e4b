"""markdown-it with the rules of GitHub, and with the place of each token in the text.

The only module that imports `markdown_it`. That parser says by line where blocks are, and of inline nodes nothing: its
rules are wrapped here. `safety.markdown_reader` makes a tree of the tokens.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.helpers import parseLinkDestination, parseLinkTitle
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from flue_ci.safety.active_text import HOST

__all__ = ["Span", "Token", "UnreadableMarkdown", "link_parts", "parse_markdown"]

Span = tuple[int, int]  # from the first character to the one behind the last, as offsets in the text
MAX_DEPTH = 40  # of blocks in blocks and inline nodes in inline nodes
_STEPS_PER_CHARACTER = 60  # of the parser: honest text takes ten; some texts of n characters would take n² of them
_LEAST_STEPS = 20_000
_MAX_LINKS = 5_000  # behind each `](` up to a hundred characters are read
# The first characters of blocks that can begin with no others: most rules need not be asked.
_SIGNS = {
    **{"blockquote": ">", "hr": "*-_", "fence": "`~", "html_block": "<", "heading": "#", "footnote_def": "["},
    "list": "*+-0123456789",
}
_TOO_MUCH = "too many signs of Markdown, or nested too deeply"
_SCHEME = re.compile(r"(?<![A-Za-z])(?:https?|ftp)\Z", re.IGNORECASE)
_HOST = re.compile(HOST)
_FOOTNOTE_USE = re.compile(r"\[\^[^\s\[\]]+\]")
_ADDRESS = re.compile(r"[^ \t\n<`]*")
_PUNCTUATION = frozenset(string.punctuation)
_MOST_PARENTHESES = 32  # open ones in the address of a link
_BEFORE_WWW = " \t\n*_~("


class UnreadableMarkdown(ValueError):
    """A text that nobody wrote to be read: blocks nested too deeply, or signs that would take the parser minutes."""


def parse_markdown(source: str) -> list[Token]:
    """The tokens of a text. `meta["lines"]` of a block's are the places of its lines, without the prefix of the blocks
    around it; `meta["span"]` of an inline one is its place in the inline text of its block. Text that no rule made has
    `meta["pending"]` instead: it stands directly behind the token before it. Raises `UnreadableMarkdown`."""
    if source.count("](") > _MAX_LINKS:
        raise UnreadableMarkdown("too many links")
    env: dict[str, Any] = {"steps": _STEPS_PER_CHARACTER * len(source) + _LEAST_STEPS}
    try:
        return _parser().parse(source, env)
    except RecursionError as error:
        raise UnreadableMarkdown("nested too deeply") from error


class _State(StateInline):
    """Notes where each token begins and ends."""

    def pushPending(self) -> Token:
        token = super().pushPending()
        token.meta["pending"] = True
        return token

    def push(self, ttype: str, tag: str, nesting: Any) -> Token:
        token = super().push(ttype, tag, nesting)
        token.meta["at"] = self.pos
        return token


class _Inline(ParserInline):
    def parse(self, src: str, md: MarkdownIt, env: Any, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return tokens


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("gfm-like2", {"inline_definitions": True, "store_labels": True, "alerts": False})
    parser.options["tasklists"] = False  # would look for blocks behind the box; a box is text here
    parser.options["linkify"] = False  # finds other addresses than GitHub does: `_address_rule` stands in its place
    parser.options["maxNesting"] = 2 * MAX_DEPTH  # there it would silently leave out the rest
    parser.disable(["linkify", "fragments_join", "text_join"])
    rules = parser.block.ruler.__rules__
    rules.insert(-2, rules.pop(0))  # the head of a table is a paragraph, nothing else can be one
    inline = _Inline()
    inline.ruler, inline.ruler2 = parser.inline.ruler, parser.inline.ruler2
    parser.inline = inline
    footnote_plugin(parser, inline=False, move_to_end=False)
    parser.block.ruler.before(rules[0].name, "footnote_start", _footnote_start_rule)
    inline.add_terminator_char("w")
    inline.ruler.before("newline", "address", _address_rule)
    inline.ruler.before("escape", "backslash", _backslash_rule)
    parser.helpers = SimpleNamespace(  # type: ignore[assignment]
        parseLinkDestination=_destination, parseLinkLabel=_label, parseLinkTitle=_title
    )
    parser.validateLink = lambda url: True  # type: ignore[method-assign] # whether it may stay is decided elsewhere
    parser.normalizeLink = parser.normalizeLinkText = lambda url: url  # type: ignore[method-assign, assignment]
    for rule in rules:
        if rule.name == "footnote_def":  # in GitHub's reading it also ends quotes, lists and tables
            rule.alt += ["blockquote", "list", "table"]
        elif rule.name in ("code", "list", "html_block"):
            rule.fn = _below_definition(rule.fn, rule.name != "code")
        elif rule.name == "table":
            rule.fn = _once_in_a_paragraph(rule.fn)
        elif rule.name in ("paragraph", "lheading", "reference"):
            rule.fn = _remembered_paragraph(rule.fn)
        rule.fn = _placed_block(rule.fn, _SIGNS.get(rule.name, ""))
    for inline_rule in inline.ruler.__rules__:
        inline_rule.fn = _placed_inline(inline_rule.fn)
    return parser


def _below_definition(rule: Callable[..., bool], may_end: bool) -> Callable[..., bool]:
    """The rule, but right behind a definition only for what ends a paragraph: to GitHub a definition is one until its
    end is known. `may_end`: the rule is one that can do so."""

    def run(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        last = state.tokens[-1:]
        if not silent and last and last[0].type == "definition" and last[0].map and last[0].map[1] == start:
            parent, state.parentType = state.parentType, "paragraph"
            ends_paragraph = may_end and rule(state, start, end, True)
            state.parentType = parent
            if not ends_paragraph:
                return False
        return rule(state, start, end, silent)

    return run


def _remembered_paragraph(rule: Callable[..., bool]) -> Callable[..., bool]:
    def run(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        state.env["paragraph"] = start
        return rule(state, start, end, silent)

    return run


def _once_in_a_paragraph(rule: Callable[..., bool]) -> Callable[..., bool]:
    """The rule for tables. GitHub looks once in a paragraph: behind a line that could stand below the head of a table,
    but has other columns, none begins there any more. A definition is a paragraph to it."""

    def run(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        first, last = start, state.tokens[-1:]
        if silent:
            first = state.env.get("paragraph", start)
        elif last and last[0].type == "definition" and last[0].map and last[0].map[1] == start:
            first = start - 1
        known, line, is_over = state.env.get("tables", (-1, -1, False))
        if known != first or line > start:
            line, is_over = first, False
        is_over = is_over or any(_is_below_head(state, number) for number in range(line + 1, start + 1))
        state.env["tables"] = first, start, is_over
        return not is_over and rule(state, start, end, silent)

    return run


def _is_below_head(state: StateBlock, number: int) -> bool:
    """Whether a line has dashes, colons and pipes only, as below the head of a table."""
    line = state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
    if not line or line.strip("|-: \t"):
        return False
    cells = line.removeprefix("|").removesuffix("|").split("|")
    return all(cell.strip().removeprefix(":").removesuffix(":").strip("-") == "" and "-" in cell for cell in cells)


def _footnote_start_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Never a block: takes the blanks behind the colon of a footnote for a part of its sign, as GitHub does, so that
    what follows is not indented by them."""
    first = state.bMarks[start]
    if state.parentType == "footnote" and state.src[first - 1 : first] == ":":
        state.bMarks[start] += state.tShift[start]
        state.tShift[start] = 0
        state.sCount[start] = state.blkIndent
    return False


def _placed_block(rule: Callable[..., bool], signs: str) -> Callable[..., bool]:
    """The rule, which also notes for each of its tokens the first column and the end of its lines. `signs`: the block
    begins with one of them; "" for any."""

    def run(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        env = state.env
        env["steps"] -= 1
        if env["steps"] < 0 or state.level > MAX_DEPTH:
            raise UnreadableMarkdown(_TOO_MUCH)
        first = state.bMarks[start] + state.tShift[start]
        if signs and state.src[first : first + 1] not in signs:
            return False
        count = len(state.tokens)
        if not rule(state, start, end, silent):
            return False
        if not silent:
            for token in state.tokens[count:]:
                if token.map and "lines" not in token.meta:
                    numbers = range(token.map[0], min(token.map[1], state.lineMax))
                    marks = [(state.bMarks[each] + state.tShift[each], state.eMarks[each]) for each in numbers]
                    token.meta["lines"] = marks
        return True

    return run


def _placed_inline(rule: Callable[..., bool]) -> Callable[..., bool]:
    """The rule, which also notes where its tokens begin and end in the text of their block."""

    def run(state: StateInline, silent: bool) -> bool:
        state.env["steps"] -= 1
        if state.env["steps"] < 0 or state.level > MAX_DEPTH:
            raise UnreadableMarkdown(_TOO_MUCH)
        start, count = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        if silent:
            return True
        own = [token for token in state.tokens[count:] if "pending" not in token.meta and "span" not in token.meta]
        for index, token in enumerate(own):
            token.meta["span"] = (start, state.pos)
            if token.markup == "autolink":
                continue
            if token.type == "text":  # one sign of a row that may become emphasis
                width = len(token.content)
                token.meta["span"] = (start + index * width, start + (index + 1) * width)
            elif token.type == "link_open":
                token.meta["span"] = (start, token.meta["at"])
                token.meta["whole"] = (start, state.pos)
            elif token.type == "link_close":
                token.meta["span"] = (token.meta["at"], state.pos)
            elif token.type == "address":
                token.meta["span"] = (token.meta["from"], state.pos)
        return True

    return run


def _backslash_rule(state: StateInline, silent: bool) -> bool:
    """A backslash that escapes nothing is a letter like others."""
    following = state.src[state.pos + 1 : state.pos + 2]
    if state.src[state.pos] != "\\" or following == "\n" or (following and following in string.punctuation):
        return False
    if not silent:
        state.append_pending("\\")
    state.pos += 1
    return True


def _address_rule(state: StateInline, silent: bool) -> bool:
    """A bare address as in cmark-gfm's `autolink.c`, which takes every sign up to a space or `<`; but for a backtick,
    which a code span may own."""
    if silent or state.linkLevel > 0:
        return False
    text, start = state.src, state.pos
    if text.startswith("://", start):
        match = _SCHEME.search(state.pending[-12:])
        if not match or not _HOST.match(text, start + 3):
            return False
        start -= len(match[0])
    elif not text.startswith("www.", start) or (start and text[start - 1] not in _BEFORE_WWW):
        return False
    whole = _ADDRESS.match(text, start, state.posMax)
    assert whole
    address = _without_tail(whole[0])
    if start + len(address) <= state.pos + 3:
        return False
    if start < state.pos:
        state.pending = state.pending[: start - state.pos]
    token = state.push("address", "", 0)
    token.content = address
    token.meta["from"] = start
    state.pos = start + len(address)
    return True


def _without_tail(address: str) -> str:
    """The address without the signs that belong to the sentence around it."""
    end, opening, closing = len(address), address.count("("), address.count(")")
    while end:
        sign = address[end - 1]
        if sign == ")" and closing > opening:
            closing -= 1
        elif sign == ";" and (entity := re.search(r"&[A-Za-z]{1,32};\Z", address[max(end - 34, 0) : end])):
            end -= len(entity[0]) - 1
        elif sign not in "?!.,:*_~'\";":
            break
        end -= 1
    return address[:end]


def link_parts(text: str, position: int, end: int) -> dict[str, Span]:
    """The places of target and title in the text of a link or definition, from behind `(` or `:` on."""
    start = _skip_space(text, position, end)
    target = _destination(text, start, end)
    if not target.ok:
        return {}
    parts = {"target": (start, target.pos)}
    start = _skip_space(text, target.pos, end)
    title = parseLinkTitle(text, start, end)
    if title.ok and start > target.pos:
        parts["title"] = (start, title.pos)
    return parts


@dataclass(slots=True)
class _Destination:
    """What markdown-it wants to know: whether there is one, where it ends, and the address."""

    ok: bool = False
    pos: int = 0
    str: str = ""


def _label(state: StateInline, start: int, disableNested: bool = False) -> int:
    """Where the label of a link or image ends that begins at `start`, or -1. A link in it (where `disableNested`) ends
    the search, the use of a footnote does not: GitHub takes `[a [^1]](x)` for a link."""
    before, depth, end = state.pos, 1, -1
    state.pos = start + 1
    while state.pos < state.posMax:
        position, sign = state.pos, state.src[state.pos]
        depth -= sign == "]"
        if not depth:
            end = position
            break
        state.md.inline.skipToken(state)
        if sign == "[" and state.pos == position + 1:
            depth += 1
        elif sign == "[" and disableNested and not _FOOTNOTE_USE.fullmatch(state.src, position, state.pos):
            break
    state.pos = before
    return end


def _destination(text: str, start: int, end: int) -> _Destination:
    """Where a link leads, from `start` on. As in cmark-gfm's `manual_scan_link_url`, which takes a parenthesis that is
    not closed."""
    if text.startswith("<", start):
        found = parseLinkDestination(text, start, end)
        return _Destination(found.ok, found.pos, found.str)
    position, level = start, 0
    while position < end and text[position] > " " and text[position] != "\x7f":
        sign = text[position]
        if sign == "\\" and text[position + 1 : position + 2] in _PUNCTUATION and position + 1 < end:
            position += 1
        elif sign == "(":
            level += 1
            if level > _MOST_PARENTHESES:
                return _Destination()
        elif sign == ")":
            if not level:
                break
            level -= 1
        position += 1
    if position == start:
        return _Destination()
    return _Destination(True, position, unescapeAll(text[start:position]))


def _title(text: str, start: int, end: int, before: Any = None) -> Any:
    """As markdown-it's, to which a title without words counts as none: then what follows it in its line would end the
    definition above, and to GitHub it does not."""
    found = parseLinkTitle(text, start, end, before)
    if found.ok:
        found.str = found.str or " "
    return found


def _skip_space(text: str, position: int, end: int) -> int:
    while position < end and text[position] in " \t\n":
        position += 1
    return position
