"""Links of ours to files at the commit that a run worked on: for names that we write, and for `path:line` in an agent's
words; and where links of untrusted words may lead. Pure: the paths that exist there are arguments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from flue_ci.core.text import replace_spans
from flue_ci.report.report import Report
from flue_ci.safety.markdown import LinkPolicy, inline_code
from flue_ci.safety.markdown_reader import Node, UnreadableMarkdown, read_markdown

_LINES = r"(?::(?P<line>\d{1,7})(?:[-–](?P<last>\d{1,7})|:\d{1,5})?|#L(?P<anchor>\d{1,7})(?:-L?(?P<end>\d{1,7}))?)"
_PLACE = re.compile(rf"(?<![\w@+.~/:-])(?P<path>(?>(?:\./)?[\w@+.~-]++(?:/[\w@+.~-]++)*)){_LINES}?(?![\w/])")
_QUOTED_PLACE = re.compile(rf"""[`"](?P<path>[\w@+~.-][^:#`"\n\\]{{0,300}}?){_LINES}?[`"]""")
_CODE_PLACE = re.compile(rf"(?P<path>[^:#\n]+?){_LINES}?")
MAX_PATHS = 300
_LONGEST_PATH, _LONGEST_TEXT = 300, 200_000  # characters
_TRANSPARENT = ("link", "text", "code", "escape", "entity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of a repository on a forge. `paths` are files that exist in it, not all of them."""

    url: str  # of the repository
    sha: str
    paths: frozenset[str] = frozenset()

    @property
    def link(self) -> str:
        """The commit's short name, which leads to it."""
        return f"[`{self.sha[:7]}`]({self.url}/commit/{self.sha})"

    def blob_url(self, path: str, line: str = "", last: str = "") -> str:
        """The page of a file, at these lines; the commit's for a path that a browser would leave the commit by."""
        if not {".", ".."}.isdisjoint(path.split("/")):
            return f"{self.url}/commit/{self.sha}"
        url = f"{self.url}/blob/{self.sha}/{quote(path)}"
        if line:
            url += f"#L{int(line)}"
        if last and line:
            url += f"-L{int(last)}"
        return url

    def file_link(self, path: str) -> str:
        """The path as code, which leads to the file if there is one."""
        if path not in self.paths:
            return inline_code(path)
        return f"[{inline_code(path)}]({self.blob_url(path)})"


def repository_url(report: Report, server_url: str = "") -> str:
    """The repository's page; empty for a run that no forge started. `server_url`: the forge's, by default that of the
    job's page."""
    trigger = report.trigger
    if trigger is None or not re.fullmatch(r"[\w.-]+/[\w.-]+", trigger.repo):
        return ""
    parts = urlsplit(trigger.run_url)
    server_url = server_url or f"{parts.scheme}://{parts.netloc}"
    if not re.fullmatch(r"https?://[\w.:-]+", server_url):
        return ""
    return f"{server_url}/{trigger.repo}"


def head_commit(report: Report, server_url: str = "") -> Commit:
    """The commit that the run worked on. Without a forge, or a commit, nothing is linked."""
    url = repository_url(report, server_url)
    sha = report.base.sha
    if report.trigger:
        sha = report.trigger.head_sha or sha
    if not url or not re.fullmatch(r"[0-9a-f]{40,64}", sha) or report.base.dirty:
        return Commit(url=url, sha="")
    files = report.changes.files
    paths = {file.path for file in files if file.kind not in ("added", "renamed", "copied")}
    paths |= {file.old_path for file in files if file.old_path} | {*report.references}
    return Commit(url=url, sha=sha, paths=frozenset(path for path in paths if len(path) <= _LONGEST_PATH))


def possible_paths(text: str) -> list[str]:
    """What `link_places` would link if it existed: the first `MAX_PATHS` words that may be paths."""
    words = [match["path"] for match in _PLACE.finditer(text[:_LONGEST_TEXT])]
    words += [match["path"] for match in _QUOTED_PLACE.finditer(text[:_LONGEST_TEXT])]
    paths = (word.removeprefix("./").rstrip(".") for word in words)
    return [*dict.fromkeys(path for path in paths if len(path) <= _LONGEST_PATH and ".." not in path)][:MAX_PATHS]


def link_places(text: str, commit: Commit) -> str:
    """The Markdown with a link for each `path:line`, and for each path with a directory or an ending, that exists in
    the commit: in running text, and where a code span is nothing else. Every other character stays."""
    if not commit.paths:
        return text
    try:
        tree = read_markdown(text)
        with_links = replace_spans(text, _links(tree, commit))
        if _shape(read_markdown(with_links)) == _shape(tree):
            return with_links
    except UnreadableMarkdown:
        pass
    return text


def _links(node: Node, commit: Commit) -> Iterator[tuple[int, int, str]]:
    """What to put in place of which part of the text, in the order of the text."""
    if node.kind in ("link", "image", "autolink"):
        return
    if node.kind == "code":
        match = _CODE_PLACE.fullmatch(node.content.strip())
        if match and (url := _url(match, commit)):
            yield node.start, node.end, f"[{inline_code(node.content.strip())}]({url})"
    elif node.kind == "text" and node.end - node.start == len(node.content):
        for match in _PLACE.finditer(node.content):
            if url := _url(match, commit):
                words = match[0].rstrip(".")
                yield (
                    node.start + match.start(),
                    node.start + match.start() + len(words),
                    f"[{inline_code(words)}]({url})",
                )
    for child in node.children:
        yield from _links(child, commit)


def _url(match: re.Match[str], commit: Commit) -> str:
    line = match["line"] or match["anchor"] or ""
    path = match["path"].removeprefix("./")
    if not line and path not in commit.paths:
        path = path.rstrip(".")  # of the sentence
    if path not in commit.paths or not (line or "/" in path or "." in path):
        return ""
    return commit.blob_url(path, line, match["last"] or match["end"] or "")


def _shape(tree: Node) -> tuple[list[str], str]:
    """What must stay: the blocks and marks of a text, and its words."""
    kinds, words = [], []
    for node in tree.walk():
        if node.kind not in _TRANSPARENT:
            kinds.append(node.kind)
        words.append(node.content.strip())
    return kinds, re.sub(r"\s+", "", "".join(words))


def link_policy(report: Report, server_url: str = "") -> LinkPolicy:
    """The repository that the run was about, on its forge, and the hosts that the agent could reach; without a trigger
    only the latter."""
    trigger = report.trigger
    if trigger is None:
        return LinkPolicy(hosts=tuple(report.publish.links))
    if not server_url:
        page = urlsplit(trigger.run_url or trigger.url)
        server_url = f"{page.scheme}://{page.netloc}"
    return LinkPolicy(server_url=server_url, repository=trigger.repo, hosts=tuple(report.publish.links))
