"""Variables of proxies and certificates that no client can be made with are named; the others pass."""

from __future__ import annotations

import pytest

from flue_ci.core.network_variables import variable_flaw


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5h://user:secret@127.0.0.1:1"),
        ("https_proxy", "socks4://127.0.0.1:1"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:1"),
        ("HTTP_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "http://127.0.0.1:99999"),
        ("HTTPS_PROXY", "http://127.0.0.1:port"),
        ("NO_PROXY", "localhost,fd00::/8"),
        ("no_proxy", "[fd00::]/8"),
        ("NO_PROXY", "[::1]:443"),
        ("SSL_CERT_FILE", "/nowhere/authorities.pem"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_DIR", "/nowhere"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_without_passwords(name: str, value: str) -> None:
    flaw = variable_flaw({name: value})
    assert flaw is not None
    assert flaw.message.startswith(f"{name} ")
    assert flaw.hint
    assert "secret" not in f"{flaw.message}{flaw.hint}"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "HTTPS_PROXY": "http://user:secret@proxy.example.com:3128",
            "NO_PROXY": "localhost,::1,10.0.0.0/8,.example.com,*",
        },
        {"https_proxy": "proxy.example.com:3128", "no_proxy": "a.example.com:8080, fe80::1"},
        {"HTTPS_PROXY": "", "NO_PROXY": "", "SSL_CERT_FILE": "", "SSL_CERT_DIR": "/:/nowhere"},
    ],
)
def test_what_works_passes(environ: dict[str, str]) -> None:
    assert variable_flaw(environ) is None
