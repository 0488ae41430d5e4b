"""Sanitizes untrusted Markdown: hidden text for a model that reads it, active syntax for GitHub that renders it.

Pure and linear. Code spans and blocks keep their text, apart from invisible characters. GitHub looks for mentions and
references in the text that Markdown leaves, so that escaping them does not help: they are shown as code.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from flue_ci.core.hidden_characters import remove_hidden
from flue_ci.core.text import matches_host
from flue_ci.safety.hidden_markdown import Edit, apply_edits, find_comments, find_edits
from flue_ci.safety.markdown_reader import UnreadableMarkdown, read_markdown
from flue_ci.safety.markdown_tree import Node

_MAX_PASSES = 8
_COMMENT = re.compile("<[!?/]")
_UNREADABLE = "[the source of a text that cannot be read as Markdown: people may not see all of it]\n"

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
    """Only what a reader of the rendered page sees: what GitHub does not show is taken out, or marked where it may
    matter (the alternative text of an image, a tag such as the `<T>` of `List<T>`); the rest stays byte for byte.

    Taking something out may make a comment of the text around it, so the result is read again.
    """
    return _without_edits(text, find_edits)


def sanitize_request(text: str) -> SanitizedText:
    """A request as `sanitize_for_model` reads it behind the words that it follows in its comment: what begins with
    `[x]:` is no definition there."""
    before = "x "
    if re.match(r" {4}|\t|`{3}|~{3}", text):  # it began in a line of its own
        before = "x\n\n"
    result = _without_edits(before + text, find_edits)
    return replace(result, text=result.text.removeprefix(before))


def sanitize_title(text: str) -> str:
    """A title or name, which GitHub shows as it is: without invisible characters and comments."""
    return _without_edits(text, find_comments).text


def _without_edits(text: str, find: Callable[[str, Node], list[Edit]]) -> SanitizedText:
    counts: Counter[str] = Counter()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_MAX_PASSES):
        try:
            edits = find(text, read_markdown(text))
        except UnreadableMarkdown:
            break
        counts.update(edit.kind for edit in edits if edit.kind)
        if not edits:
            return SanitizedText(text=text, removals=dict(counts))
        text, find = apply_edits(text, edits), find_comments
        if not _COMMENT.search(text):
            return SanitizedText(text=text, removals=dict(counts))
    counts["unreadable Markdown"] += 1
    text = remove_hidden(text).removeprefix(_UNREADABLE)
    return SanitizedText(text=f"{_UNREADABLE}{text}", removals=dict(counts))


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
