"""Readable addresses from titles."""

import re


def slugify(title: str, limit: int = 40) -> str:
    """`title` in lower case, words joined by hyphens, at most `limit` characters, never cut inside a word."""
    words = re.findall(r"[a-z0-9]+", title.lower())
    slug = ""
    for word in words:
        if len(slug) + len(word) > limit:
            break
        slug += "-" + word
    return slug
