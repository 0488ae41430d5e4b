"""Well-known kinds of tokens: patterns by which a secret is recognized although its value is not known.

Pure. A pattern is matched only where one of its prefixes stands, because finding a plain word is quick. No pattern
reads further than a bound, so that hostile text takes time in proportion to its length.

Sources: the documentation of each issuer, and the rules of detect-secrets and gitleaks, against which tests compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # start and end in a text
Expand = Callable[[str, Span], Span | None]
MIN_TOKEN = 20  # characters of the shortest token
_MAX_PEM = 20_000
_WORD = "A-Za-z0-9_\\-"
_LINE_END = r"[ \t]*(?:\r?\n|(?:\\r)?\\n)[ \t]*"  # also as JSON writes it
_PEM_END = re.compile(r"-----END (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=:,.\s\\\"'\-]*")


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """`kind` is the name that people use. Where one of `prefixes` stands, `pattern` is matched; the secret is its
    group, or all of it without one. `expand` may change the span, or refuse it with None. `is_token`: a word of at
    least `MIN_TOKEN` characters without white space."""

    kind: str
    prefixes: tuple[str, ...]
    pattern: re.Pattern[str]
    expand: Expand
    is_token: bool = False


def find_keys(text: str, words: Sequence[str]) -> Iterator[tuple[str, Span]]:
    """Kind and place of each key in `text`, in no order; they may overlap. `words` is `text.split()`."""
    long_words = "\n".join({word for word in words if len(word) >= MIN_TOKEN})
    for pattern in KEY_PATTERNS:
        for prefix in pattern.prefixes:
            if not pattern.is_token or prefix in long_words:
                yield from _find(pattern, prefix, text)


def _find(pattern: KeyPattern, prefix: str, text: str) -> Iterator[tuple[str, Span]]:
    position = text.find(prefix)
    while position >= 0:
        match = pattern.pattern.match(text, position)
        span = pattern.expand(text, match.span(match.lastindex or 0)) if match else None
        position += 1
        if span:
            yield pattern.kind, span
            position = max(span[1], position)
        position = text.find(prefix, position)


def _same_span(_: str, span: Span) -> Span:
    return span


def _near_aws(text: str, span: Span) -> Span | None:
    """Forty letters are an AWS secret only where the text before says so."""
    before = text[max(span[0] - 60, 0) : span[0]].lower()
    return span if "aws" in before or "access" in before else None


def _with_header(text: str, span: Span) -> Span | None:
    """With the first part of a JSON web token, which stands before the prefix `.eyJ`."""
    before = text[max(span[0] - 4_000, 0) : span[0]]
    part = len(before) - len(before.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
    start = before.find("eyJ", len(before) - part)
    return (span[0] - len(before) + start, span[1]) if start >= 0 else None


def _to_last_line(text: str, span: Span) -> Span:
    """A private key to its last line, when that is near and only a key lies between; else as far as lines look like
    one."""
    start = text.find("-----END ", span[1], span[1] + _MAX_PEM)
    end = _PEM_END.match(text, start) if start >= 0 else None
    if end is None or text.find("-----BEGIN ", span[1], start) >= 0 or not _PEM_BODY.fullmatch(text, span[1], start):
        return span
    return span[0], end.end()


def _token(kind: str, prefixes: str, rest: str) -> KeyPattern:
    """A word that begins with one of `prefixes` (`a b`), followed by `rest` (a regular expression)."""
    words = tuple(prefixes.split())
    pattern = rf"\b(?:{'|'.join(map(re.escape, words))}){rest}"
    return KeyPattern(kind, words, re.compile(pattern), _same_span, is_token=True)


def _pattern(kind: str, prefixes: str, pattern: str, expand: Expand = _same_span) -> KeyPattern:
    return KeyPattern(kind, tuple(prefixes.split()), re.compile(pattern), expand)


KEY_PATTERNS = (
    _token("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9_.\-]{20,1000}"),
    _token("GitHub token", "github_pat_", r"[A-Za-z0-9_]{20,255}"),
    _token(
        "GitLab token",
        "glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-",
        rf"(?=[a-z_\-]{{0,40}}[A-Z0-9])[{_WORD}.]{{20,300}}",
    ),
    _token("Anthropic key", "sk-ant-", rf"[{_WORD}]{{16,255}}"),
    _token("API key", "sk-", rf"(?!ant-)(?=[A-Za-z_\-]{{0,200}}[0-9])[{_WORD}]{{32,255}}"),
    _token("E2B key", "e2b_", r"(?=[a-z]{0,60}[0-9])[A-Za-z0-9]{20,255}"),
    _token("Groq key", "gsk_", r"[A-Za-z0-9]{52}\b"),
    _token("xAI key", "xai-", r"[A-Za-z0-9]{80}\b"),
    _token("Perplexity key", "pplx-", r"[A-Za-z0-9]{48}\b"),
    _token("Replicate token", "r8_", r"[A-Za-z0-9]{37}\b"),
    _token("Hugging Face token", "hf_", r"(?=[a-z]{0,33}[A-Z0-9])[A-Za-z0-9]{34,40}\b"),
    _token("Hugging Face token", "api_org_", r"(?=[a-z]{0,33}[A-Z0-9])[A-Za-z0-9]{34}\b"),
    _token("AWS key id", "AKIA ASIA ABIA ACCA", r"[A-Z2-7]{16}\b"),
    _pattern(
        "AWS secret",
        "ecret ECRET",
        r"(?i:ecret).{0,25}?(?<=[\"'\s:=])([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _near_aws,
    ),
    _token("Azure storage key", "AccountKey= SharedAccessKey=", r"([A-Za-z0-9/+]{43,86}={1,2})(?![A-Za-z0-9/+=])"),
    _token("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{64}\b"),
    _token("Docker token", "dckr_pat_ dckr_oat_", rf"[{_WORD}]{{27,40}}"),
    _token("Vault token", "hvs. hvb. hvr.", rf"(?=[A-Za-z_\-]{{0,90}}[0-9])[{_WORD}]{{24,300}}"),
    _token("Pulumi token", "pul-", r"[a-f0-9]{40}\b"),
    _token("Databricks token", "dapi", r"[a-f0-9]{32}(?:-[0-9])?\b"),
    _token("Grafana token", "glsa_", r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}\b"),
    _token("New Relic key", "NRAK-", r"[A-Z0-9]{27}\b"),
    _token("Sentry token", "sntryu_", r"[a-f0-9]{64}\b"),
    _token("Supabase token", "sbp_", r"[a-f0-9]{40}\b"),
    _pattern("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}"),
    _token("Slack token", "xapp-", r"[0-9]-[A-Za-z0-9\-]{20,255}"),
    _pattern("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,100})"),
    _token("Twilio key", "SK", r"[a-f0-9]{32}\b"),
    _token("SendGrid key", "SG.", rf"[{_WORD}]{{16,32}}\.[{_WORD}]{{16,64}}"),
    _token("Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[A-Za-z0-9]{16,247}\b"),
    _token("Stripe key", "whsec_", r"[A-Za-z0-9+/]{32,64}={0,2}"),
    _token("Square token", "sq0atp- sq0csp-", rf"[{_WORD}]{{22,43}}"),
    _token("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}\b"),
    _token("Linear key", "lin_api_", r"[A-Za-z0-9]{40}\b"),
    _token("Notion token", "ntn_", r"[0-9]{11}[A-Za-z0-9]{32,35}\b"),
    _token("Postman key", "PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}\b"),
    _token("Google key", "AIza", rf"[{_WORD}]{{35}}"),
    _token("Google token", "ya29.", rf"[{_WORD}]{{20,2000}}"),
    _token("Google client secret", "GOCSPX-", rf"[{_WORD}]{{28}}"),
    _token("package registry token", "npm_", r"[A-Za-z0-9]{36}\b"),
    _token("package registry token", "pypi-", rf"[{_WORD}]{{40,1000}}"),
    _token("package registry token", "rubygems_", r"[a-f0-9]{48}\b"),
    _token("age key", "AGE-SECRET-KEY-1", r"[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b"),
    _pattern(
        "JSON web token",
        ".eyJ",
        rf"(?<=[{_WORD}]{{13}})\.eyJ[{_WORD}]{{10,8000}}+\.[{_WORD}]{{10,1000}}",
        _with_header,
    ),
    _pattern(
        "private key",
        "-----BEGIN",
        r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_LINE_END}[A-Za-z\-]{{1,40}}: [^\n\\]{{0,200}}){{0,8}}(?:{_LINE_END}[A-Za-z0-9+/=]{{4,200}}){{0,400}}",
        _to_last_line,
    ),
    _pattern("address with password", "://", r"://([^\s/:@]{1,256}:[^\s/@]{1,256})@"),
)
