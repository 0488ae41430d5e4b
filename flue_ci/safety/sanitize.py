"""Sanitizes untrusted Markdown: hidden text for a model that reads it, active syntax for GitHub that renders it.

Pure and linear. Code spans and blocks keep their text, apart from invisible characters. GitHub looks for mentions and
references in the text that Markdown leaves, so that escaping them does not help: they are shown as code.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flue_ci.core.text import matches_host, plain

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})")
_SPAN = r"(?<!`)(?P<ticks>`+)(?!`)(?:.|\n(?![ \t]*\n))+?(?<!`)(?P=ticks)(?!`)"
_MAX_TICKS = 2_000  # in a text with more backticks, code spans are not looked for
_OPENERS = r"<!--|<\?|<!\[CDATA\[|<!(?=[A-Za-z])"
_ENDS = {"<!--": "--!?>", "<?": r"\?>", "<![CDATA[": r"\]\]>", "<!": ">"}
_CLOSERS = {opener: re.compile(end) for opener, end in _ENDS.items()}
_COMMENT_START = re.compile(_OPENERS)
_SPAN_OR_COMMENT_START = re.compile(f"{_SPAN}|{_OPENERS}")
_COMMENT_LINE = re.compile(r"^ {0,3}(?:<!--|<\?|<!\[CDATA\[|<![A-Za-z]).*", re.DOTALL | re.MULTILINE)
_ELEMENT = r"<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<attributes>(?:\s|/)[^<>]*)?>|<(?=[A-Za-z/!?])"
_TAG = re.compile(_ELEMENT)
_SPAN_OR_TAG = re.compile(f"{_SPAN}|{_ELEMENT}")
_TAGS = (
    "a b blockquote br code dd del details dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s "
    "samp strong sub summary sup table tbody td th thead tr ul var"
)
_HARMLESS_TAGS = frozenset(_TAGS.split())
_LINK_ATTRIBUTES = re.compile(r"\s(href|src)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)", re.IGNORECASE)
_MAX_PASSES = 8

_ENTITY_AT = re.compile(r"&(?:#0*64|#[xX]0*40|commat);|＠|﹫")
_ENTITY_HASH = re.compile(r"&(?:#0*35|#[xX]0*23|num);|＃")
_ADDRESS = re.compile(r"<?((?:(?:https?|ftp)://|www\.)(?:(?!&lt;)[^\s<>`|\[\]])+)>?", re.IGNORECASE)
_LINK = re.compile(
    r"(!?)\[([^\[\]\n`]{0,500})\]\(\s{0,3}<?([^\s<>()`]{1,2000})>?(?:\s{1,3}(?:\"[^\"\n]*\"|'[^'\n]*'))?\s{0,3}\)"
)
# Mentions and references. Each includes the word characters after it: behind a code span they would begin a word.
_CALLS = re.compile(
    r"(?<![\w`/@])(@[A-Za-z0-9](?:[\w@#./-]*\w)?"
    r"|(?<![&#])(?:[A-Za-z0-9][\w.-]{0,80}+/[\w.-]{1,120}+)?#\d(?:[\w@#./-]*\w)?"
    r"|GH-\d(?:[\w@#./-]*\w)?)"
)
ACTIVE_SYNTAX = f"{_ADDRESS.pattern}|{_CALLS.pattern}"  # a regular expression for what GitHub turns into a link
_THREAD = re.compile(r"/(?:issues|pull|discussions|commit)/", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedText:
    """A text, and how many things of each kind were removed or neutralized."""

    text: str
    removals: Mapping[str, int]


def sanitize_for_model(text: str) -> SanitizedText:
    """Only what a reader of the rendered page would see: nothing that only a machine reads."""
    counts: Counter[str] = Counter()
    visible = unicodedata.normalize("NFC", plain(text))
    if difference := len(text.replace("\r\n", "\n")) - len(visible):
        counts["invisible characters"] += max(difference, 0)
    text = visible
    if "<" in text:
        parts = _without_comments(text, counts)
        text = "".join(part if is_code or "<" not in part else _without_tags(part, counts) for is_code, part in parts)
    return SanitizedText(text=text, removals=dict(counts))


def summarize_removals(removals: Mapping[str, int]) -> str:
    """The counts for people: `mentions (2), tags (1)`."""
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(removals.items()))


def neutralize(text: str, hosts: Collection[str], counts: Counter[str]) -> str:
    """One line outside of code: mentions, references and links to foreign hosts become code, which does nothing.

    `hosts` are those that links and images may lead to. The line must hold no code span.
    """
    if "&" in text or not text.isascii():
        text = _ENTITY_HASH.sub("#", _ENTITY_AT.sub("@", text))
    if "](" not in text:
        return _neutralize_words(text, hosts, counts)
    parts, position = [], 0
    for link in _LINK.finditer(text):
        parts.append(_neutralize_words(text[position : link.start()].rstrip("\\"), hosts, counts))
        position = link.end()
        if _is_allowed_url(link[3], hosts) and link[3].lower().startswith(("https://", "http://")):
            parts.append(f"{link[1]}[{_neutralize_words(link[2], (), counts)}]({link[3]})")
        else:
            counts["images" if link[1] else "links"] += 1
            label = _neutralize_words(link[2], (), counts).strip()
            parts.append(f"{label} (`{link[3]}`)" if label else f"`{link[3]}`")
    return "".join([*parts, _neutralize_words(text[position:], hosts, counts)])


def _neutralize_words(text: str, hosts: Collection[str], counts: Counter[str]) -> str:
    """Text without whole links. What could become one over several lines, or by a definition, is broken up."""
    if "://" not in text and "www." not in text.lower():
        return _neutralize_calls(text, counts)
    parts, position = [], 0
    for address in _ADDRESS.finditer(text):
        parts.append(_neutralize_calls(text[position : address.start()].rstrip("\\"), counts))
        position = address.end()
        url = address[1].rstrip(".,;:!?)'\"*_~")
        if _is_allowed_url(url, hosts) and not _THREAD.search(url) and "@" not in url:
            parts.append(address[0])
        else:
            counts["links"] += 1
            parts.append(f"`{url}`{_neutralize_calls(address[1][len(url) :], counts)}")
    return "".join([*parts, _neutralize_calls(text[position:], counts)])


def _neutralize_calls(text: str, counts: Counter[str]) -> str:
    """Backslashes before a mention or reference are removed, because they would undo the code span."""
    if "]" in text:
        text = re.sub(r"\](?=[(\[:])", "&#93;", text)
    if "@" not in text and "#" not in text and "GH-" not in text:
        return text
    parts, position = [], 0
    for call in _CALLS.finditer(text):
        parts += [text[position : call.start()].rstrip("\\"), f"`{call[1]}`"]
        position = call.end()
        counts["mentions" if "@" in call[1] else "references"] += 1
    return "".join([*parts, text[position:]])


def _is_allowed_url(address: str, hosts: Collection[str]) -> bool:
    """Whether an address leads to one of the hosts, in every browser's reading of it."""
    try:
        url = urlsplit(address if "://" in address else f"https://{address}")
        host = url.hostname or ""
    except ValueError:
        return False
    if url.scheme not in ("http", "https") or "@" in url.netloc or "\\" in address or "&" in url.netloc:
        return False
    return matches_host(host, filter(None, hosts))


def _without_comments(text: str, counts: Counter[str]) -> list[tuple[bool, str]]:
    """The parts of `_split_code` without comments and the like outside of code. Removing one may make another of the
    text around it, so there are several passes."""
    parts = list(_split_code(text))
    for _ in range(_MAX_PASSES):
        rest = [(is_code, part if is_code else _without_closed_comments(part)) for is_code, part in parts]
        if rest == parts:
            break
        counts["hidden comments"] += 1
        text = "".join(part for _, part in rest)
        parts = list(_split_code(text))
    position = 0
    for is_code, part in parts:
        has_start = not is_code and ("<!" in part or "<?" in part)
        if has_start and (match := _COMMENT_LINE.search(part)):
            counts["hidden comments"] += 1
            return list(_split_code(text[: position + match.start()]))  # a comment without end hides the rest
        position += len(part)
    return parts


def _without_tags(text: str, counts: Counter[str]) -> str:
    pattern = _SPAN_OR_TAG if text.count("`") < _MAX_TICKS else _TAG
    return pattern.sub(lambda tag: _sanitize_tag(tag, counts), text)


def _without_closed_comments(text: str) -> str:
    """One pass. An end that was missing once is not looked for again, so that the time stays linear."""
    if "<!" not in text and "<?" not in text:
        return text
    pattern = _SPAN_OR_COMMENT_START if text.count("`") < _MAX_TICKS else _COMMENT_START
    parts, position, without_end = [], 0, set[str]()
    while match := pattern.search(text, position):
        opener, end = match[0], match.end()
        parts.append(text[position:end])
        if opener[0] == "<" and opener not in without_end:
            start = match.start() + 2 if opener == "<!--" else end  # `<!-->` and `<!--->` are whole comments
            if closer := _CLOSERS[opener].search(text, start):
                parts[-1] = text[position : match.start()]
                end = closer.end()
            else:
                without_end.add(opener)
        position = end
    return "".join([*parts, text[position:]])


def _split_code(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is a fenced block, its lines), in order. Within a comment outside of a block, fences do not count."""
    fence, lines, in_comment = "", [], False
    for line in text.splitlines(keepends=True):
        if not in_comment and "`" not in line and "~" not in line and "<!--" not in line:
            lines.append(line)
            continue
        match = None if in_comment else _FENCE.match(line.rstrip("\n"))
        if match and not fence:
            if lines:
                yield False, "".join(lines)
            fence, lines = match[2], [line]
            continue
        lines.append(line)
        if not fence:
            in_comment = "-->" not in line if in_comment else _opens_comment(line)
        elif match and match[2][0] == fence[0] and len(match[2]) >= len(fence) and not line.strip("`~ \t\n"):
            yield True, "".join(lines)
            fence, lines = "", []
    if lines:
        yield bool(fence), "".join(lines)


def _opens_comment(line: str) -> bool:
    """Whether a comment begins in the line and does not end in it."""
    if line.count("`") < _MAX_TICKS:
        line = re.sub(_SPAN, "", line)
    start = line.rfind("<!--")
    return start >= 0 and "-->" not in line[start:]


def _sanitize_tag(tag: re.Match[str], counts: Counter[str]) -> str:
    """A harmless element with its address only; text for any other. A code span stays."""
    if tag[0][0] == "`":
        return tag[0]
    if tag["name"] and tag["name"].lower() in _HARMLESS_TAGS:
        attributes = tag["attributes"] or ""
        links = "".join(f" {name.lower()}={value}" for name, value in _LINK_ATTRIBUTES.findall(attributes))
        if attributes.strip(" /").lower() != links.strip().lower():
            counts["hidden attributes"] += 1
        return f"<{tag['end']}{tag['name']}{links}>"
    counts["tags"] += 1
    return f"&lt;{tag[0][1:]}"
