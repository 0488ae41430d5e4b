"""Secrets leave in no usual form."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from flue_ci.core import changes, discussion, errors, events, messages, ports
from flue_ci.core.changes import ChangedFile
from flue_ci.core.discussion import Account, FailedCheck, FileDiff
from flue_ci.core.events import ToolStarted
from flue_ci.core.messages import ToolCall
from flue_ci.report import report
from flue_ci.report.markdown import markdown
from flue_ci.safety.find_secrets import encodings
from flue_ci.safety.redact import MASK, Redactor, StreamRedactor, added_lines, secrets_of
from tests.safety.test_writings import WRITINGS, dump
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
    assert redact.redact_value({"a": [SECRET, 1, None, {"b": SECRET}]}) == {"a": [MASK, 1, None, {"b": MASK}]}


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
    assert redact.redact_value({SECRET: b"x " + SECRET.encode() + b"\xff"}) == {MASK: b"x ***\xff"}
    call = ToolCall(id="1", name="bash", input={SECRET: [SECRET]})
    assert redact.redact_value(ToolStarted(call=call)) == ToolStarted(
        call=ToolCall(id="1", name="bash", input={MASK: [MASK]})
    )


def test_a_secret_that_is_a_word_of_ours_breaks_no_report() -> None:
    secret = Redactor(["success", "renamed", "changes.patch"])
    clean = secret.redact_value(FULL)
    assert (clean.conclusion, clean.changes) == (FULL.conclusion, FULL.changes)
    assert markdown(clean)


def test_a_field_is_exempt_by_its_type_and_not_by_its_name() -> None:
    redact = Redactor(["hunter2hunter2", "failure", "modified"])
    assert redact.redact_value(FileDiff(path="a", patch="+hunter2hunter2")).patch == "+***"
    assert redact.redact_value(Account(login="ada", kind="hunter2hunter2")).kind == MASK
    assert redact.redact_value(FailedCheck(name="tests", conclusion="failure")).conclusion == MASK
    assert redact.redact_value(ChangedFile(path="a", kind="modified")).kind == "modified"
    assert redact.redact_value(replace(FULL, conclusion="hunter2hunter2")).conclusion == MASK  # type: ignore[arg-type]


def values_of(hint: Any) -> Any:
    """A value of that type with the secret wherever a text may be."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (str, object, Any):
        return f"a {SECRET} b"
    if hint is bytes:
        return f"a {SECRET} b".encode()
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{field.name: values_of(hints[field.name]) for field in fields(hint)})  # type: ignore[operator]
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, Sequence):
        return tuple(values_of(argument) for argument in arguments if argument is not ...)
    if origin is Mapping:
        return {values_of(arguments[0]): values_of(arguments[1])}
    if origin in (Union, UnionType):
        return values_of(next(argument for argument in arguments if argument is not type(None)))
    return hint()


DATACLASSES = [
    kind
    for module in (changes, discussion, errors, events, messages, ports, report)
    for kind in vars(module).values()
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_in_every_value_of_ours_a_secret_is_masked_in_every_text(kind: type) -> None:
    value = values_of(kind)
    clean = Redactor([SECRET]).redact_value(value)
    assert SECRET not in repr(asdict(clean))
    assert repr(asdict(clean)) == repr(asdict(value)).replace(repr(SECRET)[1:-1], MASK)


def test_half_characters_become_writable() -> None:
    assert Redactor()("a \ud800 \udcff").encode() == b"a \\ud800 \\udcff"


def test_a_secret_that_is_no_text_is_taken() -> None:
    assert Redactor(["pass\udcffword"])("is pass\udcffword") == f"is {MASK}"


def test_absurd_nesting_ends_somewhere() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert "nested too deep" in json.dumps(Redactor().redact_value(deep))


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
    assert not Redactor(["contextsecret"]).holds_secret(added_lines(patch))
    assert Redactor(["one-of-two-lines\ntwo-of-two-lines"]).holds_secret(added_lines(patch))
    assert Redactor(["secretname"]).holds_secret(
        added_lines(b"diff --git a/secretname b/secretname\nnew file mode 100644\n")
    )


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE KEY-----",
        "a://a:",
        "eyJaaaaaaaaaaaa.",
        "-eyJ-sk-ant-ghp_",
        "sk-",
        f"sk-1{'a' * 251}",
        f"AIza{'b' * 35}",
        "[…]",
        "[…",
        "aws secret ",
        "gh",
        "a-known-secre\n",
    ],
)
def test_hostile_repetitions_come_to_an_end(piece: str) -> None:
    Redactor(["a-known-secret"])(piece * (60_000 // len(piece)))


@pytest.mark.parametrize("width", [76, 64, 60, 20])
def test_what_is_wrapped_over_lines_is_masked(width: int) -> None:
    secret = "sk-internal_" + "aB3" * 30
    for printed in (base64.b64encode(secret.encode()).decode(), secret.encode().hex()):
        lines = [printed[at : at + width] for at in range(0, len(printed), width)]
        shown = Redactor([secret])("value: |\n  " + "\n  ".join(lines) + "\nend")
        assert shown.startswith("value: |\n  ***")
        assert not any(line[4:-4] in shown for line in lines if len(line) > 12)


def test_secrets_that_overlap_are_masked_to_the_last_letter() -> None:
    assert Redactor(["abcdef123", "123xyz7890"])("abcdef123xyz7890") == MASK


@pytest.mark.parametrize("text", ["ghp_", "x", "://a:b", "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n", "wor"])
def test_a_mask_that_lays_something_bare_is_followed_by_another_look(text: str) -> None:
    redact = Redactor(["topsecretvalue"])
    shown = redact(f"{text}topsecretvalue{text}ghp_{'a1' * 18}@")
    assert redact(shown) == shown


def test_an_encrypted_private_key_goes_with_its_headers() -> None:
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\n"
        "MIIEowIBAAKCAQEAvxyz\nabcdefgh12345678\n-----END RSA PRIVATE KEY-----"
    )
    assert Redactor()(f"a {key} b") == "a *** b"


def test_words_between_two_mentions_of_a_private_key_stay() -> None:
    text = "it begins with `-----BEGIN PRIVATE KEY-----` (PEM) and ends with `-----END PRIVATE KEY-----`."
    assert "(PEM) and ends with" in Redactor()(text)


_SECRETS = ("topsecret-value 42", "aB3_" * 12, "pä$$wörd/with+more")
_WRITTEN = st.sampled_from(
    [form for secret in _SECRETS for form in encodings(secret)]
    + [
        "ghp_" + "a1" * 18,
        *(WRITINGS[writing](secret) for secret in _SECRETS for writing in WRITINGS),
        *(f"\n{dump(command, f'ab{secret}')}" for secret in _SECRETS for command in ("od -tx1", "od -c", "od -An -x")),
        "glpat-aB3dE6fG9hI2jK5lM8nO",
        "SG.aB3dE6fG9hI2jK5lM8nO1p.aB3dE6fG9hI2jK5lM8nO1paB3dE6fG9hI2jK5lM8nO1",
        "postgres://user:hunter22@db.example/x",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabcdefgh12345678==\n-----END RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ]
)
# Each takes 20 ms of processor time; the nightly profile runs hundreds.
_FEW_EXAMPLES = settings(max_examples=30 * settings().max_examples // 100)
_ANYTHING = st.lists(
    st.one_of(
        _WRITTEN,
        st.builds(
            lambda form, width: "\n".join(form[at : at + width] for at in range(0, len(form), width)),
            _WRITTEN,
            st.integers(min_value=10, max_value=80),
        ),
        st.text(alphabet=" \n\tab:/@-_.=+'\"", max_size=20),
        st.text(max_size=20),
    ),
    max_size=8,
).map("".join)


@_FEW_EXAMPLES
@given(_ANYTHING, st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=40))
def test_cut_into_pieces_anywhere_a_text_loses_the_same_secrets(text: str, sizes: list[int]) -> None:
    redact = Redactor(_SECRETS)
    stream, told, at, turn = StreamRedactor(redact), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        told.append(stream.feed(text[at : at + size]))
        at, turn = at + size, turn + 1
    shown = "".join([*told, stream.end()])
    assert shown == redact.mask(text)
    assert redact.mask(shown) == shown
    assert not redact.holds_secret(shown.encode("utf-8", "surrogateescape"))


@_FEW_EXAMPLES
@given(_ANYTHING)
def test_of_whatever_is_redacted_nothing_secret_is_left(text: str) -> None:
    redact = Redactor(_SECRETS)
    shown = redact(text)
    assert redact(shown) == shown
    assert not any(form in shown for secret in _SECRETS for form in encodings(secret))
    assert redact.patterns_in(shown) == ()


@pytest.mark.parametrize("sign", ["x", "word ", "topsecret-value 42", "topsecret-value 42 "])
def test_what_a_stream_holds_back_is_bounded(sign: str) -> None:
    redact = Redactor(_SECRETS)
    stream = StreamRedactor(redact, max_pending=1_000)
    told = ""
    for count in range(1, 1_000):
        told += stream.feed(sign)
        assert count * len(sign) - len(told) < 1_100 or "***" in told
    told += stream.end()
    assert "topsecret" not in told
    assert told.count("***") == (999 if "secret" in sign else 0)


@pytest.mark.parametrize("kept", [6, 9, 17])
@pytest.mark.parametrize(
    "cut", ["\n[… 1,234 bytes left out …]\n", " [… line cut]", "\n[…]\n", "\n[… 12 bytes left out; more in x …]\n"]
)
def test_of_a_secret_that_was_cut_no_piece_stays(cut: str, kept: int) -> None:
    secret = "topsecret-value 42"
    redact = Redactor([secret])
    shown = redact(f"before {secret[:kept]}{cut}{secret[-kept:]} after")
    assert shown == f"before ***{cut}*** after"
    assert redact(f"topse{cut}ue 42") == f"topse{cut}ue 42"


def test_however_many_keys_stand_in_a_row_all_are_masked() -> None:
    assert set(Redactor()(f"AIza{'b' * 35}" * 100)) == {"*"}


def test_a_text_that_comes_again_is_redacted_again() -> None:
    """Words without anything are remembered; those with something are not."""
    redact = Redactor(["hunter2-Hunter2_x9"])
    encoded = base64.b64encode(b"hunter2-Hunter2_x9").decode()
    for text in ("an-ordinary-word of " * 3, f"an-ordinary-word {encoded}", "ghs_" + "a1B2" * 9):
        assert redact(text) == redact(text) == Redactor(["hunter2-Hunter2_x9"])(text)
    assert encoded not in redact(f"an-ordinary-word {encoded}")


def test_what_was_looked_through_before_is_looked_through_again_for_a_new_secret() -> None:
    redact = Redactor()
    assert redact("it is hunter2000") == redact("it is hunter2000") == "it is hunter2000"
    redact.learn("hunter2000")
    assert redact("it is hunter2000") == "it is ***"
    assert redact.redact_value({"words": ("hunter2000", "none")}) == {"words": ("***", "none")}


def test_what_comes_back_is_a_plain_string_which_a_template_escapes() -> None:
    assert type(Redactor()(Markup("<b>bold</b>"))) is str
