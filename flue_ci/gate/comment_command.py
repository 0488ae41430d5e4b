"""Finds the request in a comment: `/flue NAME text` or `@PHRASE NAME text`. Standard library, Python 3.9.

The gate has no reader of Markdown. It leaves out only what surely is no running text, and accepts in doubt:
`action.comment_request` decides again with the tree of the text, among the same candidates. Linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_TEXT = 70_000  # characters that are read; GitHub's own limit is 65,536
_MAX_ADDRESS = 2_000  # characters
_NOTHING = "(?!)"  # a regular expression that matches nowhere
_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})")
# Comments at the margin, or begun in a line that begins with a letter. What could be other Markdown in them makes them
# uncertain.
_SIGNS = r"(?:(?!--)[^\n<`\\])*"
_COMMENT = re.compile(
    rf"^<!--(?!-?>){_SIGNS}(?:\n(?:(?:[A-Za-z/@]{_SIGNS})?\n)*{_SIGNS})?(?:-->|\Z)"
    rf"|^[A-Za-z][^\n<`\\|]*<!--(?!-?>){_SIGNS}\n(?:[A-Za-z/@]{_SIGNS}\n)*{_SIGNS}-->",
    re.MULTILINE,
)
_PLAIN_LINES = re.compile(r"(?:(?:[^\W_][\w ,.!?'’()]*)?\n)*[*_]*")
_BELOW_HEADER = re.compile(r"[ \t|:]*-[ \t|:-]*(?:\n|\Z)")  # of a table
_SHA = re.compile(r"[\s*_~:,]*@([0-9a-f]{7,})(?![\w/@-]|\.\w)[*_~.,:;!?]*", re.IGNORECASE)
_NAME = re.compile(r"[ \t,:]*([*_~]{0,3})(?=([a-z0-9][a-z0-9-]*))\2\1(?![\w/@*~]|\.\w)[.,:;!?]*", re.IGNORECASE)
# How mail programs introduce what they quote, in the languages that they speak.
_WROTE = re.compile(
    r"(?:wrote|schrieb|écrit|escribió|scritto|escreveu|schreef|skrev|napsal|napisał|pisze|kirjoitti|írta|scris|yazdı|"
    r"написал|пишет|писал|написав|пише|έγραψε|viết|menulis|写道|寫道|写了|書きました|のメール|작성|כתב|كتب)",
    re.IGNORECASE,
)
_DATED = re.compile(r"(?:On|Am|Le|El|Il|Em|Op|Den|Dne|Dňa|W dniu|Vào|Pada|Le|Στις|У|В|在|于|\d)[ ,\d]")
_TIME = re.compile(r"\d[:.h]\d\d|(?<![#/\d])\d{4}(?!\d)|\S@\S")  # or a year, or an address
_DATE = re.compile(r"(?<!\d)\d\d?[./-]\d\d?[./-]\d{2,4}(?!\d)|(?<!\d)\d{4}[./-]\d\d?[./-]\d\d?(?!\d)")
_CALL = re.compile(r"(?<![\w.@/])@\w")
_TIME_OR_ADDRESS = re.compile(r"\d[:.h]\d\d(?!\d)|\S@\S|<")
_AT_TIME = re.compile(r"\d[:.h]\d\d(?!\d)[^\n]*<[^<>\s]+@[^<>\s]+>\s?[:：]\Z")
_ORIGINAL = re.compile(
    r"[-_=]{4,}(?![-_=]) ?(?=[^\n]*(?:message|nachricht|mensaje|mensagem|messaggio|bericht|meddelande|melding|besked|"
    r"viesti|wiadomość|zpráva|správa|üzenet|mesaj|сообщени|повідомлення|メッセージ|邮件|郵件|메시지|הודעה|رسالة))"
    r"[^\W\d_][^\n]{2,60}[-_=]{3,} *$|[-_]{2,} ?(?:Original|Forwarded) Message", re.IGNORECASE
)  # fmt: skip
_FROM = re.compile(
    r"[*_]{0,2}(?:(From)|Von|De|Da|Van|Från|Fra|Od|Lähettäjä|Feladó|Kimden|От|Від|Από|发件人|寄件者|差出人|보낸 ?사람|"
    r"מאת|من)[*_]{0,2} ?[:：]", re.IGNORECASE
)  # fmt: skip
_TO = re.compile(r"[*_]{0,2}(?:To|An|À|A|Para|Aan|Till|Til|Do|Komu|Кому)[*_]{0,2} ?[:：]", re.IGNORECASE)
_HEADER = re.compile(r"[*_]{0,2}[^\W\d_][^:：\n]{0,24}[:：]")


@dataclass(frozen=True)
class CommentCommand:
    """A request. `name` is the first word after the trigger in lower case ("" for none), `instruction` the text after
    it, as it was written; `text` is both, for when the first word turns out to be no name. `sha`: the commit that
    `@SHA` before the instruction names, 7 or more hexadecimal digits in lower case ("" for none); it is no part of the
    texts. `mention`: it was `@PHRASE`, not `/flue`. `is_certain`: the comment begins with it, so that whoever reads it
    with its Markdown finds it as well."""

    name: str
    instruction: str
    text: str
    mention: bool = False
    sha: str = ""
    is_certain: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Candidate:
    """Where in a text a trigger or mention stands; `emphasis` are the signs around it."""

    start: int
    end: int
    mention: bool
    emphasis: str = ""


def find_command(text: str, *, trigger: str = "/flue", phrase: str = "") -> CommentCommand | None:
    """The first request in a comment that may be one, or None.

    `trigger` counts as the first thing on a line, `phrase` (without `@`; "" for none) anywhere in running text; both in
    any case. The instruction goes to the end of the comment, or to the mail that it answers.
    """
    text = normalize_lines(text)
    own_text = text
    end = find_quoted_mail(text)
    if end >= 0 and "<" not in text[:end] and not re.search("[`~]", text[: f"{text}\n".index("\n", end)]):
        own_text = text[:end]
    first_tag = f"{own_text}<".index("<")
    hidden = [*_comments(own_text), *_fences(own_text, first_tag)]
    for candidate in find_candidates(own_text, trigger=trigger, phrase=phrase):
        if any(start <= candidate.start < end for start, end in hidden):
            continue
        if not (candidate.mention and candidate.start < first_tag and _is_in_code_span(own_text, candidate)):
            return parse_command(own_text, candidate)
    return None


def normalize_lines(text: str) -> str:
    return text[:MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n")


def find_candidates(text: str, *, trigger: str, phrase: str) -> Iterator[Candidate]:
    """Every place where a trigger or a mention may stand, in order; quoted and indented lines hold none."""
    word = re.escape(trigger) or _NOTHING
    name = re.escape(phrase.lstrip("@")) or _NOTHING
    starts = rf"^ {{0,3}}(?P<emphasis>[*_~]{{0,3}})(?P<word>{word})(?![\w/.@:-])"
    mentions = rf"(?<![\w@/.`+-])@{name}(?![\w/@-]|\.\w)"
    quoted = re.compile(r" {4}|\t| {0,3}>")
    for match in re.finditer(f"{starts}|(?P<mention>{mentions})", text, re.IGNORECASE | re.MULTILINE):
        start = match.start()
        line = text.rfind("\n", 0, start) + 1
        word_start = max(line, text.rfind(" ", line, start) + 1, start - _MAX_ADDRESS)
        if match["word"]:
            yield Candidate(match.start("word"), match.end(), False, match["emphasis"])
        elif not quoted.match(text, line) and "://" not in text[word_start:start]:
            before = text[max(line, start - 3) : start]
            yield Candidate(start, match.end(), True, before[len(before.rstrip("*_~")) :])


def find_quoted_mail(text: str) -> int:
    """Where a mail that this comment answers begins, when its lines have no `>` before them; -1 for nowhere."""
    lines = text.split("\n")
    position = 0
    for number, line in enumerate(lines):
        more = lines[number + 1 : number + 4]
        if _introduces_mail(line, more):
            return position
        position += len(line) + 1
    return -1


def _introduces_mail(line: str, more: list[str]) -> bool:
    if not line[:1].strip() or len(line) > 500:
        return False
    if _ORIGINAL.match(line):
        return True
    if match := _FROM.match(line):
        first, second = [*more, "", ""][:2]
        if _TO.match(first) and not _HEADER.match(second) and "@" not in line:  # `From: a.py`, `To: b.py`
            return False
        return bool(match[1] or _HEADER.match(first))
    ending = line.rstrip()
    for _ in range(2):  # wrapped
        if ending.endswith((":", "：")) or not more or not _DATED.match(line):
            break
        ending = f"{ending} {more[0].strip()}"
        more = more[1:]
    if not ending.endswith((":", "：")) or len(ending) > 500 or re.match(r"[*_~]*[^\w\s*_~\"'“„«(<]", ending):
        return False
    quoted = next((each for each in more if each.strip()), "")
    if _CALL.search(ending) and not _DATED.match(line) and not _TIME_OR_ADDRESS.search(_DATE.sub("", ending)):
        return False  # somebody is asked: `Hey @bot fix what Ada wrote on 2025-01-01:`
    is_dated = bool(_WROTE.search(ending) and _TIME.search(ending)) or bool(_AT_TIME.search(ending))
    return is_dated and not quoted.lstrip().startswith(">")


def parse_command(text: str, candidate: Candidate) -> CommentCommand:
    """The request of a candidate in `text`. Nothing but white space is taken off its ends."""
    line, _, more = text[candidate.end :].partition("\n")
    if candidate.emphasis:
        closing = re.escape(candidate.emphasis[::-1])
        line = re.sub(rf"(?:^|(?<=\S)){closing}", "", line, count=1)
    line = re.sub(r"^[,:;]+", "", line)
    match = _NAME.match(line)
    name, after = "", line
    if match:
        name, after = match[2], line[match.end() :]
    sha = ""
    if commit := _SHA.match(after):
        sha, after = commit[1].lower(), after[commit.end() :]
    instruction = _without_edges(after, more)
    words = _without_edges(line, more)
    if sha:
        words = f"{name} {instruction}".strip()
    is_plain = bool(_PLAIN_LINES.fullmatch(text[: candidate.start])) and not _BELOW_HEADER.match(more)
    return CommentCommand(name.lower(), instruction, words, candidate.mention, sha, is_plain and not candidate.mention)


def _without_edges(line: str, more: str) -> str:
    """Both as one text. The first line after an empty one keeps its indentation, which may make it code."""
    if line.strip():
        return f"{line.lstrip()}\n{more}".rstrip()
    return re.sub(r"\A(?:[ \t]*\n)+", "", more).rstrip()


def _comments(text: str) -> Iterator[tuple[int, int]]:
    """The first comments of HTML, as long as nothing stands before them that could take their signs for its own."""
    position = 0
    for match in _COMMENT.finditer(text):
        if re.search(r"[<`\\]|~~~", text[position : match.start()]):
            return
        yield match.span()
        position = match.end()


def _fences(text: str, end: int) -> Iterator[tuple[int, int]]:
    """The fenced blocks at the margin before `end`, as long as all fences are there: these are in no list or quote."""
    fence, start, position = "", 0, 0
    for line in text.split("\n"):
        if position > end or re.search(r"[^`~](?:```|~~~)", line):
            break
        if not fence and (match := _FENCE.match(line)):
            fence, start = match[1], position
        elif fence and line.startswith(fence) and not line.strip(fence[0] + " \t"):
            yield start, position
            fence = ""
        position += len(line) + 1
    if fence:
        yield start, position


def _is_in_code_span(text: str, mention: Candidate) -> bool:
    """Whether a mention surely stands in code: all backticks of the text are in its line, and nothing binds tighter."""
    start, end = text.rfind("\n", 0, mention.start) + 1, f"{text}\n".index("\n", mention.end)
    line = text[start:end]
    if line.count("`") != text.count("`") or re.search(r"[\\<|]", line):
        return False
    return any(first <= mention.start - start < last for first, last in code_spans(line))


def code_spans(line: str) -> Iterator[tuple[int, int]]:
    """Start and end of each code span of a line: a run of backticks goes to the next run of its length."""
    runs = list(re.finditer(r"`+", line))
    last = {len(run[0]): run for run in runs}  # of each length
    opening: re.Match[str] | None = None
    for run in runs:
        if opening is None and last[len(run[0])] is not run:
            opening = run
        elif opening and len(opening[0]) == len(run[0]):
            yield opening.start(), run.end()
            opening = None
