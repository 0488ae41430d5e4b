"""Files that GitHub keeps elsewhere: artifacts and logs. The API answers with an address, whose signature is the only
right that is needed: it is asked once, without our token, and leads nowhere else.
"""

import ipaddress
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flue_ci.core.errors import ForgeError
from flue_ci.core.network_variables import lasting_fault
from flue_ci.core.text import human_bytes, one_line, origin
from flue_ci.forges.github.http import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from requests import PreparedRequest

MAX_SECONDS = 300.0  # for one file
_CHUNK = 65_536
TRY_AGAIN = "try again; if it stays like this, look at GitHub's status page"


def check_location(url: str, api_url: str) -> None:
    """Raises `ForgeError` for an address that is not asked: only https is, and plain http on this machine where the API
    is there as well."""
    scheme, host, _ = origin(url)
    if scheme == "https" and host and "@" not in urlsplit(url).netloc:
        return
    is_local = scheme == "http" and _is_loopback(host) and "@" not in urlsplit(url).netloc
    api_scheme, api_host, _ = origin(api_url)
    if is_local and api_scheme == "http" and _is_loopback(api_host):
        return
    raise ForgeError(f"GitHub names an address that is not asked: {scheme or 'no scheme'} at {one_line(host, 100)!r}")


def download(purpose: str, url: str, limit: int) -> bytes:
    """The file at an address that was checked. Blocks. `purpose` is for people. Raises `ForgeError`: status 0 when
    there was no answer; a longer file than `limit` bytes, and another redirect, are refused. The address is never
    shown: whoever has it can read the file."""
    import requests

    host = urlsplit(url).hostname
    end = time.monotonic() + MAX_SECONDS
    data = bytearray()
    try:
        with requests.Session() as session:
            session.auth = _no_authorization  # else a .netrc could add one
            headers = {"User-Agent": "flue-ci", "Accept-Encoding": "identity"}
            timeout = (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
            with session.get(url, headers=headers, timeout=timeout, stream=True, allow_redirects=False) as response:
                if 300 <= response.status_code < 400:
                    raise ForgeError(f"{host} answered with another redirect ({purpose}), which is not followed")
                if response.status_code != 200:
                    message = f"{host} refused to {purpose}: {response.status_code}"
                    raise ForgeError(message, status=response.status_code, hint=TRY_AGAIN)
                for chunk in response.iter_content(_CHUNK):
                    data += chunk
                    if len(data) > limit:
                        raise ForgeError(f"{host} sent more than {human_bytes(limit)} ({purpose})", status=413)
                    if time.monotonic() > end:
                        raise ForgeError(f"{host} takes too long ({purpose})", hint=TRY_AGAIN)
    except OSError as error:  # of `requests`; its text has the address
        if fault := lasting_fault(str(error), url):
            raise ForgeError(f"{host} cannot be reached ({purpose}): {fault.message}", hint=fault.hint) from None
        raise ForgeError(f"{host} cannot be reached ({purpose}): {type(error).__name__}", hint=TRY_AGAIN) from None
    return bytes(data)


def _no_authorization(request: "PreparedRequest") -> "PreparedRequest":
    return request


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
