"""Patterns of file names with ripgrep's meaning (`rg --glob`), as regular expressions of Python and Perl. Pure."""

import re

from flue_ci.agent.tools.tool import ToolError

_MOST_BRACES = 100  # alternatives in one pattern


def glob_expression(glob: str) -> str:
    """A regular expression for whole paths, relative and with `/`.

    A pattern without `/` fits a name at every depth, one with `/` a path from the top; `*` and `?` stop at `/`, `**` as
    a whole part stands for any number of parts, `{a,b}` for either; one that ends with
    `/` is for directories. Raises `ToolError` for one that cannot be read.
    """
    body = glob.removesuffix("/")
    if "/" not in body:
        body = f"**/{body}"
    body = body.removeprefix("./").removeprefix("/")
    if body.endswith("/**"):
        body += "/*"
    expression = _Translation(body, glob).expression()
    if glob.endswith("/"):
        return f"{expression}/"
    return expression


class _Translation:
    """One pass over a pattern; `glob` is what messages show."""

    def __init__(self, pattern: str, glob: str) -> None:
        self._pattern = pattern
        self._glob = glob
        self._position = 0
        self._depth = 0
        self._alternatives = 0

    def expression(self) -> str:
        parts = []
        while self._position < len(self._pattern):
            parts.append(self._next())
        if self._depth:
            raise ToolError(f"The glob {self._glob!r} has a {{ without }}.")
        return "".join(parts)

    def _next(self) -> str:
        start = self._position
        if stars := self._whole_stars():
            return stars
        character = self._pattern[start]
        self._position += 1
        if character == "*":
            while self._pattern[self._position : self._position + 1] == "*":
                self._position += 1
            return "[^/]*"
        if character == "?":
            return "[^/]"
        if character == "[":
            return self._set()
        if character in "{,}":
            return self._braces(character)
        if character == "\\" and self._position < len(self._pattern):
            character = self._pattern[self._position]
            self._position += 1
        return re.escape(character)

    def _whole_stars(self) -> str:
        """`**` as a whole part of the path, with the `/` behind it; empty for anything else."""
        start, before = self._position, self._pattern[: self._position]
        if before and before[-1] not in "/{,":
            return ""
        if self._pattern.startswith("**/", start):
            self._position += 3
            return "(?:.*/)?"
        if self._pattern[start:] == "**":
            self._position += 2
            return ".*"
        return ""

    def _set(self) -> str:
        match = re.compile(r"([!^]?)(\]?[^\]]*)\]").match(self._pattern, self._position)
        if match is None:
            raise ToolError(f"The glob {self._glob!r} has a [ without ].")
        self._position = match.end()
        members = re.sub(r"[\\\[\]^&~|#]", r"\\\g<0>", match[2])
        expression = f"[{members}]"
        if match[1]:
            expression = f"[^/{members}]"
        try:
            re.compile(expression)
        except re.error:
            raise ToolError(f"The glob {self._glob!r} has a range that is backwards.") from None
        return expression

    def _braces(self, character: str) -> str:
        if character == "{":
            self._depth += 1
            return "(?:"
        if character == "," and self._depth:
            self._alternatives += 1
            if self._alternatives > _MOST_BRACES:
                raise ToolError(f"The glob {self._glob[:60]!r} has too many alternatives.")
            return "|"
        if character == "}" and self._depth:
            self._depth -= 1
            return ")"
        if character == "}":
            raise ToolError(f"The glob {self._glob!r} has a }} without {{.")
        return ","
