"""What strangers and the model write, as GitHub's own parser renders what we make of it: nothing acts, nothing is lost,
and honest text stays as it was, byte for byte."""

from __future__ import annotations

import html as entities
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.safety.markdown import (
    LinkPolicy,
    code_block,
    details,
    escape,
    html,
    inline_code,
    untrusted_markdown,
)
from tests.support.github_page import Page, bare_words, page, render

LINKS = LinkPolicy(server_url="https://github.com", repository="o/r", hosts=("*.example.com", "ok.example.org"))
NIGHT = settings.default is not None and settings.default.max_examples > 1_000
PIECES = (
    *(
        "*",
        "**",
        "_",
        "~~",
        "~",
        "`",
        "``",
        "```",
        "```\n",
        "~~~\n",
        "[",
        "]",
        "](",
        "(",
        ")",
        "!",
        "![",
        "<b>",
        "</b>",
    ),
    *("<sub>", "</sub>", "<details>", "</details>", "<summary>", "<!--", "-->", "<?", "<a ", "<x y='", "'>", "&amp;"),
    *("&#64;", "@victim", "@v", "#1", "GH-1", "\\", "|", "\n", "\n\n", " ", "  \n", "    ", "\t", "- ", "1. ", "> "),
    *("# ", "x", "https://evil.example/", "https://ok.example.org/a", "https://github.com/o/r/x", "www.evil.example"),
    *('[r]: https://evil.example "t"\n', "[r]: https://ok.example.org/\n", "[r]", "[^1]", "[^1]: foot\n"),
    *("[^", "]:", "[r]:"),
    *("|--|--|\n", "| a | b |\n", "a|b\n-|-\n", "\xa0", "===\n", "---\n", "<div>\n", "é", "- [x] ", "$", "'", '"'),
    *("<http://evil.example>", "<a@b.c>", "](https://evil.example)", "](https://ok.example.org/)", "a@b.c", "<code>"),
    *("![i](https://evil.example/p)", "o/r@abcdef1", "</code>", "\\`", ":", "//", "&lt;", "javascript:x", "&#96;"),
    *("&#35;1", "<script>", "<pre>", "_@v_", "\u200b", "\r\n", "<kbd>", "</kbd>", "@@v", "あ@v"),
    *(
        "[x](https://github.com/other/p/issues/1)",
        "](https://github.com/o/r/pull/7)",
        "https://github.com/o/r/settings",
    ),
    *("https://github.com/login/oauth/authorize?a=b", "](https://ok.example.org/oauth/authorize?a=b)"),
    *(
        "https://ok.example.org/a/b/issues/1",
        "![i](https://ok.example.org/p)",
        "![i](https://github.com/other/p/i.png)",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join)


# Where links may lead under `LINKS`, said once more: within the own repository, but to no thread (it would note the
# mention) and to no form; to the other two hosts, but to no thread of a forge and to no sign-in; to mail, and within
# the page.
_OWN = (
    r"https://github\.com/o/r(?![^/?#])/?+(?!(?:issues|pull|discussions|commit)/[^?#])"
    r"(?!(?:compare|delete|edit|fork|import|invitations|new|settings|subscription|transfer|upload)(?![^/?#]))"
    r"(?![^/?#]+/_?(?:new|edit|delete)(?![^/?#]))[^\s\\]*"
)
_OTHERS = (
    r"(?:https?://)?(?:(?:[\w-]+\.)+example\.com|ok\.example\.org)(?![^/?#])"
    r"(?!/[^/?#]+/[^/?#]+/(?:issues|pull|discussions|commit)/[^?#])"
    r"(?![^?#]*/(?:login|oauth2?|authorize|logout)(?![^/?#]))[^\s\\]*"
)
_LINKS = re.compile(rf"#[\w-]*|mailto:[^?]*|{_OWN}|{_OTHERS}", re.IGNORECASE)
_UP = re.compile(r"/\.\.?(?![^/?#])|%2e|%2f|%5c", re.IGNORECASE)


def is_dead(result: Page) -> bool:
    links_are_safe = all(_LINKS.fullmatch(link) and not _UP.search(link) for link in result.links)
    images_are_own = all(re.fullmatch(_OWN, image) and not _UP.search(image) for image in result.images)
    return not result.live and links_are_safe and images_are_own


def is_contained(words: str, text: str) -> bool:
    letters = iter(text)
    return all(letter in letters for letter in words)


# Each is shown as it is.
HONEST = {
    "prose": "Prose, with “quotes”, an em dash — and an ellipsis… 3 > 2, a < b && x; naïve café, 東京, עברית, می‌خواهم 👩‍👩‍👧",  # noqa: E501
    "code": "`List<String>` and ``a ` b``, `@property`, `#12`, `GH-1`, `<b>` and `![x](https://evil.example)`.",
    "decorators": "```python\n@decorator\ndef f(): ...  # <!-- kept --> fixes #1\n```",
    "tilde fence": "~~~~ js title\n~~~\n@x\n~~~~",
    "indented code": "So:\n\n    @app.route('/')\n    def index(): ...",
    "lists": "- one\n  - two\n    1. three\n       more\n\n  - four\n* five",
    "tasks": "- [x] done\n- [ ] open\n  1. first",
    "table": "| a | b |\n|:--|--:|\n| `x\\|y` | **2** |\n| 1 \\| 2 | |",
    "table below a line": "The result:\n| a | b |\n|--|--|\n| 1 | 2 |",
    "footnotes": "A claim[^1] and another[^long].\n\n[^1]: The source.\n[^long]: More.\n\n    And more.",
    "mermaid": "```mermaid\ngraph TD;\n  A-->B;\n```",
    "maths": "Where $a_1 < b^2$ and $`x_1`$:\n\n$$\n\\sum_{i=1}^n x_i\n$$\n\n```math\n\\frac{1}{2}\n```",
    "links": "See [the docs](https://docs.example.com/a#b 'Docs'), [here](https://github.com/o/r/blob/main/a.py#L3), "
    "<https://github.com/o/r/tree/main>, https://github.com/o/r/actions/runs/9 and [top](#top).",
    "references": "[one][r], [r][] and [r].\n\n[r]: https://docs.example.com/r",
    "image": "![plot](https://github.com/o/r/raw/main/plot.png)",
    "e-mail": "Write to <ada@example.org>, ada@example.org or ada+b.c@mail.example.org.",
    "elements": "<details><summary>More</summary>\n\n<kbd>Ctrl</kbd>, H<sub>2</sub>O, x<sup>2</sup><br>\n\n</details>",
    "nested": "<details open>\n<summary>a</summary>\n\n<details>\n<summary>c</summary>\n\nd\n\n</details>\n</details>",
    "emphasis": "*a* __b__ ***c*** ~~d~~ snake_case_name, 2*3*4, `*`",
    "quotes": "> said\n> > twice\n\n> [!NOTE]\n> noted",
    "headings": "# One\n\nTwo\n===\n\n### Three ###\n\n---",
    "commit": "Broken since 3f786850e387550fdab836ed7e6dc881de23001b (3f78685).",
    "versions": "actions/checkout@v4 and react@18.2.0, C# and F#, #include, a @ b, 5 # 6, # 1",
    "backtick": "The sign ` alone.",
    "escapes": "\\*not\\* \\# \\`x\\` &copy; &amp; 1\\. C:\\Users\\x",
    "suggestion": "```suggestion\n    return @x\n```",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_text_stays_byte_for_byte(name: str) -> None:
    assert untrusted_markdown(HONEST[name], LINKS) == HONEST[name]
    assert is_dead(page(HONEST[name]))


# What was found to act, and its neighbours.
HOSTILE = [
    *("> [r]: https://ok.example.org/\n    @victim", "- > [r]: https://ok.example.org/\n    @victim"),
    *(
        "<details></details>https://ok.example.org/a&#35;1",
        "https&#58;//ok.example.org/a#1",
        "<b>\nhttps://ok.example.org/a#1",
    ),
    *("a <?@victim>", "<a?body=x@h.example>"),
    *("*```\n    a|b\n-|-\n@victim```", "> `\n>     a\n> -|\n> @victim`"),
    *("[x][r]\n\n[r]: //h.example/(", "[x](//h.example/( )", '[x](//h.example/( "t")', "![x](//h.example/(( )"),
    *("[x](javascript:alert( )", "![x][r]\n\n[r]: //h.example/(\n", "[x](//h.example/\\( )"),
    *(
        "[a [^1]](//h.example/)\n\n[^1]: b",
        "[a [^1]](javascript:alert(1))\n\n[^1]: b",
        "![[^1]](//h.example)\n\n[^1]: b",
    ),
    *("[a [^1]][r]\n\n[^1]: b\n\n[r]: //h.example", "[[a [^1]](b)](//h.example/)\n\n[^1]: b"),
    *('[y]: //h.example/\n"" a\n\n[x][y]', "[y]: //h.example/\n()](<[x][y]", "[y]: //h.example/ ''\n\n[x][y]"),
    *("**@**v**ictim**", "***@**v**ictim***", "**a__@__b**"),  # strong in strong has no tags on GitHub
    *("https://😀.example/a", "<b>www.☃.example</b>", "a[^1]\n\n[^1]: http://☃.example"),
    *("a[^9]\n\n[^9]:   - a\n\n        @v", "a[^9]\n\n[^9]:           @v"),
    *(
        "_@victim_",
        "__@victim__",
        "**@victim**",
        "~~@victim~~",
        "@&#118;ictim",
        "@&#x76;ictim",
        "&#64;victim",
        "/@victim",
    ),
    *(
        "&commat;victim",
        "@@victim",
        "あ@victim",
        "é@victim",
        "\\@victim",
        "(@victim)",
        '"@victim"',
        "a/@victim",
        "@victim/x",
    ),
    *(
        "@org/team",
        "- @victim",
        "# @victim",
        "> @victim",
        "| @victim |\n|--|",
        "1. [ ] @victim",
        "a\\\n@victim",
        "`@victim",
    ),
    *(
        "@victim`",
        "``a``@victim",
        "`a`@victim",
        "@victim`a`",
        "``a`@victim",
        "a `` b `c` d `@victim`",
        "[^1]\n\n[^1]: @victim",
    ),
    *(
        "[@victim]",
        "[@victim][r]",
        "![@victim](x)",
        "<b>@victim</b>",
        "<sub>\n@victim\n</sub>",
        "<details>\n@victim\n</details>",
    ),
    *(
        "fixes #12",
        "fixes _#12_",
        "fixes #&#49;2",
        "&#35;12",
        "GH-1",
        "gh-1",
        "GH&#45;1",
        "GH\\-1",
        "o/r#1",
        "ada#1",
        "a/b#1",
    ),
    *("_#1_", "a@b.c#1", "ada/tools@3f786850e", "ada@3f786850e", "#1@victim", "@victim#1", "x#1", "fixes: &num;1"),
    *(
        "``![i](https://h.example/x)``@v",
        "``![ok](https://h.example/p.png?source=SECRET)```@v`",
        "`@v```![i](https://h.example/x)``",
    ),
    *(
        "`@v```[details](https://h.example/phish)``",
        "``<details><summary>more</summary>```#1`",
        "``@v``<img src=//h.example>`",
    ),
    *(
        "![x](https://h.example/p.png)",
        "![x][r]\n\n[r]: https://h.example/p.png",
        "![](https://h.example/p)",
        "![x](//h.example/p)",
    ),
    *(
        "![x](https://docs.example.com/p.png?source=SECRET)",
        "[![x](https://h.example/p)](https://h.example)",
        "![x](data:image/png;x)",
    ),
    *(
        "<img src=https://h.example/p>",
        "<IMG SRC='//h.example/p'>",
        "<picture><source srcset='//h.example/p'></picture>",
    ),
    *(
        "[x](https://h.example)",
        "[x](//h.example)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,x)",
        "[x](vbscript:x)",
    ),
    *(
        "[x](mailto:a@b.c?subject=x)",
        "<mailto:a@b.c?body=x>",
        "<javascript:alert(1)>",
        "<ssh://h.example/x>",
        "<xmpp:a@b.c/x>",
    ),
    *(
        "[x](https://github.com/other/project/issues/1)",
        "https://github.com/other/project/issues/1",
        "[x](https://github.com/o/r/issues/1)",
    ),
    *(
        "[x](https://github.com/login/oauth/authorize?client_id=x)",
        "[x](https://github.com/o/r/../../x/y)",
        "[x](https://github.com/o/rx)",
    ),
    *(
        "[x](https://github.com@h.example/o/r)",
        "[x](https://github.com%2f@h.example/o/r)",
        "[x](https://github.com\\@h.example/o/r)",
    ),
    *(
        "[x](https://github.com.h.example/o/r)",
        "[x](http://github.com/o/r)",
        "[x](https://github.com:8443/o/r)",
        "[x](/other/project)",
    ),
    *(
        "[x](../../../other/project)",
        "[x](https://github.com/o/r/settings/access)",
        "[x](https://github.com/o/r/new/main?value=x)",
    ),
    *(
        "www.h.example",
        "https://h.example",
        "HTTPS://h.example",
        "ftp://h.example",
        "https&#58;//h.example",
        "\\https://h.example",
    ),
    *(
        "[https://h.example",
        "![https://h.example",
        "<https://h.example>",
        "http://a.b`<!--`",
        "https://ok.example.org/`![i](//h.example)`",
    ),
    *(
        "[a [b] https://ok.example.org/](https://h.example)",
        "[x]( <https://h.example> 't')",
        "[x][y]\n\n[y]: //h.example",
    ),
    *(
        "[y]: <https://h.example> '\nt'\n\n[y]",
        "> [y]: https://h.example\n\n[y]",
        "- [x] [y]: https://h.example\n\n[y]",
    ),
    *(
        "<script>x</script>",
        "<style>*{}</style>",
        "<iframe src=x>",
        "<form action=//h.example>",
        "<b onclick=x>y</b>",
        "<a href=//h>x</a>",
    ),
    *(
        "<!-- flue-ci agent=x -->",
        "<?php x ?>",
        "<![CDATA[x]]>",
        "<!DOCTYPE x>",
        "<!--",
        "a <!-- b",
        "<b",
        "<pre>\n@victim",
    ),
    *(
        "<h1>x</h1>",
        "<table><tr><td>x</table>",
        "<input type=checkbox>",
        "<video src=x>",
        "<svg onload=x>",
        "<math><x>",
    ),
    *("- [x] ```\n@victim", "a|b\n-|-\n`|`@victim", "[r]: https://ok.example.org\n    @victim", "```a|b\n-|-\n@victim"),
    *(
        "`" * 90 + "@victim" + "`" * 90,
        "[^@victim]\n\n[^@victim]: x",
        "[x](https://ok.example.org '@victim')",
        "$a`$ @victim `",
    ),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_would_act_is_shown_and_does_nothing(text: str) -> None:
    result = untrusted_markdown(text, LINKS)
    assert is_dead(page(result)), render(result)
    assert is_contained(bare_words(page(text, with_html=False).words), bare_words(page(result).words))
    assert untrusted_markdown(result, LINKS) == result


OPEN = [
    "[x]: https://docs.example.com/\n1.\n   ```\nx",  # no list: to GitHub it goes on a paragraph
    "- [x]: https://docs.example.com/\n  -\n    ```\nx",
    "```",
    "~~~~\n```",
    "- ```\n  a",
    "> ```",
    "<details>",
    "<details><summary>x",
    "<pre>",
    "<!--",
    "<?",
    "<![CDATA[",
]
OPEN += [
    "<div>",
    "<table>",
    "- a",
    "> a",
    "1. a\n   - b",
    "| a |\n|--|",
    "[^1]: a",
    "[x]:",
    "a\n    b",
    "    a",
    "`",
    "[",
    "$$",
]
OPEN += [
    "```\n    ```",
    "- ```\n\n      ```",
    "```\n~~~",
    "<sub>",
    "- <details>",
    "> <details>\n> x",
    "a\\",
    "&",
    "# a #",
    "```x`",
]


@pytest.mark.parametrize("text", OPEN)
def test_what_follows_is_no_part_of_it(text: str) -> None:
    result = f"{untrusted_markdown(text, LINKS)}\n\n| files |\n|--|\n| 2 |\n\nend"
    html_text = render(result)
    assert "<th>files</th>" in html_text
    assert "<p>end</p>" in html_text
    assert page(result).top[-2:] == ["table", "p"] or page(result).top[-1] == "section"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("thanks @ada-lovelace!", "thanks `@ada-lovelace`!"),
        ("@org/team and &#64;ada", "`@org/team` and `@ada`"),
        ("fixes #12, a/b#3, GH-4 and &#35;5", "fixes `#12`, `a/b#3`, `GH-4` and `#5`"),
        ("_@x_ /@x あ@x", "_`@x`_ /`@x` あ`@x`"),
        ("mail ada@example.org", "mail ada@example.org"),
        ("![x](https://evil.example/a?b)", "x (`https://evil.example/a?b`)"),
        ("[x *y*](https://evil.example 't')", "x *y* (`https://evil.example`)"),
        ("[https://evil.example](https://evil.example)", "`https://evil.example`"),
        ("https://evil.example/a. www.evil.example", "`https://evil.example/a`. `www.evil.example`"),
        ("[src/a.py](src/a.py)", "`src/a.py`"),
        ("[x][y]\n\n[y]: //evil.example", "x (`//evil.example`)"),
        ("List<int> and <b>bold</b>", "List&lt;int> and <b>bold</b>"),
        ("<!-- x -->", "&lt;!-- x -->"),
        ("``a``@victim", "``a`` `@victim`"),
        ("a ` b @x", "a &#96; b `@x`"),
        ("a `` b `c` d `e`", "a &#96;&#96; b `c` d `e`"),  # GitHub's parser would not find `e`
        ("| @x |\n|--|\n| a\\|@y |", "| `@x` |\n|--|\n| a\\|`@y` |"),
        ("```\n@x", "```\n@x\n```"),
        ("text <sub>a", "text &lt;sub>a"),
    ],
)
def test_only_what_acts_is_replaced(text: str, markdown: str) -> None:
    assert untrusted_markdown(text, LINKS) == markdown


@pytest.mark.parametrize("text", ["[" * 9_000 + "@victim", "> " * 200 + "@victim", "```\n" + "> " * 200 + "@victim"])
def test_a_text_that_nobody_can_read_is_shown_as_code(text: str) -> None:
    counts = Counter[str]()
    result = untrusted_markdown(text, LINKS, counts)
    assert is_dead(page(result))
    assert untrusted_markdown(result, LINKS) == result
    assert counts == ({"unreadable text": 1} if not text.startswith("`") else {"open blocks": 1})


def test_hosts_alone_can_be_given() -> None:
    assert untrusted_markdown("[a](https://ok.example.org/x) ", ["ok.example.org"]) == "[a](https://ok.example.org/x)"
    assert (
        untrusted_markdown("[a](https://github.com/x/y/pull/1)", ["github.com"]) != "[a](https://github.com/x/y/pull/1)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "[r]:<b>x",
        "[r]:<b>x\n===",
        "[r]:<b>_@v_``~~~",
        "- [r\ns]:<x>y",
        "> [#1]:/<x>y",
        "a\n[^<x>]: y",
        "[^<x>]: @v z",
        "[![i](https://evil.example/p)]:x",
        "[r]:a|b\n-|-\n",
        "> [r]: a|b\n> -|-\n> c",
        "[^@v]",
        "a [^ `@v`] b",
        "[a [^ *b* #1] c]:x",
        "| a |\n|--|\n| [^@v] |",
        "# [^<b>]",
        "[[^n]: foot\n<b>[r]: x",
        "> [[^n]: foot <b>[r] @v",
        "[^n]: foot\n[https://evil.example/[^n]",
        "[see https://ok.example.org/a[^n]\n\n[^n]: important",
        "](https://evil.example)`[](https://ok.example.org/)",
        "](https://evil.example)`[*](https://ok.example.org/)",
        "[^n]: foot\n    <details>[^n]: foot\na@b.c[^n]",
        "[^n]: foot\n- https://ok.example.org/a<http://evil.example>[^n]",
        "[<code>]](https://evil.example)[^n]: foot\n[^n]: foot\n",
        '[r]: https://evil.example "t"\n---\n[r]: https://evil.example "t"\n',
        "[a|b\n-|-\n]:*",
        '*[r]: https://evil.example "t"\n[^1][r]: https://evil.example "t"\n[^1]: foot\n',
        '[r]: https://evil.example "t"\n    a|b\n-|-\n',
        "<kbd>[^===\njavascript:x]:",
        "[^1]https://evil.example/`[^1]: foot\n[^1]: foot\n",
        "[^<sub>]</sub>",
        '[===\n===\n*[^1]: foot\n`[r]: https://evil.example "t"\n',
        '[r]: https://evil.example "t"\na|b\n-|-\n[r][r]: https://evil.example "t"\n',
        "https://evil.example/\\`![https://evil.example/[^](https://ok.example.org/)",
        "https://github.com/o/r/settings&#35;1<b>",
        "https://ok.example.org/a<b>[^n]\n\n[^n]: important",
    ],
)
def test_brackets_mean_the_same_once_the_text_in_them_is_replaced(text: str) -> None:
    result = untrusted_markdown(text, LINKS)
    rendered = page(result)
    assert is_dead(rendered)
    words = bare_words(entities.unescape(page(text, with_html=False).words))
    assert is_contained(words, bare_words(entities.unescape(rendered.words)))
    assert untrusted_markdown(result, LINKS) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("see <li>https://ok.example.org/a.</li>", "see &lt;li><https://ok.example.org/a>.&lt;/li>"),
        ("<p>https://ok.example.org/a</p>", "&lt;p><https://ok.example.org/a>&lt;/p>"),
        ("https://ok.example.org/a<b>_y_", "<https://ok.example.org/a>&lt;b>_y_"),
        ("https://evil.example/a<p>_y_", "`https://evil.example/a`&lt;p>_y_"),
        ("www.a.example.com<p>_y_", "`www.a.example.com`&lt;p>_y_"),
        ("https://ok.example.org/a<b>c</b>, https://ok.example.org/a<br>", None),
    ],
)
def test_an_address_ends_where_a_tag_begins(text: str, result: str | None) -> None:
    assert untrusted_markdown(text, LINKS) == (result or text)


@pytest.mark.parametrize("text", ["use [^a-z] here", "[^a-z] and `code`", "`[^@v]`", "[a]: b and [^c]"])
def test_brackets_that_mislead_nobody_stay(text: str) -> None:
    assert untrusted_markdown(text, LINKS) == text


# Together 100,000 texts at night, and 2,000 in the suite.
@settings(max_examples=80_000 if NIGHT else 1_400)
@given(TEXTS)
@pytest.mark.long
def test_markdown_of_strangers_does_nothing_and_loses_nothing(text: str) -> None:
    result = untrusted_markdown(text, LINKS)
    rendered = page(result)
    assert is_dead(rendered)
    words = bare_words(entities.unescape(page(text.replace("\u200b", ""), with_html=False).words))
    assert is_contained(words, bare_words(entities.unescape(rendered.words)))
    assert untrusted_markdown(result, LINKS) == result
    assert "<p>end</p>" in render(f"{result}\n\nend")


@settings(max_examples=10_000 if NIGHT else 300)
@given(TEXTS)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    for rendered in (page(escape(text)), page(f"> {escape(text)}"), page(f"| a |\n|--|\n| {escape(text)} |")):
        assert is_dead(rendered)
        assert all(link.startswith("mailto:") for link in rendered.links)
    rendered = page(escape(text))
    assert set(rendered.top) <= {"p"}
    assert "".join(rendered.words.split()) == "".join(text.replace("\u200b", "").split())


@settings(max_examples=10_000 if NIGHT else 300)
@given(TEXTS)
def test_pieces_for_hosts_hold_in_every_place(text: str) -> None:
    code = inline_code(text)
    in_table = page(f"| a | b |\n|--|--|\n| {code} | {code} |\n\nend")
    assert in_table.top == ["table", "p"]
    whole = page(f"{details(html(text), code_block(text))}\n\nx {code} y\n\nend")
    for rendered in (in_table, whole):
        assert is_dead(rendered)
    assert whole.top == ["details", "p", "p"]
