"""Takes secrets out of a finished page: what was apart in its sources may read as one word there. Every text of the
page is escaped, so that angle brackets and quotes are markup; they stay, whatever is masked."""

import re
from collections.abc import Iterator

from flue_ci.safety.readings import Edit, Span, read_edited
from flue_ci.safety.redact import MASK, Redactor

_STATIC = re.compile(r"(<(style|script)>.*?</\2>)", re.DOTALL)  # the policy of the page names their hashes
_TAG = re.compile(r"<[^<>]*>")
_MARKUP = re.compile(r"<[^<>]*>|[<>\"']")
_INLINE = re.compile(r"</?(?:a|b|code|del|em|i|kbd|mark|small|span|strong|sub|sup)(?![\w-])")


def redact_html(page: str, redact: Redactor) -> str:
    """`page` without secrets, in its text and in the values of attributes."""
    parts = []
    position = 0
    for match in _STATIC.finditer(page):
        parts += [_redact_part(page[position : match.start()], redact), match[0]]
        position = match.end()
    return "".join([*parts, _redact_part(page[position:], redact)])


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
    parts = []
    position = 0
    for start, end in spans:
        parts += [html[position:start], MASK, *_MARKUP.findall(html, start, end)]
        position = end
    return "".join([*parts, html[position:]])
