"""Markdown drawn on a terminal, in which no command is broken at a space inside of it."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.padding import Padding

_SPACE = "\ue000"  # in place of a space inside of a code span, until the lines are made


class RenderedMarkdown:
    """The text, indented by two columns."""

    def __init__(self, text: str) -> None:
        self._markdown = Markdown(text, hyperlinks=False)
        for token in self._markdown.parsed:
            for child in token.children or ():
                if child.type == "code_inline":
                    child.content = child.content.replace(" ", _SPACE)

    def is_whole(self, console: Console) -> bool:
        """Whether every word, code span and line of code is drawn in one piece, and nothing is missing."""
        drawn = ["".join(part.text for part in line).split() for line in console.render_lines(self)]
        text = "\n".join(" ".join(words) for words in drawn)
        return all(part in text for part in self._parts())

    def _parts(self) -> list[str]:
        parts: list[str] = []
        for token in self._markdown.parsed:
            if token.type in ("fence", "code_block", "html_block"):
                parts += (" ".join(line.split()) for line in token.content.splitlines())
            for child in token.children or ():
                words = f"{child.content} {child.attrGet('href') or ''}".split()
                parts += (word.replace(_SPACE, " ") for word in words)
        return parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(Padding(self._markdown, (0, 2)), options):
            yield segment._replace(text=segment.text.replace(_SPACE, " "))
