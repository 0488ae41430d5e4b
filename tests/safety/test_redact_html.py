"""A finished page has no secret in its text or its attributes, whatever markup stands between, and stays whole."""

from __future__ import annotations

import re

import pytest

from flue_ci.safety.redact import MASK, Redactor, redact_html

REDACT = Redactor(["hunter2-Hunter2_x9", 'quo"ted <value> & more'])


def text_of(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


@pytest.mark.parametrize(
    "html",
    [
        "<p>a hunter2-Hunter2_x9 b</p>",
        "<p>a hunter2<strong>-Hunter2_x9</strong> b</p>",
        "<p>a <span class='k'>hunter2</span><span>-Hunter2</span>_x9 b</p>",
        "<p>a &#104;unter2-Hunter2<wbr>_x9 b</p>".replace("<wbr>", ""),
        "<p>a quo&quot;ted &lt;value&gt; &amp; more b</p>",
        "<p>a aHVudGVyMi1I<em>dW50ZXIyX3g5</em> b</p>",
        "<p>a ghs_<b>a1B2a1B2a1B2a1B2</b>a1B2a1B2a1B2a1B2a1B2 b</p>",
        '<p>a <a href="https://example.com/?hunter2-Hunter2_x9">b</a> b</p>',
        '<p>a <a title="hunter2&#45;Hunter2_x9">b</a> b</p>',
    ],
)
def test_nothing_of_a_secret_stays(html: str) -> None:
    page = redact_html(html, REDACT)
    assert MASK in page
    assert re.findall("</?[a-z]+", page) == re.findall("</?[a-z]+", html)
    assert page.startswith("<p>a ")
    assert page.endswith(" b</p>")
    assert not re.search("unter2|aHVu|ted|a1B2", page)
    assert redact_html(page, REDACT) == page


def test_texts_apart_cannot_take_the_markup_between_them_away() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA"
    html = f'<p title="{key}">a</p><pre>{key}</pre><p class="x">MIIEow</p><pre>-----END RSA PRIVATE KEY-----</pre>'
    page = redact_html(html, Redactor())
    assert re.sub("[^<>\"'=/]", "", page) == re.sub("[^<>\"'=/]", "", html)
    assert "MIIEowIBAAK" not in page


def test_our_script_and_style_stay_as_they_are() -> None:
    html = "<style>a { b: hunter2-Hunter2_x9 }</style><p>c</p><script>let x = 'hunter2-Hunter2_x9'</script>"
    assert redact_html(html, REDACT) == html
    assert text_of(redact_html(f"{html}<p>hunter2-Hunter2_x9</p>", REDACT)).endswith(MASK)
