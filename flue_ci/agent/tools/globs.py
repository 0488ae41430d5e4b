"""Patterns of file names with ripgrep's meaning (`rg --glob`), as regular expressions of Python and Perl. Pure."""

import re

from flue_ci.agent.tools.tool import ToolError

_MOST_BRACES = 100  # alternatives in one pattern
_TOKEN = re.compile(
    r"""(?P<folders> (?<! [^/{,] ) \*\* (?: / | \Z ) )  # `**` as a whole part, with the `/` behind it
      | \*+
      | \[ (?P<negation> [!^]? ) (?P<members> \]? [^\]]* ) (?P<end> \]? )
      | \\ (?P<escaped> . )
      | .""",
    re.DOTALL | re.VERBOSE,
)


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
    expression = _translate(body, glob)
    return f"{expression}/" if glob.endswith("/") else expression


def _translate(pattern: str, glob: str) -> str:
    """`glob` is what messages show."""
    parts: list[str] = []
    depth = alternatives = 0
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if token["folders"]:
            parts.append("(?:.*/)?" if text.endswith("/") else ".*")
        elif text[0] in "*?":
            parts.append({"*": "[^/]*", "?": "[^/]"}[text[0]])
        elif token["members"] is not None:
            parts.append(_set(token, glob))
        elif text == "{":
            depth += 1
            parts.append("(?:")
        elif text == "," and depth:
            alternatives += 1
            if alternatives > _MOST_BRACES:
                raise ToolError(f"The glob {glob[:60]!r} has too many alternatives.")
            parts.append("|")
        elif text == "}" and depth:
            depth -= 1
            parts.append(")")
        elif text == "}":
            raise ToolError(f"The glob {glob!r} has a }} without {{.")
        else:
            parts.append(re.escape(token["escaped"] or text))
    if depth:
        raise ToolError(f"The glob {glob!r} has a {{ without }}.")
    return "".join(parts)


def _set(token: re.Match[str], glob: str) -> str:
    if not token["end"]:
        raise ToolError(f"The glob {glob!r} has a [ without ].")
    members = re.sub(r"[\\\[\]^&~|#]", r"\\\g<0>", token["members"])
    expression = f"[^/{members}]" if token["negation"] else f"[{members}]"
    try:
        re.compile(expression)
    except re.error:
        raise ToolError(f"The glob {glob!r} has a range that is backwards.") from None
    return expression
