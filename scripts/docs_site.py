"""A hook of mkdocs: the pages that stand at the top of the repository belong to the site, and links of the pages that
lead to other files of the repository lead there on GitHub."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/flue-ci/flue-ci/blob/main"
PICTURES = ".github/pictures"
PAGES = {"README.md": "index.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
_LINK = re.compile(r'(\]\(|(?:href|src|srcset)=")(?![a-z]+:|#)([^)#"\s]+)')


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages from the top of the repository, and the pictures."""
    for picture in sorted((ROOT / PICTURES).iterdir()):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """The same text with its links as the site needs them."""
    source = next((name for name, target in PAGES.items() if target == page.file.src_uri), f"docs/{page.file.src_uri}")
    badges = re.compile(r"^\[!\[.*\n", re.MULTILINE)  # come from the forge's server
    return rewrite_links(badges.sub("", markdown), source)


def rewrite_links(markdown: str, source: str) -> str:
    """`source` is the page's path in the repository, from which its links start."""

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if path in PAGES:
            return f"{match[1]}{PAGES[path]}"
        for folder, there in (("docs/", ""), (f"{PICTURES}/", "pictures/")):
            if path.startswith(folder):
                return f"{match[1]}{there}{path.removeprefix(folder)}"
        return f"{match[1]}{REPOSITORY}/{path}"

    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 2 else _LINK.sub(target, part) for index, part in enumerate(parts))
