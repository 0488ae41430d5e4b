"""Egress in E2B's terms, where `allow_out` goes before `deny_out`, and `rules` for a host do not allow it."""

import ipaddress
import re
from typing import Any

from flue_ci.core.errors import SandboxError
from flue_ci.core.ports import Network
from flue_ci.sandboxes.e2b.errors import VendorError

ALL_TRAFFIC = "0.0.0.0/0"
ALL_IPV6 = "::/0"
_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?", re.IGNORECASE)
_MAX_VALUE = 2_048  # characters of a header
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Firewall:
    """Says what may be reached, in the terms that this server's API takes. Servers of 2026 refuse the range of all IPv6
    addresses and give sandboxes none; it is denied where it can be, and left out after the first refusal."""

    def __init__(self) -> None:
        self._has_ipv6 = True

    def learns(self, error: VendorError) -> bool:
        """Whether the request is worth sending again because its refusal is about the IPv6 range. Nothing happened."""
        is_about_it = error.status == 400 and ALL_IPV6 in str(error)
        if not is_about_it or not self._has_ipv6:
            return False
        self._has_ipv6 = False
        return True

    def policy(self, network: Network, *, replace: bool) -> dict[str, Any]:
        """The SDK's `network` argument. `replace`: for a switch of a running sandbox, which clears what is left out."""
        rules: dict[str, list[dict[str, Any]]] = {}
        for rule in network.inject:
            transforms = rules.setdefault(rule.host.lower(), [{"transform": {"headers": {}}}])
            transforms[0]["transform"]["headers"][rule.header] = rule.value
        hosts = list(dict.fromkeys([*(network.hosts if network.mode == "hosts" else ()), *rules]))
        egress: dict[str, Any] = {}
        if network.mode != "open":
            egress["deny_out"] = [ALL_TRAFFIC, ALL_IPV6][: 1 + self._has_ipv6]
            if hosts:
                egress["allow_out"] = hosts
            else:
                egress["dns_servers"] = []
        if rules:  # where there are none, teams without this feature are refused for the word alone
            egress["rules"] = rules
        if not replace:  # no server inside has to be reached; this can be set at the start only
            egress["allow_public_traffic"] = False
        return egress


def check_network(network: Network) -> None:
    """Raise `SandboxError` for hosts and headers that E2B cannot take."""
    for host in network.hosts:
        if not _NAME.fullmatch(host) and not _is_address(host):
            hint = "write it without scheme, port and path: packages.example.com, *.example.com, 10.0.0.0/8"
            raise SandboxError(f"{host!r} in `sandbox.network` is neither a host name nor an address", hint=hint)
    for rule in network.inject:
        if not _NAME.fullmatch(rule.host) or rule.host == "*" or _is_address(rule.host):
            hint = "E2B adds headers to HTTPS requests to names, such as packages.example.com"
            raise SandboxError(f"{rule.host!r} in `sandbox.network.inject` is not a host name", hint=hint)
        if rule.host.startswith("*."):
            hint = "name each host in a rule of its own"
            raise SandboxError(f"{rule.host!r} in `sandbox.network.inject` is a pattern; E2B takes names", hint=hint)
        if not _HEADER.fullmatch(rule.header) or any(character in rule.value for character in "\r\n\0"):
            raise SandboxError(f"the header {rule.header!r} for {rule.host} is not one that HTTP can carry")
        if len(rule.value) > _MAX_VALUE:
            text = f"the header {rule.header!r} for {rule.host} has {len(rule.value):,} characters"
            raise SandboxError(text, hint=f"E2B takes at most {_MAX_VALUE:,}: use a shorter secret")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
