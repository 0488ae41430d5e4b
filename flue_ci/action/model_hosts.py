"""To which servers a job's key for the model may go: the provider's own, the one that the job's environment names, and
the hosts that the workflow lists. A spec alone chooses none, because whoever can change a spec would get the key.
"""

import re
from collections.abc import Collection

from flue_ci.core.errors import UsageError
from flue_ci.core.text import matches_host, one_line, origin
from flue_ci.models.registry import OWN_HOST
from flue_ci.settings import Settings


def check_model_host(base_url: str | None, settings: Settings, allowed_hosts: Collection[str]) -> None:
    """Raises `UsageError` for the `model.base_url` of a spec that leads to another server. `allowed_hosts` are names of
    hosts, as `*.example.com` those below, with a port or for every port."""
    if not base_url:
        return
    _, host, port = address = origin(base_url)
    if address in [origin(url) for url in (f"https://{OWN_HOST}", settings.anthropic_base_url) if url]:
        return
    is_plain = re.fullmatch(r"[a-z0-9._:-]+", host)  # clients do not agree on what other characters mean
    if is_plain and (matches_host(host, allowed_hosts) or matches_host(f"{host}:{port}", allowed_hosts)):
        return
    raise UsageError(
        f"the spec's `model.base_url` sends the model's key to {one_line(host)}, which the workflow does not allow",
        hint=f"if that is meant, set the input `allowed-model-hosts: {one_line(host)}` in the workflow",
    )
