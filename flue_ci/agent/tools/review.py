"""The tools of a review: a finding on lines of the diff, and what became of an earlier finding.

Places are checked against the diff that the host computed, because the forge refuses a whole review for one bad place.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from flue_ci.agent.tools.tool import ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.hidden_characters import remove_hidden
from flue_ci.core.messages import JSON
from flue_ci.core.proposals import SEVERITIES, FindingOutcome, ReviewComment, Side
from flue_ci.core.review_scope import DiffFile, EarlierFinding, ReviewScope, category_name, fingerprint, match_findings
from flue_ci.core.text import clip, closest_match, first_few, one_line

TITLE_CHARS, BODY_CHARS, SUGGESTION_CHARS = 150, 6_000, 20_000
NEAR = 25  # lines that a finding may be moved by; one farther off stands in the summary
MAX_LINE = 100_000_000
NEW = "new"  # in place of the id of an earlier finding: it is none of them


class ReviewCommentTool:
    """Notes findings. A place that is not in the diff is refused once, with the nearest line that is; when the model
    gives it again, the finding is moved there, or into the summary."""

    spec = built_in_spec("review_comment")
    writes = False

    def __init__(self) -> None:
        self._comments: list[ReviewComment] = []  # those that were accepted
        self._matches: set[str] = set()  # the earlier findings that were found again
        self._refusals: set[tuple[str, int, int | None]] = set()

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result for what cannot be noted; the proposal says why as well."""
        scope = context.rules.review or ReviewScope()
        comment = _comment(arguments, context)
        try:
            file = _file(comment, scope)
            if file:
                comment = self._place(comment, file)
                _check_suggestion(comment, file)
                code = fingerprint(file.text(comment.side), comment.start_line or comment.line, comment.line)
                comment = replace(comment, fingerprint=code)
            comment, answer = self._identify(comment, scope)
            self._check_number(comment, context)
        except ToolError as error:
            self._refusals.add((comment.path, comment.line, comment.start_line))
            proposal = replace(comment, accepted=False, reason=str(error))
            return ToolOutput(text=str(error), note="refused", is_error=True, proposal=proposal)
        if not comment.accepted:
            return ToolOutput(text=answer, note="dismissed before", proposal=comment)
        self._comments.append(comment)
        return ToolOutput(text=answer, note=f"{comment.severity}: {comment.title}", proposal=comment)

    def _place(self, comment: ReviewComment, file: DiffFile) -> ReviewComment:
        """The comment where the forge takes it, or in the summary. Raises `ToolError` when the place is wrong for the
        first time."""
        side, line, start = comment.side, comment.line, comment.start_line
        place = (comment.path, line, start)
        hunk = file.hunk_at(line, side)
        if hunk and (start is None or start in hunk.lines(side)):
            return comment
        nearest = file.nearest(line, side)
        if place not in self._refusals:
            raise ToolError(_place_problem(comment, file, nearest))
        if hunk:
            return replace(comment, start_line=hunk.lines(side)[0], reason=f"begins in the diff, not at {start}")
        if nearest is None or abs(nearest - line) > NEAR:
            return replace(comment, in_summary=True, suggestion=None, reason="its place is not in the diff")
        reason = f"moved from line {line}, which is not in the diff"
        return replace(comment, line=nearest, start_line=None, suggestion=None, reason=reason)

    def _identify(self, comment: ReviewComment, scope: ReviewScope) -> tuple[ReviewComment, str]:
        """The comment with the earlier finding that it is again, and what the model is told. Not accepted when that
        was dismissed."""
        if any(_is_same(comment, earlier) for earlier in self._comments):
            raise ToolError("This finding is noted already.")
        finding = _find_named(comment, scope)
        if finding is None and comment.finding != NEW:
            candidates = [each for each in scope.findings if each.id not in self._matches and each.has_thread]
            (finding,) = match_findings(
                [(comment.path, comment.line, comment.category, comment.fingerprint)], candidates, scope.files
            )
        if finding is None or not finding.has_thread:
            words = "Noted."
            if comment.in_summary:
                words = "Noted for the summary of the review, because its place is not in the diff."
            elif comment.reason:
                words = f"Noted at line {comment.line}; {comment.reason}."
            if comment.finding != NEW:
                comment = replace(comment, finding="")
            return comment, words
        self._matches.add(finding.id)
        if finding.state == "dismissed":
            reason = f"{finding.by or 'somebody'} dismissed this finding ({finding.id})"
            other = f'If it is another problem, call again with finding: "{NEW}".'
            answer = f"Not raised again: {reason}. {other}"
            return replace(comment, finding=finding.id, accepted=False, reason=reason), answer
        answer = f'Noted as {finding.id} again: its thread is open. If it is another problem, use finding: "{NEW}".'
        return replace(comment, finding=finding.id), answer

    def _check_number(self, comment: ReviewComment, context: ToolContext) -> None:
        """Findings that have a thread already cost no place."""
        most = context.rules.review_comments
        count = sum(each.finding in ("", NEW) for each in self._comments)
        if comment.accepted and comment.finding in ("", NEW) and count >= most:
            raise ToolError(f"{most} new findings are the most in one review. Name the rest in your answer, in short.")


class CloseFinding:
    """Says that an earlier finding is fixed, or was a mistake."""

    spec = built_in_spec("close_finding")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Raises `ToolError` for an id that is none, and for another outcome."""
        scope = context.rules.review or ReviewScope()
        outcome, identity = arguments["outcome"], arguments["finding"].strip()
        if outcome not in ("fixed", "withdrawn"):
            raise ToolError("`outcome` is fixed or withdrawn.")
        finding = next((each for each in scope.findings if each.id == identity), None)
        if finding is None or finding.state == "closed":
            raise ToolError(_unknown_finding(identity, scope))
        explanation = clip(arguments["explanation"].strip(), 1_000)
        proposal = FindingOutcome(finding=identity, outcome=outcome, explanation=explanation)
        return ToolOutput(text="Noted.", note=f"{identity} {outcome}", proposal=proposal)


def _comment(arguments: Mapping[str, JSON], context: ToolContext) -> ReviewComment:
    """The arguments as a proposal. Raises `ToolError` for those that can be none."""
    severity, side = arguments["severity"].lower(), arguments.get("side", "RIGHT").upper()
    for name, value, words in (("severity", severity, SEVERITIES), ("side", side, get_args(Side))):
        if value not in words:
            raise ToolError(f"`{name}` is one of {', '.join(words)}.")
    title, body = one_line(arguments["title"], TITLE_CHARS), clip(arguments.get("body", "").strip(), BODY_CHARS)
    if not title:
        raise ToolError("The title is empty.")
    line, start = arguments["line"], arguments.get("start_line")
    if not 1 <= line < MAX_LINE or (start is not None and not 1 <= start <= line):
        raise ToolError("Lines count from 1, and `start_line` is not behind `line`.")
    if start == line:
        start = None
    suggestion = arguments.get("suggestion")
    if suggestion is not None:
        suggestion = suggestion.replace("\r\n", "\n").removesuffix("\n")
    return ReviewComment(
        path=_relative(arguments["path"], context),
        line=line,
        start_line=start,
        side=side,
        severity=severity,
        category=category_name(arguments.get("category", "")),
        title=title,
        body=body,
        suggestion=suggestion,
        finding=arguments.get("finding", "").strip(),
    )


def _relative(path: str, context: ToolContext) -> str:
    """A path of the repository as the diff names it."""
    path = context.path(path).removeprefix(f"{context.workdir}/")
    while path.startswith("./"):
        path = path[2:]
    return path


def _file(comment: ReviewComment, scope: ReviewScope) -> DiffFile | None:
    """The file of the diff; None where no diff is known. Raises `ToolError`."""
    if scope.files is None:
        return None
    if file := scope.files.get(comment.path):
        return file
    for each in scope.files.values():
        if each.old_path == comment.path and comment.side == "LEFT":
            raise ToolError(f"{comment.path} is {each.path} now: give that path, also for lines of the old file.")
    near = closest_match(comment.path, scope.files)
    suggestion = f" Did you mean {near}?" if near else ""
    names = first_few(list(scope.files), 10) or "none"
    raise ToolError(
        f"{comment.path} is not part of the diff, so it can have no comment.{suggestion} Files of the diff: {names}. "
        "What matters elsewhere belongs into your answer."
    )


def _place_problem(comment: ReviewComment, file: DiffFile, nearest: int | None) -> str:
    """What is wrong with a place, and where the nearest right one is."""
    side, line, start = comment.side, comment.line, comment.start_line
    where = "of the old file" if side == "LEFT" else "of the new file"
    again = "or call again with the same place: then it is moved there, or into the review's summary"
    if hunk := file.hunk_at(line, side):
        lines = hunk.lines(side)
        return (
            f"Lines {start} to {line} {where} are not in one hunk of the diff, which shows {lines[0]} to {lines[-1]} "
            f"there. Begin at line {max(lines[0], start or 0)}, {again}."
        )
    if nearest is None:
        other = "RIGHT" if side == "LEFT" else "LEFT"
        hint = f"side {other} has lines; " if any(hunk.lines(other) for hunk in file.hunks) else ""
        return f"The diff shows no line {where} of {comment.path}: {hint}choose another place, {again}."
    ranges = ", ".join(f"{span[0]}-{span[-1]}" for hunk in file.hunks[:20] if (span := hunk.lines(side)))
    return (
        f"Line {line} {where} is not part of the diff; the nearest line that is: {nearest} (the diff shows {ranges}). "
        f"Use a line of the diff, {again}."
    )


def _check_suggestion(comment: ReviewComment, file: DiffFile) -> None:
    """Raises `ToolError` for a suggestion that cannot be applied, or that would put something in that nobody sees."""
    if comment.suggestion is None:
        return
    if comment.side == "LEFT":
        raise ToolError("A suggestion replaces lines of the new file: use side RIGHT, or leave it out.")
    if len(comment.suggestion) > SUGGESTION_CHARS:
        raise ToolError("The suggestion is too long: describe the change in the body.")
    if not file.new_lines:
        return
    first = comment.start_line or comment.line
    lines = [line.removesuffix("\n").removesuffix("\r") for line in file.new_lines[first - 1 : comment.line]]
    if lines == comment.suggestion.split("\n"):
        raise ToolError("The suggestion is what stands there already.")
    invisible = set(comment.suggestion) - set(remove_hidden(comment.suggestion))
    if invisible - set("\n".join(lines)):
        raise ToolError("The suggestion has characters that nobody sees: leave them out, or write escapes.")


def _find_named(comment: ReviewComment, scope: ReviewScope) -> EarlierFinding | None:
    """The earlier finding that the model named. Raises `ToolError` for one that there is not."""
    if comment.finding in ("", NEW):
        return None
    for finding in scope.findings:
        if finding.id == comment.finding:
            return finding
    raise ToolError(_unknown_finding(comment.finding, scope))


def _unknown_finding(identity: str, scope: ReviewScope) -> str:
    ids = [finding.id for finding in scope.findings if finding.state != "closed"]
    return f"There is no earlier finding {one_line(identity, 40)!r}. There are: {first_few(ids, 30) or 'none'}."


def _is_same(comment: ReviewComment, earlier: ReviewComment) -> bool:
    """The very same words about the same lines, or the same earlier finding once more."""
    words = (comment.path, comment.line, comment.side, comment.category, comment.title.lower())
    return words == (earlier.path, earlier.line, earlier.side, earlier.category, earlier.title.lower()) or (
        comment.finding == earlier.finding != NEW and bool(comment.finding)
    )
