"""Untrusted Markdown made smaller: one line of text and code, a first sentence, headings below ours, a folded rest."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flue_ci.core.text import one_line, plain
from flue_ci.safety.markdown import details, escape, inline_code
from flue_ci.safety.markdown_reader import Node, UnreadableMarkdown, read_markdown

LONGEST_TITLE = 90  # characters
OPEN_LINES = 24  # of a long text that stay open, counting lines as a wide window breaks them
_LINE_WIDTH = 110  # characters in a line of a wide window
_SHIFT = 4  # the title has level 3, our headings have 4, and an agent's begin at 5
_TAGS_THAT_ARE_SHOWN = re.compile(r"</?(?:details|summary|sub|sup|kbd|br|b|i|em|strong|code|ins|del)\s*/?>", re.I)
_TASK = re.compile(r"\[([ xX])\] ")
_FIRST_BLOCKS = 4  # paragraphs in which a sentence is looked for
_NO_BLOCK = ": "  # behind it a text cannot begin a block of Markdown
_CODE = "\ufffc"  # stands for the code in a sentence: its signs end none
_SENTENCE_END = re.compile(r"[.!?…][\"')\]’”»*]*(?=\s|$)|[。！？]")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|cf|etc|approx|resp|incl|fig|ca|dr|mrs?|[a-z])\.$", re.IGNORECASE)
_FILLER = re.compile(
    r"(?:done|ok(?:ay)?|sure|great|perfect|good|excellent|all (?:set|done|good)|finished|thanks?|hi|hello|yes|"
    r"understood|certainly|of course|absolutely|alright|right|summary)\b[^.!?]{0,12}$|"
    r"(?:(?:now|first|next|ok(?:ay)?|so),? )?(?:let me|let's|i'll|i will|i(?:'m| am) going to|here(?:'s| is| are)|"
    r"below (?:is|are)|i have (?:now )?(?:completed|finished) (?:the|your|all)\b.{0,30}(?:task|request|work)|"
    r"i(?:'ve| have) everything|the following)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Words of one kind, as a reader sees them."""

    text: str
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """The sentence a text begins with. `rest` is the text without it, as source; where it cannot be taken out, the
    whole text."""

    pieces: tuple[Piece, ...]
    rest: str

    @property
    def visible(self) -> str:
        """What a reader sees of it, in one line."""
        return one_line("".join(piece.text for piece in self.pieces), 1_000)


def shorten_markdown(text: str, limit: int = LONGEST_TITLE) -> str:
    """One line of at most `limit` visible characters, cut at a word: text and code of `text`, and nothing else of its
    Markdown. It can stand in a heading, a cell or a list."""
    line = one_line(text, 10 * limit)
    try:
        tree = read_markdown(_NO_BLOCK + line)
        pieces = [Piece(text=_NO_BLOCK + line)] if _marks_words(_NO_BLOCK + line, tree) else [*_pieces(tree)]
    except UnreadableMarkdown:
        pieces = [Piece(text=_NO_BLOCK + line)]
    return render_pieces(_slice(pieces, len(_NO_BLOCK), 10 * limit + len(_NO_BLOCK)), limit)


def render_pieces(pieces: Sequence[Piece], limit: int = LONGEST_TITLE) -> str:
    """The pieces as Markdown in one line."""
    line = ""
    for piece in _cut(_on_one_line(pieces), limit):
        words = inline_code(piece.text) if piece.is_code else _escape(piece.text)
        if line.endswith("`") and words.startswith("`"):
            line += " "  # two pieces of code that meet are none
        line += words
    return line


def _escape(text: str) -> str:
    """The text as Markdown shows it, with the spaces around it."""
    words = text.strip()
    if not words:
        return text
    before, _, after = text.partition(words)
    return before + escape(words) + after


def first_sentence(text: str) -> Sentence | None:
    """The first sentence that says something: of the first paragraphs, be they items of a list; else of a heading.
    None when there is none."""
    text = plain(text).strip("\n").rstrip()
    try:
        tree = read_markdown(text)
    except UnreadableMarkdown:
        return None
    blocks = [node for node in tree.walk() if node.kind in ("paragraph", "heading")]
    for block in sorted(blocks, key=lambda node: node.kind == "heading")[:_FIRST_BLOCKS]:
        if _marks_words(text, block):
            continue
        pieces = [*_pieces(block)]
        visible = "".join(_CODE * len(piece.text) if piece.is_code else piece.text for piece in pieces)
        start = 0
        for end in _sentence_ends(visible):
            if _says_something(visible[start:end].strip()):
                rest = text
                if start == 0 and block is tree.children[0] and block.kind == "paragraph":
                    rest = _without_beginning(text, block, end)
                return Sentence(pieces=_slice(pieces, start, end), rest=rest)
            start = end
    return None


def last_sentence(text: str) -> str:
    """The last sentence of the last paragraph, in one line of plain words; empty for none."""
    try:
        blocks = [node for node in read_markdown(plain(text)).walk() if node.kind == "paragraph"]
    except UnreadableMarkdown:
        return ""
    visible = one_line("".join(piece.text for piece in _pieces(blocks[-1])), 2_000) if blocks else ""
    starts = [0, *(end for end in _sentence_ends(visible) if visible[end:].strip())]
    return visible[starts[-1] :].strip()


def task_list(text: str) -> tuple[tuple[bool, str], ...]:
    """The items of the text's task lists: whether one is done, and its words."""
    text, tasks = plain(text), []
    try:
        for node in read_markdown(text).walk():
            if node.kind == "item" and node.children:
                words = one_line("".join(piece.text for piece in _pieces(node.children[0])), 200)
                if match := _TASK.match(words):
                    tasks.append((match[1] != " ", words[match.end() :]))
    except UnreadableMarkdown:
        return ()
    return tuple(tasks)


def with_smaller_headings(text: str) -> str:
    """The text with headings below ours, `#` as `#####`; those that are underlined get signs in front as well."""
    try:
        headings = [node for node in read_markdown(text).walk() if node.kind == "heading"]
    except UnreadableMarkdown:
        return text
    for node in reversed(headings):
        signs = "#" * min(node.level + _SHIFT, 6)
        if text.startswith("#", node.start):
            text = text[: node.start] + signs + text[node.start + node.level :]
            continue
        words = " ".join(text[start:end].strip() for start, end in node.lines[:-1])
        words = re.sub(r"(?<=\s)(#+)$", r"\\\1", words)
        text = f"{text[: node.start]}{signs} {words}{text[node.lines[-1][1] :]}"
    return text


def fold_rest(text: str, title: str) -> str:
    """A long text with its first blocks open and the others in a block that is folded, named by `title`."""
    if _height(text) <= OPEN_LINES * 3 // 2:
        return text
    try:
        blocks = read_markdown(text).children
    except UnreadableMarkdown:
        return details(title, text)
    cut = 0
    if not any(block.kind == "html_block" for block in blocks):  # one of them may be open over several blocks
        for block in blocks:
            if _height(text[: block.end]) > OPEN_LINES:
                break
            cut = block.end
    opening, rest = text[:cut].rstrip(), text[cut:].strip("\n")
    return f"{opening}\n\n{details(title, rest)}".strip("\n")


def _marks_words(text: str, node: Node) -> bool:
    """Whether emphasis begins or ends within a word. Without its signs a secret that has them would not be known."""
    marks = [each for each in node.walk() if each.kind in ("emphasis", "strong", "strike")]
    return any(text[each.start - 1 : each.start].isalnum() or text[each.end : each.end + 1].isalnum() for each in marks)


def _height(text: str) -> int:
    return sum(1 + len(line) // _LINE_WIDTH for line in text.split("\n"))


def _pieces(node: Node) -> Iterator[Piece]:
    """What a reader sees of a node."""
    if node.kind in ("text", "escape", "entity", "image"):
        yield Piece(text=node.content)
    elif node.kind in ("html", "html_block"):
        yield Piece(text=_TAGS_THAT_ARE_SHOWN.sub("", node.content))
    elif node.kind in ("code", "fence", "indented"):
        yield Piece(text=node.content, is_code=True)
    elif node.kind == "autolink":
        yield Piece(text=node.target)
    elif node.kind == "break":
        yield Piece(text="\n")
    elif node.kind != "definition":
        for number, child in enumerate(node.children):
            if number and node.kind in ("document", "quote", "list", "item", "table", "row"):
                yield Piece(text=" ")
            yield from _pieces(child)


def _on_one_line(pieces: Sequence[Piece]) -> list[Piece]:
    return [Piece(text=re.sub(r"\s+", " ", plain(piece.text)), is_code=piece.is_code) for piece in pieces]


def _cut(pieces: Sequence[Piece], limit: int) -> tuple[Piece, ...]:
    """At most `limit` characters: up to the end of a word, and `…`."""
    visible = "".join(piece.text for piece in pieces)
    plain_line = visible.strip()
    start = visible.find(plain_line)
    if len(plain_line) <= limit:
        return _slice(pieces, start, start + len(plain_line))
    end = start + limit - 1
    space = visible.rfind(" ", start + limit // 2, end + 1)
    if space > 0:
        end = space
    *short, last = _slice(pieces, start, end)
    words = last.text.rstrip() if last.is_code else last.text.rstrip(" ,;:-–—(")
    return (*short, Piece(text=words, is_code=last.is_code), Piece(text="…"))


def _slice(pieces: Sequence[Piece], start: int, end: int) -> tuple[Piece, ...]:
    result, position = [], 0
    for piece in pieces:
        text = piece.text[max(start - position, 0) : max(end - position, 0)]
        if text:
            result.append(Piece(text=text, is_code=piece.is_code))
        position += len(piece.text)
    return tuple(result)


def _sentence_ends(visible: str) -> Iterator[int]:
    end = 0
    for match in _SENTENCE_END.finditer(visible):
        before, after = visible[max(match.end() - 20, 0) : match.end()], visible[match.end() :].lstrip()
        if not _ABBREVIATION.search(before) and not after[:1].islower():
            end = match.end()
            yield end
    if visible[end:].strip():
        yield len(visible)


def _says_something(words: str) -> bool:
    """Not for `Done.`, `Let me look at it.` and the like."""
    if words.endswith((":", "：")) or _FILLER.match(words.replace("’", "'").rstrip(".!")):
        return False
    return len(words.split()) > 1 or len(words.encode()) > 8


def _without_beginning(text: str, paragraph: Node, end: int) -> str:
    """The text without the first `end` visible characters of its first paragraph; the text itself where that would
    cut a node, or lose more than words, or where the rest could be read as something else than a paragraph."""
    position = 0
    for node in paragraph.children:
        if any(each.kind in ("link", "image", "html", "autolink", "footnote_use") for each in node.walk()):
            return text
        length = sum(len(piece.text) for piece in _pieces(node))
        if position + length < end:
            position += length
            continue
        cut = node.end
        if position + length > end:
            if node.kind != "text":
                return text
            cut = node.start + end - position
        rest = text[cut:].lstrip(" \t")
        if rest.startswith("\n\n") or not rest or re.match(r"\n?[^\W\d_]|\n?`{1,2}[^`]", rest):
            return rest.strip("\n")
        return text
    return text
