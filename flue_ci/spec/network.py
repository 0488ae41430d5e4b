"""Host names and added headers as a spec may write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import did_you_mean, matches_host, one_line

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+")
_ADDRESS = re.compile(r"[0-9.]+(?:/[0-9]+)?|\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?(?:/[0-9]+)?")
_MAX_NAME = 253
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_CONNECTION_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_MAX_VALUE = 8_000  # what servers take for all headers together
_CREDENTIALS = ("authorization", "proxy-authorization", "x-api-key", "cookie")


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


def reaches(egress: str | tuple[str, ...], host: str) -> bool:
    """Whether `host` (or all hosts of a `*.` pattern) can be reached under `open`, `none` or a list of hosts."""
    if isinstance(egress, str):
        return egress == "open"
    return matches_host(host, egress)


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
    if match := re.search(r"\$([A-Za-z_]\w*)", value):
        message = f"`{one_line(match[0], 60)}` would be sent as it stands"
        yield Diagnostic(message=message, hint=f"write ${{{one_line(match[1], 60)}}}")
    elif not names and header.lower() in _CREDENTIALS:
        message = "this would be a credential in the open, in a file of the repository"
        yield Diagnostic(message=message, hint="put it into a secret: ${NAME}")
