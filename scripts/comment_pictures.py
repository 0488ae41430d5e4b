"""Pictures of every kind of comment, for people to look at: `python -m scripts.comment_pictures FOLDER [NAME ...]`.

The golden comments are rendered by cmark-gfm, as GitHub does, in a page with styles like GitHub's: in light and in
dark, as wide as a comment on a desk and as on a phone. Needs the development requirements and Chromium.
"""

import re
import shutil
import sys
from pathlib import Path

import cmarkgfm
from cmarkgfm.cmark import Options
from playwright.sync_api import Page, sync_playwright

from tests.support.golden import comments

WIDTHS = {"desktop": 860, "phone": 390}
STYLES = """
:root { --fg: #1f2328; --muted: #59636e; --bg: #ffffff; --soft: #f6f8fa; --line: #d1d9e0; --link: #0969da;
  --code: #818b981f; --add: #dafbe1; --del: #ffebe9; --hunk: #8250df; --added: #116329; --deleted: #82071e }
.dark { --fg: #f0f6fc; --muted: #9198a1; --bg: #0d1117; --soft: #151b23; --line: #3d444d; --link: #4493f8;
  --code: #656c7633; --add: #033a16; --del: #67060c; --hunk: #d2a8ff; --added: #aff5b4; --deleted: #ffdcd7 }
body { margin: 0; padding: 16px; background: var(--bg); color: var(--fg); overflow-wrap: break-word;
  font: 14px/1.5 "Liberation Sans", Arial, sans-serif, "Noto Color Emoji" }
h6.kind { color: var(--muted); font: 12px monospace; margin: 24px 0 4px }
.comment { border: 1px solid var(--line); border-radius: 6px; margin-bottom: 16px }
.top { background: var(--soft); border-bottom: 1px solid var(--line); border-radius: 6px 6px 0 0; padding: 8px 16px;
  color: var(--muted) }
.top b { color: var(--fg) }
.body { padding: 16px }
.body > :first-child, details > :first-child { margin-top: 0 }
.body > :last-child { margin-bottom: 0 }
p, blockquote, ul, ol, table, pre, details { margin: 0 0 16px }
ul, ol { padding-left: 2em }
li > ul { margin: 0 }
li:has(> input) { list-style: none; margin-left: -1.4em }
h1, h2, h3, h4, h5, h6 { line-height: 1.25; margin: 24px 0 16px; font-weight: 600 }
h1 { font-size: 2em } h2 { font-size: 1.5em } h3 { font-size: 1.25em } h4 { font-size: 1em } h5 { font-size: .875em }
h6 { font-size: .85em; color: var(--muted) }
a { color: var(--link); text-decoration: none } p a { text-decoration: underline }
blockquote { border-left: .25em solid var(--line); color: var(--muted); padding: 0 1em }
blockquote > :last-child { margin-bottom: 0 }
code { background: var(--code); border-radius: 6px; padding: .2em .4em; font: 85% "Liberation Mono", monospace }
pre { background: var(--soft); border-radius: 6px; padding: 16px; overflow: auto; line-height: 1.45 }
pre code { background: none; padding: 0; white-space: pre; display: block; min-width: max-content }
table { border-collapse: collapse; display: block; overflow: auto; max-width: 100%; width: max-content }
th, td { border: 1px solid var(--line); padding: 6px 13px }
tr:nth-child(2n) { background: var(--soft) }
summary { cursor: pointer }
sub { font-size: 75%; line-height: 0; position: relative; vertical-align: baseline; bottom: -.25em }
.add { background: var(--add); color: var(--added); display: block }
.del { background: var(--del); color: var(--deleted); display: block }
.hunk { color: var(--hunk); font-weight: 700; display: block }
"""


def main() -> None:
    folder, *names = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    texts = {name: text for name, text in comments().items() if not names or name in names}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, pixels in WIDTHS.items():
            page = browser.new_page(viewport={"width": pixels, "height": 800})
            for name, text in texts.items():
                _take(page, name, text, Path(folder) / f"{name}-{width}")


def _take(page: Page, name: str, text: str, path: Path) -> None:
    """Two pictures of a comment; its height is printed."""
    for theme in ("light", "dark"):
        page.set_content(html_page(text, theme))
        page.screenshot(path=f"{path}-{theme}.png", full_page=True)
    print(f"{path.name}: {page.evaluate('document.documentElement.scrollHeight')} pixels high")


def html_page(text: str, theme: str) -> str:
    """A page with one comment."""
    top = "<div class=top><b>github-actions</b> bot commented 2 minutes ago</div>"
    body = f"<div class=comment>{top}<div class=body>{render(text)}</div></div>"
    return f"<!doctype html><meta charset=utf-8><style>{STYLES}</style><body class={theme}>{body}"


def render(text: str) -> str:
    """The HTML of a comment: line ends are breaks, the lines of diffs have colours."""
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS | Options.CMARK_OPT_FOOTNOTES
    rendered = cmarkgfm.github_flavored_markdown_to_html(text, options)
    return re.sub(r'(?s)(<pre lang="diff"><code>)(.*?)(</code></pre>)', _color, rendered)


def _color(match: re.Match[str]) -> str:
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    lines = [
        f"<span class={kinds[line[0]]}>{line}</span>" if line[:1] in kinds else f"{line}\n"
        for line in match[2].removesuffix("\n").split("\n")
    ]
    return match[1] + "".join(lines) + match[3]


if __name__ == "__main__":
    main()
