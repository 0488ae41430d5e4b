"""Host names and added headers as a spec may write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from flue_ci.core.text import closest_match, matches_host, one_line

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+")
_ADDRESS = re.compile(r"[0-9.]+(?:/[0-9]+)?|\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?(?:/[0-9]+)?")
_LONGEST_NAME = 253
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADERS_OF_THE_CONNECTION = ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_LONGEST_VALUE = 8_000  # what servers take for all headers together
_CREDENTIALS = ("authorization", "proxy-authorization", "x-api-key", "cookie")


def host_flaw(host: str) -> tuple[str, str] | None:
    """What is wrong with a host name or `*.` pattern, and what to do; None when nothing is."""
    shown = one_line(host, 60)
    if _HOST.fullmatch(host) and len(host) <= _LONGEST_NAME and not _ADDRESS.fullmatch(host):
        return None
    if host == "*":
        return "`*` is not a host", "write `open` in place of the list to reach everything"
    if "://" in host or ("/" in host and not _ADDRESS.fullmatch(host)):
        return f"`{shown}` is a URL, not a host", _only_host(_host_of(host))
    if _ADDRESS.fullmatch(host):
        return f"`{shown}` is an address, not a name", "hosts are allowed by name"
    if re.fullmatch(r"[^:]+:[0-9]+", host):
        return f"`{shown}` has a port", _only_host(host.partition(":")[0])
    if _HOST.fullmatch(host.lower().rstrip(".")):
        return f"`{shown}` is not written the usual way", _only_host(host.lower().rstrip("."))
    if not host.isascii():
        return f"`{shown}` is not in ASCII", "write the name as DNS does (xn--…)"
    if "*" in host:
        return f"`{shown}` has a `*` that does not fit", "only `*.` at the beginning stands for all names below"
    return f"`{shown}` is not a host name", "such as packages.example.com"


def _host_of(url: str) -> str:
    """The host of something like a URL; empty when there is none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def _only_host(host: str) -> str:
    return f"write {host}" if _HOST.fullmatch(host) and len(host) <= _LONGEST_NAME else "write the host alone"


def reaches(egress: str | tuple[str, ...], host: str) -> bool:
    """Whether `host` (or all hosts of a `*.` pattern) can be reached under `open`, `none` or a list of hosts."""
    if isinstance(egress, str):
        return egress == "open"
    return matches_host(host, egress)


def header_flaw(header: str) -> str:
    """What is wrong with the name of an added header; empty when nothing is."""
    if _HEADER.fullmatch(header) and header.lower() not in _HEADERS_OF_THE_CONNECTION:
        return ""
    return f"`{one_line(header, 60)}` is not a header that can be added"


def value_flaws(header: str, value: str, secrets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the value of an added header, and what to do."""
    if len(value) > _LONGEST_VALUE:
        yield f"a header's value has at most {_LONGEST_VALUE:,} characters", ""
        return
    if not value.isprintable():
        yield "a header's value is one line of printable text", ""
    names = _REFERENCE.findall(value)
    unknown = next((name for name in names if name not in secrets), None)
    if unknown is not None:
        shown, near = one_line(unknown, 60), closest_match(unknown, secrets)
        hint = f"did you mean `{near}`?" if near else f"add {shown} there"
        yield f"`${{{shown}}}` is not listed in `sandbox.secrets`", hint
    if found := re.search(r"\$([A-Za-z_]\w*)", value):
        yield f"`{one_line(found[0], 60)}` would be sent as it stands", f"write ${{{one_line(found[1], 60)}}}"
    elif not names and header.lower() in _CREDENTIALS:
        yield "this would be a credential in the open, in a file of the repository", "put it into a secret: ${NAME}"
