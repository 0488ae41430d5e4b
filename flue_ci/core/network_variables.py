"""The variables of proxies and certificates, which each HTTP library, git and pip read in their own way: one reading
for all of them, and what goes wrong on the way named by variable and host. Passwords of proxies are never shown.

Standard library, Python 3.9: the gate uses it too. Pure, but for a look at the files that are named.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# In the order in which they are named: people write the first of two that mean the same.
_PROXIES = ("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy")
_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # each a file for everything
_HOST_AND_PORT = re.compile(r"(?:[a-z]+://)?[^:\[\]]*(?::[0-9]{1,5})?")
_ADDRESS = re.compile(r"(?:[a-zA-Z0-9+.-]+://)?(?:.*@)?([^/?#]*)")  # host and port, without credentials
# As `ssl`, pyqwest and git's two TLS libraries say it.
_CERTIFICATE_FAULT = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|certificate verif\w+ failed|SSL certificate problem"
    r"|SSL: no alternative certificate|server certificate .*not match|certificate verify failed"
)
# As urllib and requests, git, httpx and pyqwest say that a proxy opened no tunnel.
_TUNNEL_REFUSAL = re.compile(
    r"(?:Tunnel connection failed:|CONNECT tunnel failed, response|ProxyError:|HTTP code) (4\d\d)"
    r"|tunnel error: (proxy authorization required|unsuccessful)|Proxy CONNECT aborted"
)


class NetworkFault(NamedTuple):
    """What stands in the way (`message`), and what to do."""

    message: str
    hint: str


def client_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add, so that every client takes the same proxy and trusts the same authorities. What is set
    stays as it is, but for entries of `no_proxy` that a client cannot be made with."""
    names = {f"{kind}_proxy": _either(environ, f"{kind}_proxy") for kind in ("http", "https", "all", "no")}
    exceptions = [entry.strip() for entry in names["no_proxy"].split(",")]
    if not all(map(_is_exception, exceptions)):  # httpx takes no ranges of IPv6, which have no effect elsewhere either
        names["no_proxy"] = ",".join(filter(_is_exception, exceptions)) or "localhost"
    names["http_proxy"] = names["http_proxy"] or names["all_proxy"]  # urllib does not know the last
    names["https_proxy"] = names["https_proxy"] or names["all_proxy"]
    paths = [environ[name] for name in _AUTHORITIES if environ.get(name)]
    files = [path for path in paths if Path(path).is_file()]
    folders = [path for path in (environ.get("SSL_CERT_DIR", ""), *paths) if path and Path(path).is_dir()]
    if files:
        names |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"), files[0])
    elif folders:
        names |= dict.fromkeys(("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAPATH"), folders[0])
    return {name: value for name, value in names.items() if value and (name == "no_proxy" or not environ.get(name))}


def variable_flaw(environ: Mapping[str, str]) -> NetworkFault | None:
    """The first variable that the client of the model's API cannot be made with, or None."""
    if flaw := connection_flaw(environ):
        return flaw
    name = "no_proxy" if environ.get("no_proxy") else "NO_PROXY"
    for entry in environ.get(name, "").split(","):
        if not _is_exception(entry.strip()):
            message = f"{name} has `{entry.strip()[:60]}`, which cannot be used: ranges of IPv6 have no effect"
            return NetworkFault(message=message, hint="Name hosts or single addresses there, without brackets.")
    return None


def connection_flaw(environ: Mapping[str, str]) -> NetworkFault | None:
    """The first proxy or certificate that no client can use, or None."""
    for name in _PROXIES:
        if environ.get(name, "").strip() and (flaw := _proxy_flaw(name, environ[name].strip())):
            return flaw
    return _certificate_flaw(environ)


def lasting_fault(text: str, url: str, environ: Mapping[str, str] = os.environ) -> NetworkFault | None:
    """Why a request to `url` failed, where trying again cannot help: a variable, a certificate, a proxy that refuses.
    `text` is what the client said; None for everything else."""
    if flaw := connection_flaw(environ):
        return flaw
    host = urlsplit(url).hostname or url
    if _CERTIFICATE_FAULT.search(text):
        return NetworkFault(message=f"the certificate of {host} is not trusted", hint=_authority_hint(text, environ))
    proxy, refusal = proxy_of(url, environ), _TUNNEL_REFUSAL.search(text)
    if not proxy or not refusal:
        return None
    name, address = proxy
    if refusal[1] == "407" or (refusal[2] or "").startswith("proxy"):
        message = f"the proxy {address} of {name} did not accept a user and password (407)"
        hint = f"Set {name} to http://USER:PASSWORD@{address}, each percent-encoded."
        return NetworkFault(message=message, hint=hint)
    message = f"the proxy {address} of {name} does not let requests to {host} pass"
    if refusal[1]:
        message += f" ({refusal[1]})"
    return NetworkFault(message=message, hint=f"Allow {host} there, or name it in NO_PROXY where no proxy is needed.")


def route(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """The proxy that a request to `url` takes, as words to follow others; "" for none."""
    if proxy := proxy_of(url, environ):
        return f" through the proxy {proxy[1]} of {proxy[0]}"
    return ""


def proxy_of(url: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable and the address (without credentials) of the proxy that a request to `url` takes."""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # imports an HTTP client

    parts = urlsplit(url)
    if proxy_bypass_environment(parts.hostname or "", {"no": _either(environ, "no_proxy")}):
        return None
    value = _either(environ, f"{parts.scheme}_proxy") or _either(environ, "all_proxy")
    for name in _PROXIES:
        if value and environ.get(name) == value and (address := _ADDRESS.match(value)):
            return name, address[1]
    return None


def passwords(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those in addresses of proxies; a user without one may be a token."""
    credentials = [environ.get(name, "").rpartition("@")[0].rpartition("//")[2] for name in _PROXIES]
    return tuple(dict.fromkeys(unquote(value.partition(":")[2] or value) for value in credentials))


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper(), "")


def _authority_hint(text: str, environ: Mapping[str, str]) -> str:
    if "expired" in text.lower():
        return "It has expired, or the clock of this machine is wrong."
    if re.search(r"mismatch|NotValidForName|not match|no alternative", text):
        return "It is for another name: check the address, and the proxy on the way."
    names = [f"{name} ({environ[name]})" for name in _AUTHORITIES if environ.get(name)]
    if names:
        return f"{' and '.join(names)} lacks its authority: add your company's or proxy's certificate there."
    text = "Set SSL_CERT_FILE to a file with the authorities to trust, your company's or proxy's among them."
    if environ.get("NODE_EXTRA_CA_CERTS"):
        text += " (NODE_EXTRA_CA_CERTS counts for Node.js only.)"
    return text


def _proxy_flaw(name: str, value: str) -> NetworkFault | None:
    hint = f"Set {name} to an address such as http://proxy.example.com:3128, or unset it."
    try:
        address = urlsplit(value if "://" in value else f"http://{value}")
        is_address = bool(address.hostname) and address.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        return NetworkFault(message=f"{name} is not the address of a proxy", hint=hint)
    is_socks = address.scheme in ("socks5", "socks5h")
    if is_socks and importlib.util.find_spec("socksio") and importlib.util.find_spec("socks"):
        return None
    if address.scheme not in ("http", "https"):
        return NetworkFault(message=f"{name} names a proxy of the kind {address.scheme[:20]}, not http", hint=hint)
    return None


def _is_exception(entry: str) -> bool:
    try:
        ipaddress.ip_address(entry)
    except ValueError:
        return _HOST_AND_PORT.fullmatch(entry) is not None
    return True


def _certificate_flaw(environ: Mapping[str, str]) -> NetworkFault | None:
    for name in (*_AUTHORITIES, "GIT_SSL_CAINFO", "SSL_CERT_DIR"):
        value = environ.get(name, "")
        if value and (trouble := _path_trouble(name, value)):
            hint = f"Set {name} to the certificates to trust, or unset it."
            return NetworkFault(message=f"{name} names {value}, {trouble}", hint=hint)
    return None


def _path_trouble(name: str, value: str) -> str:
    if name == "SSL_CERT_DIR":
        is_there = any(Path(path).is_dir() for path in value.split(":"))
        return "" if is_there else "and there is no such directory"
    path = Path(value)
    if path.is_dir() and name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        return ""
    try:
        if not path.is_file():
            return "and there is no such file"
        if b"-----BEGIN " not in path.read_bytes():
            return "which holds no certificate in PEM form"
    except OSError as error:
        return f"which cannot be read: {error.strerror}"
    return ""
