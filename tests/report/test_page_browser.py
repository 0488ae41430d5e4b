"""The page of a run in a real browser: without errors and requests, by keyboard, and with hostile text in every field.

A missing browser fails: `.ci/run` installs Debian's `chromium`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.test_page import HOSTILE
from tests.support import pages
from tests.support.reports import FAILED

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.outside

EVENTS = pages.transcript() + "".join(
    pages.turn(number, f"Step {number}", pages.call(f"x{number}", command=f"make part-{number}"))
    + pages.result(f"x{number}", f"built needle-{number}")
    for number in range(3, 100)
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no browser: install chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


class Tab:
    """A tab that shows one file, and records what a quiet page does not do."""

    def __init__(self, browser: Browser, html: str, folder: Path, **options: object) -> None:
        path = folder / "report.html"
        path.write_text(html)
        self.page: Page = browser.new_page(**options)  # type: ignore[arg-type]
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: self.messages.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.address = path.as_uri()

    def count(self, selector: str) -> int:
        return self.page.locator(selector).filter(visible=True).count()

    def focus(self) -> str:
        text: str = self.page.evaluate("document.activeElement.textContent")
        return " ".join(text.split())

    def end(self) -> None:
        """Nothing was said and nothing was asked for."""
        assert self.messages == []
        assert self.requests == [self.address]
        self.page.close()


def test_a_page_is_folded_searched_and_walked_through_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    tab = Tab(browser, pages.page(events=EVENTS), tmp_path, color_scheme="light")
    page, keyboard = tab.page, tab.page.keyboard
    assert tab.count(".turn pre") == 0  # many turns are folded

    keyboard.press("/")
    keyboard.type("NEEDLE-42")
    page.wait_for_selector("text=1 place")
    assert tab.count(".call") == 1
    assert page.locator(".call:not([hidden]) pre").last.inner_text() == "built needle-42"
    keyboard.press("Enter")
    assert "Step 42" in tab.focus()
    keyboard.press("j")
    assert "make part-42" in tab.focus()
    keyboard.press("Enter")
    assert tab.count(".call pre") == 0
    keyboard.press("k")
    assert "Step 42" in tab.focus()
    keyboard.press("Escape")
    assert tab.count(".turn") == 99
    assert tab.count(".call") == 0
    assert page.input_value("#find") == ""

    page.click("#unfold")
    assert tab.count(".call pre") == 5 + 2 * 97
    page.click("#fold")
    assert tab.count("pre") == tab.count(".agent pre") + tab.count("#answer > pre")
    page.click("text=src/parser.py >> nth=0")
    page.evaluate("location.hash = '#f1'")
    page.wait_for_selector("#f1 table")

    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    tab.end()


def test_hostile_text_stays_text_and_the_policy_would_stop_it(browser: Browser, tmp_path: Path) -> None:
    hostile = pages.with_text(replace(FAILED, trigger=pages.RUN.trigger), HOSTILE)
    html = pages.page(hostile, pages.hostile_patch(HOSTILE), pages.transcript(HOSTILE))
    tab = Tab(browser, html, tmp_path)
    assert tab.page.locator("script").count() == 1
    assert tab.page.locator("img, iframe, object, link, base").count() == 0
    assert "onerror=alert(2)" in (tab.page.locator("#answer .agent").text_content() or "")
    tab.end()
    # Even if a mark were not escaped, nothing would run and nothing would be asked for.
    attack = "<script>alert(1)</script><img src='https://example.com/x' onerror=alert(2)>"
    attack += "<a href='javascript:alert(3)'>x</a>"
    tab = Tab(browser, html.replace('<main id="main">', f'<main id="main">{attack}'), tmp_path)
    tab.page.click("main > a")
    assert len(tab.messages) == 4
    assert all(re.search("Content Security Policy", message) for message in tab.messages), tab.messages
    tab.page.close()


def test_a_page_can_be_read_and_folded_without_scripts(browser: Browser, tmp_path: Path) -> None:
    tab = Tab(browser, pages.page(), tmp_path, java_script_enabled=False)
    assert tab.count("form, button, .keys") == 0
    tab.page.click("summary:has-text('Turn 1')")
    assert tab.count(".turn .call") == 1
    tab.page.click("summary:has-text('Turn 1')")
    tab.page.click(".call summary >> nth=0")
    assert "1 failed" in tab.page.locator(".call[open]").inner_text()
    tab.end()
