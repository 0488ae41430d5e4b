"""Takes secrets out of text and values before people or files get them.

Every sink (terminal, transcript, report, files) gets only what a `Redactor` returned, before anything is clipped or
formatted: a secret with its end cut off, or with `_` escaped, would not be recognized any more.
"""

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from flue_ci.core.network_variables import passwords
from flue_ci.core.text import replace_spans
from flue_ci.safety.encoded_values import MIN_LENGTH
from flue_ci.safety.find_secrets import SecretFinder
from flue_ci.safety.readings import Edit, Span, read_edited

MASK = "***"
MAX_PASSES = 20  # more than two are needed for hostile text only
MAX_DEPTH = 100  # levels of a value; the JSON encoder recurses
_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)$", re.IGNORECASE)
_KEY_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+")
_SHORT = 100  # characters of texts like names and identifiers, most of which come again
_SHORT_TEXTS = 1_000  # of them that are known at a time
_Value = TypeVar("_Value")
_STATIC = re.compile(r"(<style>.*?</style>|<script>.*?</script>)", re.DOTALL)  # the page's policy names their hashes
_TAG = re.compile(r"<[^<>]*>")
_MARKUP = re.compile(r"<[^<>]*>|[<>\"']")
_INLINE = re.compile(r"</?(?:a|b|code|del|em|i|kbd|mark|small|span|strong|sub|sup)(?![\w-])")


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose names say that they are secret, and passwords of proxies."""
    values = [value for name, value in environ.items() if _SECRET_NAMES.search(name)]
    return tuple(value for value in (*values, *passwords(environ)) if len(value) >= MIN_LENGTH)


def unmaskable(secrets: Mapping[str, str]) -> list[str]:
    """The names of secrets whose values are so short that they occur in ordinary text: they are never masked."""
    return [name for name, value in secrets.items() if len(value.strip()) < MIN_LENGTH]


class Redactor:
    """Replaces secrets by `***`. Calling it twice changes nothing more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """From now on replaces these as well, for all who have this redactor."""
        self._secrets = (*self._secrets, *secrets)
        self._finder = SecretFinder(self._secrets)
        self._find_short = lru_cache(_SHORT_TEXTS)(self._finder.find)

    def __call__(self, text: str) -> str:
        """`text` without secrets, as a plain string. Lone surrogates, which UTF-8 cannot encode, become `\\udcff`."""
        text = self.mask(text)
        if type(text) is str and text.isascii():
            return text
        return text.encode("utf-8", "backslashreplace").decode()

    def holds_secret(self, data: bytes) -> bool:
        """Whether a known value (or an encoded form) occurs in `data`."""
        text = data.decode("utf-8", "surrogateescape")
        return any(self._finder.scan(text, keys=False))

    def patterns_in(self, text: str) -> tuple[str, ...]:
        """The kinds of well-known tokens in `text`, each once."""
        return tuple(dict.fromkeys(kind for kind, _ in self._finder.scan(text, values=False)))

    def spans(self, text: str) -> list[Span]:
        """Where secrets are in `text`, in order, without overlap."""
        if len(text) > _SHORT:
            return self._finder.find(text)
        return [*self._find_short(text)]

    def goes_on(self, lines: Sequence[str]) -> bool:
        """Whether a secret may begin in these lines, each with its end, and go on behind them."""
        return self._finder.goes_on(lines)

    def redact_value(self, value: _Value) -> _Value:
        """The same for everything inside a value: strings, bytes, collections with their keys, dataclasses. A field
        whose type is a `Literal` keeps a value of that type: it is a word of ours."""
        clean: _Value = self._redact(value, MAX_DEPTH)
        return clean

    def mask(self, text: str) -> str:
        """`text` without secrets; lone surrogates stay."""
        if len(text) < MIN_LENGTH:
            return text
        for _ in range(MAX_PASSES):
            spans = self.spans(text)
            if not spans:
                break
            # What was part of a longer word may be a token of its own beside the mask.
            neighbours = [(text[max(start - 1, 0) : start], text[end : end + 1]) for start, end in spans]
            text = replace_spans(text, ((*span, MASK) for span in spans))
            if not any(before in _KEY_CHARACTERS or after.isalnum() for before, after in neighbours):
                break
        return text

    def _redact(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, bytes):
            return self.mask(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if value is None or isinstance(value, int | float):
            return value
        if depth == 0:
            return "[nested too deep]"
        if isinstance(value, dict | Mapping):  # the first is quicker
            return {self._redact(key, 1): self._redact(item, depth - 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = [self._redact(item, depth - 1) for item in value]
            unchanged = isinstance(value, tuple) and all(map(operator.is_, items, value))
            return value if unchanged else type(value)(items)
        if is_dataclass(value) and not isinstance(value, type):
            return self._redact_fields(value, depth)
        return value

    def _redact_fields(self, value: Any, depth: int) -> Any:
        words = _literals(value.__class__)
        items = {field.name: getattr(value, field.name) for field in fields(value)}
        texts = {name: item for name, item in items.items() if name not in words or item not in words[name]}
        redacted = {name: self._redact(item, depth - 1) for name, item in texts.items()}
        if all(map(operator.is_, redacted.values(), texts.values())):
            return value
        return replace(value, **redacted)


@cache
def _literals(kind: type) -> Mapping[str, tuple[object, ...]]:
    """The words that fields of a dataclass may hold, of those whose type is a `Literal`, alone or in a union."""
    try:
        hints = get_type_hints(kind)
    except (NameError, AttributeError):  # a type that is imported for type checkers only
        return {}
    words: dict[str, tuple[object, ...]] = {}
    for name, hint in hints.items():
        for member in (hint, *get_args(hint)):
            if get_origin(member) is Literal:
                words[name] = (*words.get(name, ()), *get_args(member))
    return words


class StreamRedactor:
    """Redacts a text that comes in pieces: the results, put together, are those of the whole text.

    Whole lines are returned, and held back only where a secret may go on: after a long last word, as in wrapped base64,
    and within a private key. At most `max_pending` characters are held back; a longer secret may come in two pieces.
    """

    def __init__(self, redact: Redactor, max_pending: int = 65_536) -> None:
        self._redact, self._max_pending = redact, max_pending
        self._lines: list[str] = []
        self._size = 0  # of the lines
        self._open_line = ""  # the line that has not ended
        self._in_key = False

    def feed(self, text: str) -> str:
        """What can be shown now, redacted; may be empty."""
        parts = []
        complete = 0  # lines that can be shown; redacted together, which takes a fraction of the time of each alone
        *lines, self._open_line = (self._open_line + text).split("\n")
        for line in lines:
            self._lines.append(f"{line}\n")
            self._size += len(line) + 1
            if "PRIVATE KEY" in line and "-----BEGIN" in line:
                self._in_key = True
            elif "-----END" in line:
                self._in_key = False
            if self._size > self._max_pending or not (self._in_key or self._redact.goes_on(self._lines)):
                complete, self._size, self._in_key = len(self._lines), 0, False
        if complete:
            parts.append(self._redact.mask("".join(self._lines[:complete])))
            del self._lines[:complete]
        if len(self._open_line) > self._max_pending:
            parts.append(self._flush() + self._flush_front())
        return "".join(parts)

    def end(self) -> str:
        """The rest. Afterwards another text may begin."""
        self._lines.append(self._open_line)
        self._open_line = ""
        return self._flush()

    def _flush(self) -> str:
        text = "".join(self._lines)
        self._lines, self._size, self._in_key = [], 0, False
        return self._redact.mask(text)

    def _flush_front(self) -> str:
        """The first half of a line that is too long, up to a blank, and never within a secret."""
        half = self._max_pending // 2
        cut = self._open_line.find(" ", half) + 1 or len(self._open_line) - half
        for start, end in self._redact.spans(self._open_line):
            if 0 < start < cut < end:
                cut = start
        text, self._open_line = self._open_line[:cut], self._open_line[cut:]
        return self._redact.mask(text)


def added_lines(patch: bytes) -> bytes:
    """The lines that a patch in git's format adds, and its names, without the signs in front: what was in the files
    before is no leak of this run. Binary data stays encoded."""
    lines = (line for line in patch.split(b"\n") if not line.startswith((b" ", b"-", b"@@")))
    return b"\n".join(line.removeprefix(b"+") for line in lines)


def redact_html(page: str, redact: Redactor) -> str:
    """A finished page without secrets, in its text and in the values of attributes: what was apart in its sources may
    read as one word there. Every text of the page is escaped, so that angle brackets and quotes are markup; they stay,
    whatever is masked."""
    parts = _STATIC.split(page)
    parts[::2] = [_redact_part(part, redact) for part in parts[::2]]
    return "".join(parts)


def _redact_part(html: str, redact: Redactor) -> str:
    text = read_edited(html, lambda: _without_tags(html))
    html = _mask(html, [text.source(span) for span in redact.spans(text.text)])
    tags = {tag for tag in _TAG.findall(html) if "=" in tag}
    if not redact.spans("\n".join(tags)):
        return html
    return _TAG.sub(lambda match: _mask(match[0], redact.spans(match[0])), html)


def _without_tags(html: str) -> Iterator[Edit]:
    for match in _TAG.finditer(html):
        between = "\n"
        if _INLINE.match(match[0]):
            between = ""
        yield *match.span(), between


def _mask(html: str, spans: list[Span]) -> str:
    return replace_spans(html, ((*span, MASK + "".join(_MARKUP.findall(html, *span))) for span in spans))
