"""Secrets leave in no usual form."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from flue_ci.outcome import ToolCall, ToolStarted
from flue_ci.redact import MASK, Redactor, added, secrets_of
from flue_ci.render import markdown
from tests.support.reports import FULL

SECRET = 'sk-test/"very"+secret value=42'


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), json.dumps(SECRET)[1:-1], SECRET.encode().hex()],
)
def test_every_form_is_masked(form: str) -> None:
    assert form not in Redactor([SECRET])(f"before {form} after")
    assert Redactor([SECRET])(f"before {form} after").startswith("before ")


@pytest.mark.parametrize("prefix", ["", "a", "ab"])
def test_base64_is_masked_in_all_three_alignments(prefix: str) -> None:
    encoded = base64.b64encode((prefix + SECRET + "tail").encode()).decode()
    shown = Redactor([SECRET])(encoded)
    assert MASK in shown
    assert len(shown) < len(encoded) - 20


def test_the_longest_secret_goes_first() -> None:
    assert Redactor(["abcdef", "abcdefghij"])("abcdefghij") == MASK


def test_short_values_tear_nothing_apart() -> None:
    assert Redactor(["true", "1"])("true 1") == "true 1"


def test_it_is_idempotent_and_walks_json() -> None:
    redact = Redactor([SECRET])
    once = redact(f"x {SECRET} y")
    assert redact(once) == once
    assert redact.walk({"a": [SECRET, 1, None, {"b": SECRET}]}) == {"a": [MASK, 1, None, {"b": MASK}]}


@pytest.mark.parametrize(
    "token",
    ["ghp_" + "a1" * 18, "github_pat_" + "A1_" * 10, "sk-ant-api03-" + "x" * 30, "e2b_" + "0f" * 20],
)
def test_known_patterns_are_masked_without_being_told(token: str) -> None:
    assert Redactor()(f"token {token}.") in (f"token {MASK}.", f"token {MASK}")


def test_ordinary_text_stays() -> None:
    text = "commit 3f786850e387550fdab836ed7e6dc881de23001b, see https://example.com/a:b and sk-1, ghp_short"
    assert Redactor()(text) == text


def test_credentials_in_an_address_go() -> None:
    assert Redactor()("https://user:pass@example.com/x") == f"https://{MASK}@example.com/x"


def test_the_environment_tells_which_values_are_secret() -> None:
    assert secrets_of(
        {"A_KEY": "abcdefgh", "PATH": "/usr/bin:/bin", "X_TOKEN": "short", "DB_PASSWORD": "hunter2hunter2"}
    ) == (
        "abcdefgh",
        "hunter2hunter2",
    )


def test_bytes_with_a_known_secret_are_found() -> None:
    assert Redactor([SECRET]).holds_secret(b"\xff" + SECRET.encode())
    assert not Redactor([SECRET]).holds_secret(b"nothing here")


KEY = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nAASCATAwggEsAgEAAkEA\n-----END KEY-----"


def test_each_line_of_a_secret_is_secret() -> None:
    shown = Redactor([KEY])("1: -----BEGIN KEY-----\n2: MIIBVgIBADANBgkqhkiG9w0BAQEF\n3: AASCATAwggEsAgEAAkEA")
    assert shown == f"1: -----BEGIN KEY-----\n2: {MASK}\n3: {MASK}"


def test_keys_of_mappings_bytes_and_our_values_are_walked() -> None:
    redact = Redactor([SECRET])
    assert redact.walk({SECRET: b"x " + SECRET.encode() + b"\xff"}) == {MASK: b"x ***\xff"}
    call = ToolCall(id="1", name="bash", input={SECRET: [SECRET]})
    assert redact.walk(ToolStarted(call=call)) == ToolStarted(call=ToolCall(id="1", name="bash", input={MASK: [MASK]}))


def test_a_secret_that_is_a_word_of_ours_breaks_no_report() -> None:
    secret = Redactor(["success", "renamed", "changes.patch"])
    clean = secret.walk(FULL)
    assert (clean.conclusion, clean.changes) == (FULL.conclusion, FULL.changes)
    assert markdown(clean)


def test_half_characters_become_writable() -> None:
    assert Redactor()("a \ud800 \udcff").encode() == b"a \\ud800 \\udcff"


def test_a_secret_that_is_no_text_is_taken() -> None:
    assert Redactor(["pass\udcffword"])("is pass\udcffword") == f"is {MASK}"


def test_absurd_nesting_ends_somewhere() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert "nested too deep" in json.dumps(Redactor().walk(deep))


def test_of_a_patch_only_what_it_adds_is_looked_at() -> None:
    patch = b"""diff --git a/x b/x
--- a/x
+++ b/x
@@ -1,2 +1,2 @@ contextsecret
 contextsecret
-contextsecret
+one-of-two-lines
+two-of-two-lines
"""
    assert not Redactor(["contextsecret"]).holds_secret(added(patch))
    assert Redactor(["one-of-two-lines\ntwo-of-two-lines"]).holds_secret(added(patch))
    assert Redactor(["secretname"]).holds_secret(added(b"diff --git a/secretname b/secretname\nnew file mode 100644\n"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ghs_" + "a1B2" * 9, "GitHub token"),
        ("ghs_eyJhbGciOi.eyJpc3MiOi." + "x" * 300, "GitHub token"),
        ("github_pat_" + "A1" * 30, "GitHub token"),
        ("sk-ant-api03-" + "xY9_" * 10, "Anthropic key"),
        ("sk-proj-" + "a1B2" * 10, "API key"),
        ("e2b_" + "0af3" * 10, "E2B key"),
        ("AKIAIOSFODNN7EXAMPLE", "AWS key id"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS secret"),
        ("xoxb-1234567890-abcdefghij", "Slack token"),
        ("AIza" + "b" * 35, "Google key"),
        ("npm_" + "aB3" * 12, "package registry token"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "JSON web token"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----", "private key"),
        ('"-----BEGIN PRIVATE KEY-----\\nMIIEow\\nabc=', "private key"),
        ("postgres://user:hunter22@db.example/x", "address with password"),
    ],
)
def test_keys_are_known_by_their_shapes(text: str, kind: str) -> None:
    redact = Redactor()
    assert redact.patterns_in(f"before {text} after") == (kind,)
    shown = redact(f"before {text} after")
    assert shown.startswith("before ")
    assert "***" in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "ghp_short",
        "sk-learn and sk-ant-",
        "scikit-learn/sk-image-processing-with-a-very-long-name-of-words",
        "e2b_some_identifier_in_code",
        "e2b_environmentvariablenamesofthisproject",
        "a" * 40,
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000",
        "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUg" * 20,
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "https://example.com:8080/a@b",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    "piece", ["-----BEGIN PRIVATE KEY-----", "a://a:", "eyJaaaaaaaaaaaa.", "sk-", "aws secret ", "gh"]
)
def test_hostile_repetitions_come_to_an_end(piece: str) -> None:
    Redactor(["a-known-secret"])(piece * (300_000 // len(piece)))
