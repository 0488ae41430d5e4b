"""The message of a commit: an agent's words without anything that acts on GitHub, and trailers that are ours. Pure.

In a message `fixes #1` closes an issue, `@name` tells somebody, `[skip ci]` keeps checks from running, and a trailer is
a statement of whoever commits.
"""

import re

from flue_ci.core.text import clip, one_line, plain, replace_spans
from flue_ci.report.report import Report
from flue_ci.report.words import first_sentence
from flue_ci.safety.active_text import active_spans

LONGEST_TITLE, LONGEST_BODY = 72, 5_000  # characters
RUN_TRAILER = "Flue-Run"
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})")
# `Co-authored-by:`, `On-behalf-of:`, `Change-Id:`, `skip-checks:`, `Release-As:`, `Flue-Run:`.
_TRAILER_NAME = r"(?i:(?:[a-z0-9]+-)+(?:as|by|of|to|for|id|checks|run)|flue-[a-z0-9-]+)"
_TRAILER = re.compile(rf"(?m)^[^\w\n]*{_TRAILER_NAME}[ \t]*:.*(?:\n[ \t]+\S.*)*\n?")
_TITLE_TRAILER = re.compile(rf"^(\W*{_TRAILER_NAME})\s*:\s*")
# `[skip ci]` and its kin, also of other services: `[ci skip]`, `[no ci]`, `[skip netlify]`, `***NO_CI***`.
_SKIP_WORD = r"(?<![a-z])(?:skip|no[-_ ]*(?:ci|actions|build))(?![a-z])"
_SKIP = re.compile(rf"\[([^\[\]\n]{{0,60}}?{_SKIP_WORD}[^\[\]\n]{{0,60}})\]", re.IGNORECASE)
_NO_CI = re.compile(r"(?<!\*)\*{2,}\s*(no)[-_ ]*(ci)\s*\*{2,}", re.IGNORECASE)
_AUTOSQUASH = re.compile(r"^(?:(?:fixup|squash|amend)!\s*)+", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:[a-z]+://|xmpp:)?(?:www\.)?", re.IGNORECASE)
_MAX_PASSES = 20


def commit_message(title: str, body: str, *, run: str, author: str = "", author_id: int = 0, host: str = "") -> str:
    """A message of an agent's title and text. `run` names the run, by its page where it has one; `author` is the login
    of the person who asked, a co-author, and `host` the forge's ("" for github.com)."""
    title = _TITLE_TRAILER.sub(r"\1 ", _AUTOSQUASH.sub("", clean_text(one_line(title, 1_000))))
    parts = [clip(one_line(title, 1_000), LONGEST_TITLE - 1) or "Changes of an agent"]
    body = re.sub(r"\n{3,}", "\n\n", _TRAILER.sub("", clean_text(plain(body)))).strip()
    if body:
        parts.append(clip(body, LONGEST_BODY).rstrip())
    trailers = [f"{RUN_TRAILER}: {one_line(run, 300)}"]
    if _LOGIN.fullmatch(author) and author_id:
        domain = f"users.noreply.{host or 'github.com'}"
        trailers.append(f"Co-authored-by: {author} <{author_id}+{author}@{domain}>")
    return "\n\n".join([*parts, "\n".join(trailers)])


def describe_change(report: Report) -> tuple[str, str]:
    """Title and text for the changes of a run: what the agent proposed last, else the first sentence of its answer."""
    for proposal in reversed(report.proposals):
        if proposal.kind == "change" and proposal.accepted and proposal.title.strip():
            return proposal.title, proposal.body
    sentence = first_sentence(report.summary)
    if sentence:
        return sentence.visible.rstrip("."), ""
    return f"Changes of {report.agent}", ""


def run_name(report: Report) -> str:
    """What a commit calls its run: the page of the job, else when it began."""
    if report.trigger and report.trigger.run_url:
        return report.trigger.run_url
    return f"{report.agent} {report.started}".strip()


def run_of(message: str) -> str:
    """The run that made a commit, by the trailer of its message; "" for a commit of others."""
    last = message.rstrip().rpartition("\n\n")[2]
    match = re.search(rf"(?m)^{RUN_TRAILER}: (.+)$", last)
    if match is None or last == message.rstrip():  # the first paragraph is the title
        return ""
    return match[1].strip()


def clean_text(text: str) -> str:
    """The text without mentions, references, addresses that lead somewhere, and words that keep CI from running."""
    for _ in range(_MAX_PASSES):
        before = text
        words = [(start, end, _plain(text[start:end], kind)) for start, end, kind in active_spans(text)]
        text = _NO_CI.sub(r"\1 \2", _SKIP.sub(r"(\1)", replace_spans(text, words)))
        if text == before:
            return text
    return re.sub(r"[@#\[\]:*]", " ", text)


def _plain(words: str, kind: str) -> str:
    """The words of a link, mention or reference."""
    if kind == "links":
        return _SCHEME.sub("", words)
    if kind == "mentions":
        return re.sub("[@＠﹫]", "", words)
    return re.sub(r"(?i)gh-(?=\d)", "", re.sub("[#＃]+", " ", words))
