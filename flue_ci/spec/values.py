"""Checks of single values in a spec: events, hosts, added headers, addresses of servers, names of variables, globs."""

import difflib
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import did_you_mean, matches_host, one_line
from flue_ci.gate.event import EVENTS, event_names

ROLES = ("admin", "maintain", "write", "triage", "read")  # that every repository on GitHub has
_TYPO = 0.9  # how near a word is to another one that was probably meant
_COMMENT_EVENTS = ("issue_comment", "pull_request_review_comment", "discussion_comment", "commit_comment")
# Events of GitHub that a workflow can start on but an agent cannot work on: why, and what to use instead.
_UNUSABLE = {
    "discussion": ("discussions can be neither read nor answered", "use an event of issues, such as issues.opened"),
    "milestone": ("it is about no issue and no commit", "use issues.milestoned or issues.demilestoned"),
    "issues.deleted": ("the issue is gone by then", "use issues.closed"),
    "issues.transferred": ("the issue is in another repository by then", "use issues.opened there"),
}
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+")
_ADDRESS = re.compile(r"[0-9.]+(?:/[0-9]+)?|\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?(?:/[0-9]+)?")
_MAX_NAME = 253
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_CONNECTION_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")
_BRACKET = re.compile(r"\[!?\]?[^\]/]*\]|(\[)[^\]/]*")  # its group is one that is not closed
_CLOSED_BRACKET = re.compile(r"\[!?(\]?[^\]/]*)\]")
_RANGE = re.compile(r"(.)-(.)", re.DOTALL)
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_MAX_VALUE = 8_000  # what servers take for all headers together
MAX_INJECTED_HOSTS, MAX_INJECTED_HEADERS = 10, 20  # that E2B takes; headers for one host
_CREDENTIALS = ("authorization", "proxy-authorization", "x-api-key", "cookie")
_RESERVED_NAMES = (
    (re.compile(r"(?i)(GITHUB|ACTIONS|RUNNER)_.*"), "nothing of the runner's is visible in the sandbox"),
    (re.compile(r"(?i)ANTHROPIC_.*"), "the model's key stays with flue-ci and never enters the sandbox"),
    (re.compile(r"(?i)E2B_.*"), "the key that controls sandboxes never enters one"),
    (re.compile(r"(?i)FLUE_CI_.*"), "this prefix is for flue-ci itself"),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PLACEHOLDER = re.compile(r"\{(?:agent|number|slug)\}")
_NO_BRANCH = re.compile(r"^[-/]|[/.]$|\.\.|//|@\{|/\.|^\.|[\s~^:?*\[\\]")
_MAX_GLOB = 1_000


def event_flaw(event: str) -> Diagnostic | None:
    """What is wrong with an event as a spec names it; None when nothing is."""
    name, dot, action = event.partition(".")
    if name in _COMMENT_EVENTS:
        hint = "`triggers.comment` names the command that starts the agent"
        return Diagnostic(message="comments are no event here", hint=hint)
    for unusable in (event, name):
        if unusable in _UNUSABLE:
            reason, hint = _UNUSABLE[unusable]
            return Diagnostic(message=f"`{unusable}` starts no agent: {reason}", hint=hint)
    if name not in EVENTS:
        hint = did_you_mean(event, (*EVENTS, *event_names()), f"known: {', '.join(EVENTS)}")
        return Diagnostic(message=f"`{one_line(event, 60)}` is not a known event", hint=hint)
    actions = EVENTS[name]
    if actions and not dot:
        return Diagnostic(message=f"`{name}` needs an action", hint=f"such as {name}.{actions[0]}")
    if dot and not actions:
        return Diagnostic(message=f"`{name}` has no actions", hint=f"write {name}")
    if actions and action not in actions:
        hint = did_you_mean(action, actions, f"known: {', '.join(actions)}")
        return Diagnostic(message=f"`{name}` has no action `{one_line(action, 40)}`", hint=hint)
    return None


def host_flaw(host: str) -> Diagnostic | None:
    """What is wrong with a host name or `*.` pattern; None when nothing is."""
    if _HOST.fullmatch(host) and len(host) <= _MAX_NAME and not _ADDRESS.fullmatch(host):
        return None
    name = f"`{one_line(host, 60)}`"
    if host == "*":
        message, hint = "`*` is not a host", "write `open` in place of the list to reach everything"
    elif "://" in host or ("/" in host and not _ADDRESS.fullmatch(host)):
        message, hint = f"{name} is a URL, not a host", _suggest_host(_host_of(host))
    elif _ADDRESS.fullmatch(host):
        message, hint = f"{name} is an address, not a name", "hosts are allowed by name"
    elif re.fullmatch(r"[^:]+:[0-9]+", host):
        message, hint = f"{name} has a port", _suggest_host(host.partition(":")[0])
    elif _HOST.fullmatch(host.lower().rstrip(".")):
        message, hint = f"{name} is not written the usual way", _suggest_host(host.lower().rstrip("."))
    elif not host.isascii():
        message, hint = f"{name} is not in ASCII", "write the name as DNS does (xn--…)"
    elif "*" in host:
        message, hint = f"{name} has a `*` that does not fit", "only `*.` at the beginning stands for all names below"
    else:
        message, hint = f"{name} is not a host name", "such as packages.example.com"
    return Diagnostic(message=message, hint=hint)


def _host_of(url: str) -> str:
    """The host of a URL, with or without its scheme; "" when there is none."""
    if "://" not in url:
        url = f"//{url}"
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _suggest_host(host: str) -> str:
    if _HOST.fullmatch(host) and len(host) <= _MAX_NAME:
        return f"write {host}"
    return "write the host alone"


def injection_flaw(host: str) -> Diagnostic | None:
    """What is wrong with the host of an added header; None when nothing is."""
    if (flaw := host_flaw(host)) or not host.startswith("*."):
        return flaw
    message = f"`{one_line(host, 60)}` is a pattern, and E2B adds headers to requests for whole names only"
    return Diagnostic(message=message, hint=f"name each host in a rule of its own, such as packages{host[1:]}")


def reaches(egress: str | tuple[str, ...], host: str) -> bool:
    """Whether `host` (or all hosts of a `*.` pattern) can be reached under `open`, `none` or a list of hosts."""
    return egress == "open" if isinstance(egress, str) else matches_host(host, egress)


def header_flaw(header: str) -> Diagnostic | None:
    """What is wrong with the name of an added header; None when nothing is."""
    if _HEADER.fullmatch(header) and header.lower() not in _CONNECTION_HEADERS:
        return None
    return Diagnostic(message=f"`{one_line(header, 60)}` is not a header that can be added")


def value_flaws(header: str, value: str, secrets: Sequence[str]) -> Iterator[Diagnostic]:
    """What is wrong with the value of an added header."""
    if len(value) > _MAX_VALUE:
        yield Diagnostic(message=f"a header's value has at most {_MAX_VALUE:,} characters")
        return
    if not value.isprintable():
        yield Diagnostic(message="a header's value is one line of printable text")
    names = _REFERENCE.findall(value)
    unknown = next((name for name in names if name not in secrets), None)
    if unknown is not None:
        name = one_line(unknown, 60)
        hint = did_you_mean(unknown, secrets, f"add {name} there")
        yield Diagnostic(message=f"`${{{name}}}` is not listed in `sandbox.secrets`", hint=hint)
    if match := re.search(r"\$\{([^}]*)\Z", value):
        name = one_line(match[1], 40)
        yield Diagnostic(message=f"`${{{name}` has no end and would be sent as it stands", hint=f"write ${{{name}}}")
    elif match := re.search(r"\$([A-Za-z_]\w*)", value):
        message = f"`{one_line(match[0], 60)}` would be sent as it stands"
        yield Diagnostic(message=message, hint=f"write ${{{one_line(match[1], 60)}}}")
    elif not names and header.lower() in _CREDENTIALS:
        message = "this would be a credential in the open, in a file of the repository"
        yield Diagnostic(message=message, hint="put it into a secret: ${NAME}")


def is_custom_role(name: str) -> bool:
    """Whether this can be the name of a role that an organization has made: any but a misspelled one of GitHub's."""
    is_line = name != "" and name == one_line(name, 100)
    return is_line and not difflib.get_close_matches(name.lower(), ROLES, n=1, cutoff=_TYPO)


def url_flaw(url: str) -> str:
    """What is wrong with the address of a server that gets the model's key; empty when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a valid address"
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return "an address without encryption, to which the model's key would be sent"
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url) or port == 0:
        return "not a web address"
    if not url.isascii() or "\\" in url:  # readers differ about the host, and people see another one
        return "an address with characters that do not belong there; write the name as DNS does (xn--…)"
    if parts.username or parts.password:
        return "an address with a password in it; keys come from the environment"
    if parts.query or parts.fragment:
        return "an address with a query or a fragment"
    return ""


def variable_flaw(name: str, noun: str) -> Diagnostic | None:
    """What is wrong with the name of an environment variable, called `noun`; None when nothing is."""
    if not _VARIABLE.fullmatch(name):
        message = f"`{one_line(name, 60)}` cannot be the name of {noun}"
        return Diagnostic(message=message, hint="letters, digits and _; only names, never values")
    for pattern, reason in _RESERVED_NAMES:
        if pattern.fullmatch(name):
            return Diagnostic(message=f"`{name}` cannot be {noun} in the sandbox", hint=reason)
    return None


def _is_backwards(glob: str) -> bool:
    """Whether a bracket has a range such as `[z-a]`, which means nothing."""
    contents = (bracket[1] for bracket in _CLOSED_BRACKET.finditer(glob))
    return any(start > end for content in contents for start, end in _RANGE.findall(content))


def branch_flaw(template: str) -> Diagnostic | None:
    """What is wrong with a name of a branch with `{agent}`, `{number}` and `{slug}` in it; None when nothing is.

    Source: https://git-scm.com/docs/git-check-ref-format
    """
    name = _PLACEHOLDER.sub("x", template)
    hint = "such as flue/{agent}-{number}"
    if "{" in name or "}" in name:
        return Diagnostic(message="has another placeholder than {agent}, {number} and {slug}", hint=hint)
    is_bad = _NO_BRANCH.search(name) or any(part.endswith(".lock") for part in name.split("/")) or name == "@"
    if is_bad or not name.isprintable():
        return Diagnostic(message=f"`{one_line(template, 60)}` is no name for a branch", hint=hint)
    return None


def glob_flaw(glob: str) -> Diagnostic | None:
    """What is wrong with a pattern; None when nothing is."""
    name = f"`{one_line(glob, 60)}`"
    if len(glob) > _MAX_GLOB:
        return Diagnostic(message=f"{name} is longer than {_MAX_GLOB:,} characters")
    parts = glob.split("/")
    double_stars = [part for part in parts if "**" in part and part != "**"]
    top = "patterns are relative to the top of the repository"
    reasons = (
        (not glob.isprintable() or glob != glob.strip(), "has spaces at its ends or invisible characters", ""),
        (glob.startswith("!"), "begins with `!`", "a pattern can only add to what is protected"),
        ("\\" in glob, "has a backslash", "paths are written with /"),
        (glob.startswith(("/", "~")), "begins with `/` or `~`", top),
        (".." in parts or "." in parts, "has `.` or `..` in it", top),
        ("" in parts[:-1], "has an empty part (`//`)", ""),
        (double_stars, "has `**` beside other characters", "write `**/` or `/**`"),
        (any(_BRACKET.findall(glob)), "has a `[` without `]`", "write [[] for the character itself"),
        (_is_backwards(glob), "has a range that runs backwards", "write [a-z], the smaller character first"),
        ("{" in glob or "}" in glob, "has braces, which mean nothing in a pattern", "write one pattern for each"),
    )
    flaws = (Diagnostic(message=f"{name} {reason}", hint=hint) for applies, reason, hint in reasons if applies)
    return next(flaws, None)
