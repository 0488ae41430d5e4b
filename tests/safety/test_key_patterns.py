"""Well-known tokens are recognized by their shape, and what only looks alike is not."""

from __future__ import annotations

import importlib
import random
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.safety.key_patterns import KEY_PATTERNS, MIN_TOKEN
from flue_ci.safety.redact import Redactor

ALPHANUMERIC = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
RANDOM = random.Random(7)


def chars(count: int, alphabet: str = ALPHANUMERIC) -> str:
    return "".join(RANDOM.choices(alphabet, k=count))


TOKENS = [
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
    ("glpat-" + chars(20), "GitLab token"),
    ("glpat-" + chars(27) + ".01." + chars(9, HEX), "GitLab token"),
    ("gldt-" + chars(20), "GitLab token"),
    ("glrt-" + chars(20), "GitLab token"),
    ("glcbt-0a_" + chars(20), "GitLab token"),
    ("glptt-" + chars(40), "GitLab token"),
    ("glagent-" + chars(50), "GitLab token"),
    ("gloas-" + chars(64), "GitLab token"),
    ("gsk_" + chars(52), "Groq key"),
    ("xai-" + chars(80), "xAI key"),
    ("pplx-" + chars(48), "Perplexity key"),
    ("r8_" + chars(37), "Replicate token"),
    ("hf_" + chars(34), "Hugging Face token"),
    ("AccountKey=" + chars(86) + "==", "Azure storage key"),
    ("dop_v1_" + chars(64, HEX), "DigitalOcean token"),
    ("dckr_pat_" + chars(27), "Docker token"),
    ("hvs." + chars(24), "Vault token"),
    ("hvs." + chars(95), "Vault token"),
    ("pul-" + chars(40, HEX), "Pulumi token"),
    ("dapi" + chars(32, HEX), "Databricks token"),
    ("glsa_" + chars(32) + "_" + chars(8, HEX), "Grafana token"),
    ("NRAK-" + chars(27, string.ascii_uppercase + string.digits), "New Relic key"),
    ("sntryu_" + chars(64, HEX), "Sentry token"),
    ("sbp_" + chars(40, HEX), "Supabase token"),
    ("https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/" + chars(24), "Slack webhook"),
    ("SK" + chars(32, HEX), "Twilio key"),
    (f"SG.{chars(22)}.{chars(43)}", "SendGrid key"),
    ("sk_live_" + chars(24), "Stripe key"),
    ("rk_test_" + chars(99), "Stripe key"),
    ("whsec_" + chars(32), "Stripe key"),
    ("sq0csp-" + chars(43), "Square token"),
    ("shpat_" + chars(32, HEX), "Shopify token"),
    ("lin_api_" + chars(40), "Linear key"),
    ("ntn_" + chars(11, string.digits) + chars(35), "Notion token"),
    (f"PMAK-{chars(24, HEX)}-{chars(34, HEX)}", "Postman key"),
    ("ya29." + chars(120), "Google token"),
    ("GOCSPX-" + chars(28), "Google client secret"),
    ("rubygems_" + chars(48, HEX), "package registry token"),
    ("AGE-SECRET-KEY-1" + chars(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"), "age key"),
]


@pytest.mark.parametrize(("text", "kind"), TOKENS)
def test_tokens_are_recognized(text: str, kind: str) -> None:
    redact = Redactor()
    for line in (f"before {text} after", f'{{"key": "{text}"}}', f"KEY={text}", f"key: {text}\nnext"):
        assert redact.patterns_in(line) == (kind,)
        shown = redact(line)
        assert "***" in shown
        assert text not in shown
        assert redact(shown) == shown


def test_every_kind_has_an_example() -> None:
    assert {kind for _, kind in TOKENS} == {pattern.kind for pattern in KEY_PATTERNS}


def test_a_token_is_no_shorter_than_the_words_that_are_looked_at() -> None:
    for text, kind in TOKENS:
        if any(pattern.is_token for pattern in KEY_PATTERNS if pattern.kind == kind):
            assert len(text) >= MIN_TOKEN


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
        "glpat-xxxxxxxxxxxxxxxxxxxx",
        "glpat-your-token",
        "GLPAT-" + "A1" * 10,
        "hf_hub_download(repo_id, filename)",
        "hf_transformersconfigurationofthismodel",
        "gsk_" + "a" * 51,
        "hvs.client.authenticate_with_kubernetes",
        "dop_v1_" + "g" * 64,
        "pul-requests and pul-" + "0a" * 19,
        "SKIPPED_TESTS SK_" + "0a" * 16,
        "SG.something.else",
        "sk_live_ and rk_test_key",
        "AccountKey=${AZURE_STORAGE_ACCOUNT_KEY_OF_THE_PRODUCTION_SUBSCRIPTION}",
        "dckr_pat_ is the prefix",
        "AGE-SECRET-KEY-1 " + "Q" * 58,
        "whsec_your_signing_secret",
        "dapi" + "documentation" * 3,
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_nothing_in_our_own_source_and_documents_looks_like_a_token() -> None:
    project = Path(__file__).parents[2]
    for path in [*project.glob("docs/*.md"), *(project / "flue_ci").rglob("*.py"), *(project / "examples").rglob("*")]:
        if path.is_file():
            assert Redactor().patterns_in(path.read_text()) == (), path


# Kinds that detect-secrets knows, and its plugin.
THEIRS = {
    "AWS key id": "aws",
    "Azure storage key": "azure_storage_key",
    "GitHub token": "github_token",
    "GitLab token": "gitlab_token",
    "SendGrid key": "sendgrid",
    "Square token": "square_oauth",
    "Stripe key": "stripe",
    "Twilio key": "twilio",
}
# Plugins whose tokens are ours too, whatever stands in them. The others take what their issuers never issue: GitLab's
# without a capital letter or a digit, hexadecimal digits up to z.
SAME = ("github_token", "sendgrid", "stripe", "pypi_token", "openai")


def denylist(name: str) -> list[re.Pattern[str]]:
    module = importlib.import_module(f"detect_secrets.plugins.{name}")
    plugins = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    return [pattern for plugin in plugins for pattern in getattr(plugin, "denylist", ())]


@pytest.mark.parametrize("kind", THEIRS)
def test_another_scanner_knows_our_examples(kind: str) -> None:
    assert any(pattern.search(text) for text, name in TOKENS if name == kind for pattern in denylist(THEIRS[kind]))


@pytest.mark.parametrize("name", SAME)
@given(data=st.data())
def test_we_know_what_another_scanner_takes_for_a_token(name: str, data: st.DataObject) -> None:
    for pattern in denylist(name):
        text = data.draw(st.from_regex(pattern, fullmatch=True))
        assert Redactor().patterns_in(f"key: {text} end"), text
