"""Well-known tokens are recognized by their shape, and what only looks alike is not."""

from __future__ import annotations

import importlib
import json
import random
import re
import string
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.safety.key_patterns import KEY_PATTERNS, MIN_TOKEN, KeyPattern
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
    ("GR1348941" + chars(20), "GitLab token"),
    ("xoxe.xoxp-1-" + chars(163, string.ascii_uppercase + string.digits), "Slack token"),
    ("https://hooks.slack.com/triggers/T0A1B2C3D/" + chars(13, string.digits) + "/" + chars(32, HEX), "Slack webhook"),
    ("123456789:AA" + chars(33), "Telegram token"),
    ("https://api.telegram.org/bot123456789:AA" + chars(33) + "/getMe", "Telegram token"),
    ("abc8Q~" + chars(34), "Azure secret"),
    (chars(52) + "JQQJ99" + chars(26), "Azure key"),
    (chars(76) + "AZDO" + chars(4), "Azure token"),
    ("https://x.blob.example/c?sv=2024&sig=" + chars(42) + "7%3D", "Azure signature"),
    ("s." + chars(23) + "7", "Vault token"),
    ("hvb." + chars(140), "Vault token"),
    ("sk_prod_" + chars(11) + "7", "Stripe key"),
    ("dckr_oat_" + chars(32), "Docker token"),
    ("doo_v1_" + chars(64, HEX), "DigitalOcean token"),
    ("dapi" + chars(32, HEX) + "-2", "Databricks token"),
    ("//packages.example.com/:_authToken=" + chars(36), "package registry token"),
    ("Bearer " + chars(24) + "7", "bearer token"),
    ("authorization: basic " + chars(20), "authorization"),
    ("IQoJb3JpZ2lu" + chars(300), "AWS session token"),
    ("ABSK" + chars(120), "Bedrock key"),
    (chars(32, HEX) + "-us12", "Mailchimp key"),
    ("AKCp" + chars(69), "Artifactory key"),
    ("ATATT3" + chars(186), "Atlassian token"),
    ("ops_eyJ" + chars(300), "1Password token"),
    ("v1.0-" + chars(24, HEX) + "-" + chars(146, HEX), "Cloudflare key"),
    ("dp.pt." + chars(43), "Doppler token"),
    ("fo1_" + chars(43), "Fly token"),
    ("HRKU-AA" + chars(58), "Heroku key"),
    ("pscale_tkn_" + chars(43), "PlanetScale token"),
    ("sgp_" + chars(40, HEX), "Sourcegraph token"),
    ("redis://:hunter2@cache:6379/0", "address with password"),
    ("mongodb+srv://u:p@ss@db.example/x", "address with password"),
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
        if not any(pattern.is_sentence for pattern in KEY_PATTERNS if pattern.kind == kind):
            assert len(text) >= MIN_TOKEN


BESIDES = (
    "\\n{}\\n", "\\t{}\\r\\n", "\x1b[31m{}\x1b[0m", "\\u001b[1m{}\\u001b[0m", "[1;32m{}[0m", "%0A{}%0A", "_{}_",
    "\\_{}\\_", "**{}**", "`{}`", "({}),", "x\n{} ", "&k={}&x=1",
)  # fmt: skip


@pytest.mark.parametrize("besides", BESIDES)
def test_a_token_is_recognized_beside_an_escape_or_a_sign(besides: str) -> None:
    for text, _ in TOKENS:
        if " " not in text and "/" not in text and "\n" not in text:
            assert text not in Redactor()(f"a line{besides.format(text)}and more"), text


PEM = [chars(64) for _ in range(4)] + [chars(30) + "=="]
FRAMED = ["-----BEGIN RSA PRIVATE KEY-----", *PEM, "-----END RSA PRIVATE KEY-----"]
LINES = (
    "+{}", "-{}", "> {}", "    {}", "{:>6}\t{}", "{}:{}", " {} | {}", " {} +{}", '    "{}\\n"', '  "{}",', "'{}\\n' +",
    "# {}", "// {}", " * {}", "\x1b[32m+{}\x1b[m", "{}$", "{}\r", "{}<br>",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_private_key_is_masked_behind_any_prefix(line: str) -> None:
    numbers = line.count("{") > 1
    lines = [line.format(index, text) if numbers else line.format(text) for index, text in enumerate(FRAMED)]
    for text in ("\n".join(lines), json.dumps("\n".join(lines))):
        shown = Redactor()(f"before\n{text}\nafter")
        assert not any(body[8:24] in shown for body in PEM), shown
        assert shown.startswith("before\n")
        assert shown.endswith("\nafter")


@pytest.mark.parametrize("between", [" ", "%0A", "\\n", "\\\\n", "\r\n"])
def test_a_private_key_is_masked_in_one_line(between: str) -> None:
    shown = Redactor()(between.join(FRAMED[:-1]))
    assert not any(body[8:24] in shown for body in PEM)


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
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "--hash=sha256:" + "0123456789abcdef" * 4,
        "image@sha256:" + "0123456789abcdef" * 4,
        "sk_test_placeholder and ghp_your_token_here",
        "https://user:${TOKEN}@github.com/x and https://$USER:$PASSWORD@host and https://{user}:{password}@{host}",
        "http://localhost:8080?mail=a@b and ssh://git@host:22/x and git@github.com:o/r.git",
        'hosts = ["http://a:1", "x@y"]',
        "Bearer ${TOKEN} and Authorization: Bearer <token> and the bearer of bad-news-for-everyone",
        "Authorization: Bearer YOUR_API_KEY and Authorization: token $GITHUB_TOKEN",
        "Authorization: Bearer your-token",
        "xoxo-hugs-and-kisses",
        "12:AAAA and 10:30:AM",
        "risk-assessment-2024-final-report-version-0001",
        "!function(e,t){module.exports=t():e.s=t()}(this,function(){var s.prototypeOfEverythingInHere})",
        "const sprite='data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4='",
        '"integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="',
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
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_we_know_what_another_scanner_takes_for_a_token(name: str, data: st.DataObject) -> None:
    for pattern in denylist(name):
        text = data.draw(st.from_regex(pattern, fullmatch=True))
        assert Redactor().patterns_in(f"key: {text} end"), text


@pytest.mark.parametrize("pattern", KEY_PATTERNS, ids=lambda pattern: pattern.kind)
def test_no_token_is_shorter_than_its_table_says(pattern: KeyPattern) -> None:
    """Words that are shorter are not looked at."""
    lookbehind = pattern.regex.partition("(?<=")[2].partition(")")[0]
    before = sum(map(int, re.findall(r"\{(\d+)\}", lookbehind)))
    if pattern.size > MIN_TOKEN and not pattern.is_sentence and pattern.kind != "Telegram token":
        assert parser.parse(pattern.regex).getwidth()[0] + before >= pattern.size
