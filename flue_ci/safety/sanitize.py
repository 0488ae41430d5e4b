"""Takes out of people's and models' text what hides or acts: for a model that reads it, for GitHub that renders it.

Pure and linear. Code spans and blocks keep their text, apart from invisible characters. What GitHub makes of a text is
decided after Markdown, on the words that are left: so mentions and references are not escaped but shown as code.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flue_ci.core.text import plain

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})")
_SPAN = r"(?<!`)(?P<ticks>`+)(?!`)(?:.|\n(?![ \t]*\n))+?(?<!`)(?P=ticks)(?!`)"
_MOST_TICKS = 2_000  # a text with more has no code spans worth the time; it is cleaned as words
_OPENERS = r"<!--|<\?|<!\[CDATA\[|<!(?=[A-Za-z])"
_CLOSERS = {
    "<!--": re.compile("--!?>"),
    "<?": re.compile(r"\?>"),
    "<![CDATA[": re.compile(r"\]\]>"),
    "<!": re.compile(">"),
}
_HIDDEN = re.compile(_OPENERS)
_SPAN_OR_HIDDEN = re.compile(f"{_SPAN}|{_OPENERS}")
_OPENED = re.compile(r"^ {0,3}(?:<!--|<\?|<!\[CDATA\[|<![A-Za-z]).*", re.DOTALL | re.MULTILINE)
_ELEMENT = r"<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<attributes>(?:\s|/)[^<>]*)?>|<(?=[A-Za-z/!?])"
_TAG = re.compile(_ELEMENT)
_SPAN_OR_TAG = re.compile(f"{_SPAN}|{_ELEMENT}")
_TAGS = (
    "a b blockquote br code dd del details dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s "
    "samp strong sub summary sup table tbody td th thead tr ul var"
)
_ALLOWED = frozenset(_TAGS.split())
_LINK_ATTRIBUTES = re.compile(r"\s(href|src)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)", re.IGNORECASE)
_PASSES = 8

_ENTITY_AT = re.compile(r"&(?:#0*64|#[xX]0*40|commat);|＠|﹫")
_ENTITY_HASH = re.compile(r"&(?:#0*35|#[xX]0*23|num);|＃")
_ADDRESS = re.compile(r"<?((?:(?:https?|ftp)://|www\.)(?:(?!&lt;)[^\s<>`|\[\]])+)>?", re.IGNORECASE)
_LINK = re.compile(
    r"(!?)\[([^\[\]\n`]{0,500})\]\(\s{0,3}<?([^\s<>()`]{1,2000})>?(?:\s{1,3}(?:\"[^\"\n]*\"|'[^'\n]*'))?\s{0,3}\)"
)
# Each takes along what is written on to it: behind a code span it would stand at the beginning of a word. A backslash
# before it goes, which would undo the code span.
_CALLS = re.compile(
    r"\\*(?<![\w`/@])(@[A-Za-z0-9](?:[\w@#./-]*\w)?"
    r"|(?<![&#])(?:[A-Za-z0-9][\w.-]{0,80}/[\w.-]{1,120})?#\d(?:[\w@#./-]*\w)?"
    r"|GH-\d(?:[\w@#./-]*\w)?)"
)
ACTIVE_SYNTAX = re.compile(f"{_ADDRESS.pattern}|{_CALLS.pattern}", re.IGNORECASE)  # what GitHub makes something of
_THREAD = re.compile(r"/(?:issues|pull|discussions|commit)/", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedText:
    """A text, and how many things of each kind were taken out or made inert."""

    text: str
    removals: Mapping[str, int]


def sanitize_for_model(text: str) -> SanitizedText:
    """What a stranger wrote, as a reader of the rendered page would know it: nothing that only a machine sees."""
    found: Counter[str] = Counter()
    text = _visible(text, found)
    if "<" in text:
        parts = _without_hidden(text, found)
        text = "".join(part if is_code or "<" not in part else _without_tags(part, found) for is_code, part in parts)
    return SanitizedText(text=text, removals=dict(found))


def summarize_removals(found: Mapping[str, int]) -> str:
    """What was taken out or made inert, for people: `mentions (2), tags (1)`."""
    return ", ".join(f"{what} ({count})" for what, count in sorted(found.items()))


def neutralize(text: str, hosts: Collection[str], found: Counter[str] | None = None) -> str:
    """Words of one line outside of code: mentions, references and links to foreign hosts become code, which is idle.

    `hosts` are those that links and images may lead to. The line must hold no code span.
    """
    counts: Counter[str] = Counter() if found is None else found
    if "&" in text or not text.isascii():
        text = _ENTITY_HASH.sub("#", _ENTITY_AT.sub("@", text))
    parts, at = [], 0
    for link in _LINK.finditer(text) if "](" in text else ():
        parts.append(_words(text[at : link.start()].rstrip("\\"), hosts, counts))
        at = link.end()
        if _is_allowed_url(link[3], hosts) and link[3].lower().startswith(("https://", "http://")):
            parts.append(f"{link[1]}[{_words(link[2], (), counts)}]({link[3]})")
        else:
            counts["images" if link[1] else "links"] += 1
            label = _words(link[2], (), counts).strip()
            parts.append(f"{label} (`{link[3]}`)" if label else f"`{link[3]}`")
    return "".join([*parts, _words(text[at:], hosts, counts)])


def _words(text: str, hosts: Collection[str], found: Counter[str]) -> str:
    """Without whole links. What could still become one, over several lines or by a definition, is broken up."""
    parts, at = [], 0
    for address in _ADDRESS.finditer(text) if "://" in text or "www." in text.lower() else ():
        parts.append(_calls(text[at : address.start()].rstrip("\\"), found))
        at = address.end()
        bare = address[1].rstrip(".,;:!?)'\"*_~")
        if _is_allowed_url(bare, hosts) and not _THREAD.search(bare) and "@" not in bare:
            parts.append(address[0])
        else:
            found["links"] += 1
            tail = address[1][len(bare) :]
            parts.append(f"`{bare}`{_calls(tail, found)}")
    return "".join([*parts, _calls(text[at:], found)])


def _calls(text: str, found: Counter[str]) -> str:
    def shown(call: re.Match[str]) -> str:
        found["mentions" if "@" in call[1] else "references"] += 1
        return f"`{call[1]}`"

    if "]" in text:
        text = re.sub(r"\](?=[(\[:])", "&#93;", text)
    return _CALLS.sub(shown, text) if "@" in text or "#" in text or "GH-" in text else text


def _is_allowed_url(address: str, hosts: Collection[str]) -> bool:
    """Whether an address leads to one of the hosts, and nowhere else whatever a browser makes of it."""
    try:
        split = urlsplit(address if "://" in address else f"https://{address}")
        host = split.hostname or ""
    except ValueError:
        return False
    if split.scheme not in ("http", "https") or "@" in split.netloc or "\\" in address or "&" in split.netloc:
        return False
    return any(host == known or (known.startswith("*.") and host.endswith(known[1:])) for known in hosts if known)


def _visible(text: str, found: Counter[str]) -> str:
    shown = unicodedata.normalize("NFC", plain(text))
    if gone := len(text.replace("\r\n", "\n")) - len(shown):
        found["invisible characters"] += max(gone, 0)
    return shown


def _without_hidden(text: str, found: Counter[str]) -> list[tuple[bool, str]]:
    """The parts of a text without comments and the like outside of code, also such as are made by taking out others."""
    parts = list(_parts(text))
    for _ in range(_PASSES):
        kept = [(is_code, part if is_code else _seen(part)) for is_code, part in parts]
        if kept == parts:
            break
        found["hidden comments"] += 1
        text = "".join(part for _, part in kept)
        parts = list(_parts(text))
    outside = "\0".join(part for is_code, part in parts if not is_code)
    if ("<!" in outside or "<?" in outside) and _OPENED.search(outside):  # one that does not end hides all that follows
        start = next(
            (at + opened.start() for at, part in _places(parts) if (opened := _OPENED.search(part))), len(text)
        )
        found["hidden comments"] += 1
        return list(_parts(text[:start]))
    return parts


def _without_tags(text: str, found: Counter[str]) -> str:
    looked_for = _SPAN_OR_TAG if text.count("`") < _MOST_TICKS else _TAG
    return looked_for.sub(lambda tag: _tag(tag, found), text)


def _seen(text: str) -> str:
    """Words without the comments that end, in one pass: an end that was not found once is not looked for again."""
    if "<!" not in text and "<?" not in text:
        return text
    looked_for = _SPAN_OR_HIDDEN if text.count("`") < _MOST_TICKS else _HIDDEN
    parts, at, endless = [], 0, set[str]()
    while found := looked_for.search(text, at):
        opener = found[0]
        end = found.end()
        if opener[0] == "<":
            # `<!-->` and `<!--->` are whole comments
            start = found.start() + (2 if opener == "<!--" else len(opener))
            closer = None if opener in endless else _CLOSERS[opener].search(text, start)
            if closer is None:
                endless.add(opener)
                parts.append(text[at:end])
            else:
                parts.append(text[at : found.start()])
                end = closer.end()
        else:
            parts.append(text[at:end])
        at = end
    return "".join([*parts, text[at:]])


def _places(parts: Iterable[tuple[bool, str]]) -> Iterator[tuple[int, str]]:
    at = 0
    for is_code, part in parts:
        if not is_code:
            yield at, part
        at += len(part)


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Whether it is a fenced block, and the lines; hidden comments that begin outside of one may hold fences."""
    fence, lines, hidden = "", [], False
    for line in text.splitlines(keepends=True):
        if not hidden and "`" not in line and "~" not in line and "<!--" not in line:
            lines.append(line)
            continue
        opened = None if hidden else _FENCE.match(line.rstrip("\n"))
        if fence:
            lines.append(line)
            if opened and opened[2][0] == fence[0] and len(opened[2]) >= len(fence) and not line.strip("`~ \t\n"):
                yield True, "".join(lines)
                fence, lines = "", []
        elif opened:
            if lines:
                yield False, "".join(lines)
            fence, lines = opened[2], [line]
        else:
            lines.append(line)
            bare = re.sub(_SPAN, "", line) if line.count("`") < _MOST_TICKS else line
            begin = bare.rfind("<!--")
            hidden = begin >= 0 and "-->" not in bare[begin:] if not hidden else "-->" not in line
    if lines:
        yield bool(fence), "".join(lines)


def _tag(tag: re.Match[str], found: Counter[str]) -> str:
    if tag[0][0] == "`":
        return tag[0]
    if tag["name"] and tag["name"].lower() in _ALLOWED:
        given = tag["attributes"] or ""
        kept = "".join(f" {name.lower()}={value}" for name, value in _LINK_ATTRIBUTES.findall(given))
        if given.strip(" /").lower() != kept.strip().lower():
            found["hidden attributes"] += 1
        return f"<{tag['end']}{tag['name']}{kept}>"
    found["tags"] += 1
    return f"&lt;{tag[0][1:]}"
