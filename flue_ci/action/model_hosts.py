"""To which servers a job's key for the model may go: the provider's own, the one that the job's environment names, and
the hosts that the workflow lists. A spec alone chooses none, because whoever can change a spec would get the key.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from flue_ci.core.errors import UsageError
from flue_ci.core.text import matches_host, one_line
from flue_ci.settings import Settings

_PROVIDER_URL = "https://api.anthropic.com"  # of the only provider whose specs may have a `base_url`
_PORTS = {"https": 443, "http": 80}


def check_model_host(base_url: str | None, settings: Settings, allowed_hosts: Collection[str]) -> None:
    """Raises `UsageError` for the `model.base_url` of a spec that leads to another server. `allowed_hosts` are names of
    hosts, as `*.example.com` those below, with a port or for every port."""
    if not base_url:
        return
    origin = _origin(base_url)
    if origin in [_origin(url) for url in (_PROVIDER_URL, settings.anthropic_base_url) if url]:
        return
    _, host, port = origin
    is_plain = re.fullmatch(r"[a-z0-9._:-]+", host)  # clients do not agree on what other characters mean
    if is_plain and (matches_host(host, allowed_hosts) or matches_host(f"{host}:{port}", allowed_hosts)):
        return
    raise UsageError(
        f"the spec's `model.base_url` sends the model's key to {one_line(host)}, which the workflow does not allow",
        hint=f"if that is meant, set the input `allowed-model-hosts: {one_line(host)}` in the workflow",
    )


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address, as a client connects to it; nothing for what is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
