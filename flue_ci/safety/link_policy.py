"""Where the links of untrusted Markdown may lead. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from flue_ci.core.text import matches_host

# Pages below a repository: of a thread, where a link leaves a trace; and those that are there to change something.
_THREADS = frozenset(("issues", "pull", "discussions", "commit"))
_ACT_NAMES = "compare delete edit fork import invitations new settings subscription transfer upload"
_ACTS = frozenset(_ACT_NAMES.split())
_LOGIN = frozenset(("login", "oauth", "oauth2", "authorize", "logout"))
_FORMS = frozenset(("new", "edit", "delete", "_new", "_edit"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    """`server_url` is the forge, such as `https://github.com`, `repository` the only one there that links may lead to,
    as `owner/name`; `hosts` are other hosts, or patterns such as `*.example.com`. Images come from the forge only: one
    is fetched by whoever looks, and its address can carry what the model has read."""

    server_url: str = ""
    repository: str = ""
    hosts: Collection[str] = ()

    def allows(self, address: str) -> bool:
        """Whether a link may lead there, in every browser's reading of the address. Not to a thread (an issue, a pull
        request, a discussion, a commit): GitHub notes there that somebody mentioned it."""
        if address.startswith("#"):
            return all(sign.isalnum() or sign in "-_" for sign in address[1:])
        url = _split(address)
        if url is None:
            return False
        host = url.netloc.lower()
        if host == urlsplit(self.server_url).netloc.lower():
            return self._is_own(url)
        return matches_host(host, filter(None, self.hosts)) and _is_a_page(url)

    def allows_image(self, address: str) -> bool:
        url = _split(address)
        return url is not None and self._is_own(url)

    def _is_own(self, url: SplitResult) -> bool:
        own = urlsplit(self.server_url)
        is_same_server = (url.scheme, url.netloc.lower()) == (own.scheme, own.netloc.lower())
        if not own.netloc or not self.repository or not is_same_server:
            return False
        parts = url.path.strip("/").split("/")
        if "/".join(parts[:2]).lower() != self.repository.lower() or ".." in parts or "." in parts:
            return False
        page, detail = [*parts[2:4], "", ""][:2]
        if page.lower() in _THREADS:
            return not detail
        return page.lower() not in _ACTS and detail.lower() not in _FORMS


def _is_a_page(url: SplitResult) -> bool:
    """Whether an address elsewhere is neither a forge's thread nor a form that gives somebody access."""
    parts = [part.lower() for part in url.path.strip("/").split("/")]
    is_thread = len(parts) > 3 and parts[2] in _THREADS
    return not is_thread and not _LOGIN.intersection(parts)


def _split(address: str) -> SplitResult | None:
    """The parts of a plain http address; None for one that could be read in two ways."""
    text = address
    if text.lower().startswith("www."):
        text = f"http://{text}"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    path = url.path.lower()
    odd = any(sign in text for sign in '\\<>"`|\t\n ') or any(code in path for code in ("%2e", "%2f", "%5c", "//"))
    is_plain = url.scheme in ("http", "https") and port is None and "@" not in url.netloc and url.netloc.isascii()
    if odd or not is_plain or not text[len(url.scheme) :].startswith("://") or "%" in url.netloc or "&" in url.netloc:
        return None
    return url
