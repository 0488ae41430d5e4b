"""The variables of proxies and certificates that HTTP libraries read: what is wrong with one, said with its name. Pure,
but for a look at the files that they name."""

import importlib.util
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.core.errors import Diagnostic

_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_HOST_AND_PORT = re.compile(r"(?:[a-z]+://)?[^:\[\]]*(?::[0-9]{1,5})?")


def variable_flaw(environ: Mapping[str, str]) -> Diagnostic | None:
    """The first variable that no client of the model or the sandboxes can be made with, or None. A value is never
    shown, because there are passwords in addresses of proxies."""
    for name in _PROXIES:
        if environ.get(name, "").strip() and (flaw := _proxy_flaw(name, environ[name].strip())):
            return flaw
    for name in _EXCEPTIONS:
        for entry in environ.get(name, "").split(","):
            if not _is_exception(entry.strip()):
                message = f"{name} has `{entry.strip()[:60]}`, which cannot be used: ranges of IPv6 have no effect"
                return Diagnostic(message=message, hint="Name hosts or single addresses there, without brackets.")
    return _certificate_flaw(environ)


def _proxy_flaw(name: str, value: str) -> Diagnostic | None:
    hint = f"Set {name} to an address such as http://proxy.example.com:3128, or unset it."
    try:
        address = urlsplit(value if "://" in value else f"http://{value}")
        is_address = bool(address.hostname) and address.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        return Diagnostic(message=f"{name} is not the address of a proxy", hint=hint)
    if address.scheme in ("socks5", "socks5h") and importlib.util.find_spec("socksio"):
        return None
    if address.scheme not in ("http", "https"):
        return Diagnostic(message=f"{name} names a proxy of the kind {address.scheme[:20]}, not http", hint=hint)
    return None


def _is_exception(entry: str) -> bool:
    try:
        ipaddress.ip_address(entry)
    except ValueError:
        return _HOST_AND_PORT.fullmatch(entry) is not None
    return True


def _certificate_flaw(environ: Mapping[str, str]) -> Diagnostic | None:
    for name, kind in (("SSL_CERT_FILE", "file"), ("SSL_CERT_DIR", "directory")):
        value = environ.get(name, "")
        if not value:
            continue
        path = Path(value.split(":")[0] if kind == "directory" else value)
        if not (path.is_file() if kind == "file" else path.is_dir()):
            message = f"{name} names {value}, and there is no such {kind}"
            return Diagnostic(message=message, hint=f"Set {name} to the certificates to trust, or unset it.")
    return None
