"""Syntax colours by Pygments, within a budget: what is too large, too slow or of no known language stays plain."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from markupsafe import escape

if TYPE_CHECKING:
    from pygments.lexer import Lexer

MAX_CHARACTERS = 400_000
MAX_SECONDS = 1.0
MAX_LINE = 500  # characters; longer lines are data or minified
# Names of Pygments with endings of files. Only well-tested lexers, and none that other packages bring: the code is a
# stranger's.
_LEXERS = """
    bash sh bash zsh | c c h | clojure clj cljs edn | cmake cmake | cpp cc cpp cxx hh hpp | csharp cs | css css less
    | scss scss | dart dart | docker dockerfile | elixir ex exs | go go | graphql graphql gql | groovy gradle groovy
    | haskell hs
    | html html htm vue svelte | ini cfg conf ini | java java | javascript cjs js jsx mjs | json json jsonc jsonl
    | kotlin kt kts | lua lua | make makefile mk | perl pl pm | php php | protobuf proto | python py pyi | r r | ruby rb
    | rust rs | scala scala | sql sql | swift swift | terraform tf | toml toml | typescript ts tsx mts cts
    | xml svg xml xsd | yaml yaml yml
"""
_CLASSES = {  # of Pygments' token types, the nearest ancestor counts
    "Comment": "c",
    "Keyword": "k",
    "Literal.String": "s",
    "Literal.Number": "m",
    "Name.Attribute": "t",
    "Name.Builtin": "b",
    "Name.Class": "f",
    "Name.Decorator": "f",
    "Name.Function": "f",
    "Name.Tag": "t",
    "Operator.Word": "k",
}


class Highlighter:
    """Colours code until the budget of one page is spent. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._characters = MAX_CHARACTERS
        self._deadline = clock() + MAX_SECONDS

    def lines(self, path: str, lines: list[str]) -> list[str]:
        """Each line as HTML, without a line break. `path` says which language it is."""
        size = sum(map(len, lines)) + len(lines)
        lexer = _lexer(path)
        if lexer and size <= self._characters and max(map(len, lines), default=0) <= MAX_LINE:
            self._characters -= size
            rows = self._colour_lines(lexer, "\n".join(lines))
            if len(rows) == len(lines):
                return rows
        return [str(escape(line)) for line in lines]

    def _colour_lines(self, lexer: "Lexer", text: str) -> list[str]:
        """Fewer or more lines than the text has when the time is up, or when the lexer altered it."""
        rows: list[list[str]] = [[]]
        size = 0
        for _, token, value in lexer.get_tokens_unprocessed(text):
            if self._clock() > self._deadline:
                return []
            size += len(value)
            name = _class(token)
            for index, piece in enumerate(value.split("\n")):
                if index:
                    rows.append([])
                if piece and name:
                    rows[-1].append(f"<i class={name}>{escape(piece)}</i>")
                elif piece:
                    rows[-1].append(str(escape(piece)))
        if size != len(text):
            return []
        return ["".join(row) for row in rows]


@cache
def _lexer(path: str) -> "Lexer | None":
    name = PurePosixPath(path.lower())
    alias = _aliases().get(name.suffix.removeprefix(".") or name.name)
    if alias is None:
        return None
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(alias, stripnl=False, ensurenl=False, startinline=True)


@cache
def _aliases() -> dict[str, str]:
    rows = [row.split() for row in _LEXERS.split("|")]
    return {name: row[0] for row in rows for name in row}


@cache
def _class(token: Any) -> str:
    names = [".".join(token[:count]) for count in range(len(token), 0, -1)]
    return next((_CLASSES[name] for name in names if name in _CLASSES), "")
