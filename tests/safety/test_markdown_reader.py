"""The tree of a Markdown text: every node is where it says it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.safety.markdown_reader import Node, UnreadableMarkdown, read_markdown

PIECES = (
    *("*", "**", "_", "~~", "~", "`", "``", "```\n", "~~~\n", "[", "]", "](", "(", ")", "!", "<b>", "<!--", "-->"),
    *("&amp;", "&#64;", "@a", "#1", "\\", "|", "\n", "\n\n", " ", "  \n", "    ", "\t", "- ", "1. ", "> ", "# ", "x"),
    *("https://a.b/", "www.c.d", '[r]: u "t"\n', "[r]", "[^n]", "[^n]: foot\n", "|--|--|\n", "| a | b |\n"),
    *("a|b\n-|-\n", "\xa0", "===\n", "<div>\n", "é", "- [x] ", "$", "\r", "\r\n", "<http://x.y>", "'", '"'),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


def nodes(text: str, kind: str) -> list[tuple[str, Node]]:
    """The nodes of a kind, each behind its source."""
    return [(text[node.start : node.end], node) for node in read_markdown(text).walk() if node.kind == kind]


def parts(text: str, node: Node) -> dict[str, str]:
    return {name: text[start:end] for name, (start, end) in node.parts.items()}


@given(TEXTS)
def test_every_node_lies_in_its_parent_behind_its_brother(text: str) -> None:
    source = text.replace("\r\n", " \n").replace("\r", "\n")
    for node in read_markdown(text).walk():
        position = node.start
        assert 0 <= node.start <= node.end <= len(text)
        for child in node.children:
            assert position <= child.start <= child.end <= node.end
            position = child.end
        for start, end in node.parts.values():
            assert node.start <= start <= end <= node.end
        if node.kind == "text" and "\\|" not in source[node.start : node.end]:
            assert source[node.start : node.end] == node.content


def test_links_and_images_have_the_places_of_their_parts() -> None:
    text = '> - a [l *e*](</x y>\n>   \'T\') ![alt](u "t")\n\n[r]\n\n[r]: http://e.x "ti\n tle"\n[u]: x'
    ((source, link), (_, reference)) = nodes(text, "link")
    assert source.startswith("[l *e*](</x y>\n>   ")
    assert (link.target, link.title) == ("/x y", "T")
    assert parts(text, link) == {"label": "l *e*", "target": "</x y>", "title": "'T'"}
    assert (reference.label, reference.target) == ("R", "http://e.x")
    ((source, image),) = nodes(text, "image")
    assert source == '![alt](u "t")'
    assert (image.content, parts(text, image)["title"]) == ("alt", '"t"')
    first, second = nodes(text, "definition")
    assert first[0] == '[r]: http://e.x "ti\n tle"'
    assert parts(text, first[1]) == {"label": "r", "target": "http://e.x", "title": '"ti\n tle"'}
    assert (first[1].used, second[1].used) == (True, False)


def test_blocks_have_their_places() -> None:
    text = (
        "1. a\n   > ~~~py info\n   > code\n   > ~~~\n\n| a | b |\n|--|--|\n| `x\\|y` | 2 | 3 |\n\nx[^n]\n\n[^n]: foot"
    )
    ((source, fence),) = nodes(text, "fence")
    assert source == "~~~py info\n   > code\n   > ~~~"
    assert (fence.content, parts(text, fence)) == ("code\n", {"info": "py info"})
    assert [source for source, _ in nodes(text, "cell")] == ["a", "b", "`x\\|y`", "2"]
    assert [source for source, _ in nodes(text, "surplus_cell")] == ["3"]
    assert [node.content for _, node in nodes(text, "code")] == ["x|y"]
    assert [(source, node.used) for source, node in nodes(text, "footnote")] == [("[^n]: foot", True)]


def test_bare_addresses_are_those_of_github() -> None:
    text = (
        "(https://a.b/c_(d)). www.x.y, <http://q.z> <me@x.y> a@b.c ftp://f.g/?x=1&amp; xhttps://no.no [https://l.m](n)"
    )
    assert [(source, node.target) for source, node in nodes(text, "autolink")] == [
        ("https://a.b/c_(d)", "https://a.b/c_(d)"),
        ("www.x.y", "www.x.y"),
        ("<http://q.z>", "http://q.z"),
        ("<me@x.y>", "mailto:me@x.y"),
        ("ftp://f.g/?x=1", "ftp://f.g/?x=1"),
    ]


@pytest.mark.parametrize("text", ["[" * 9_000, "> " * 9_000, "1. " * 9_000, "[r][" * 9_000, "[a\\\n" * 9_000])
def test_what_would_take_minutes_is_refused(text: str) -> None:
    with pytest.raises(UnreadableMarkdown):
        read_markdown(text)
