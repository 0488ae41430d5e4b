"""Names of new branches, from the template `publish.branch`. Pure."""

import re
import unicodedata
from collections.abc import Iterator

_LONGEST_SLUG = 40  # characters
_MAX_NAMES = 10
_NUMBER = re.compile(r"[-_.]\{number\}|\{number\}[-_.]?")


def branch_names(template: str, *, agent: str, number: int | None, title: str) -> Iterator[str]:
    """The name for the changes with that title, and others for when there is a foreign branch of that name. Without a
    number its place and the sign before it are left out."""
    if number is None:
        template = _NUMBER.sub("", template)
    name = template.format(agent=agent, number=number, slug=slug(title))
    name = re.sub(r"/{2,}", "/", name).strip("/.") or f"flue/{agent}-{slug(title)}"
    yield name
    for count in range(2, _MAX_NAMES):
        yield f"{name}-{count}"


def slug(title: str) -> str:
    """The words of a title in lower case with a hyphen between them: letters without marks and digits only."""
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")
    if len(words) > _LONGEST_SLUG:
        words = words[: _LONGEST_SLUG + 1].rpartition("-")[0] or words[:_LONGEST_SLUG]
    return words or "changes"
