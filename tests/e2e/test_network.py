"""A company's proxy and certificates on every way out: the model's API, E2B, GitHub's API, its git, and the gate. Each
way works, or one line names the variable, the host and what to do, without the proxy's password."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from flue_ci.core.errors import ForgeError
from flue_ci.core.network_variables import client_variables
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.gate import preflight
from flue_ci.git.fetch import Remote, resolve
from tests.support.fork_server import fork_server
from tests.support.tunnel import HOST, PASSWORD, USER, Company

CREDENTIALS = f"{quote(USER)}:{quote(PASSWORD, safe='')}"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with Company(tmp_path_factory.mktemp("company")) as company:
        yield company


async def ask_everybody(
    company: Company, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str = HOST
) -> dict[str, str]:
    """What each way out says, by its name; "" where it works."""
    url = f"https://{host}:{company.port}"
    for name in ("NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    keys = {"ANTHROPIC_API_KEY": "key-of-the-model", "E2B_API_KEY": "key-of-e2b", "FLUE_CI_PATIENCE_SECONDS": "0.2"}
    keys |= {"ANTHROPIC_BASE_URL": url, "E2B_API_URL": url, "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = fork_server().run(("doctor", "--json"), env=environ | keys, cwd=tmp_path, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    problems = [row for row in json.loads(done.stdout) if row["state"] == "problem"]
    answers = {row["name"]: f"{row['text']} → {row['hint']}" for row in problems}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for name, value in client_variables(os.environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_API_URL", url)
    monkeypatch.setenv("GITHUB_REPOSITORY", "ada/tools")
    try:
        assert preflight.GitHubApi(os.environ).role("ada") == "write"
    except OSError as error:
        answers["gate"] = preflight._describe(error)
    github = GitHub(repo="ada/tools", token="ghp_token", api_url=url, retry=RetryPolicy(attempts=1))
    remote = Remote(url=f"{url}/ada/tools.git", token="ghp_token", scratch=tmp_path, retry=RetryPolicy(attempts=1))
    for name, question, answer in (
        ("API", github.role("ada"), "write"),
        ("git", resolve(remote, "main"), "1" * 40),
    ):
        try:
            assert await question == answer
        except ForgeError as error:
            answers[name] = f"{error} → {error.hint}"
    await github.close()
    return answers


@pytest.mark.family(1)
@pytest.mark.parametrize(
    "names",
    [("HTTPS_PROXY", "SSL_CERT_FILE"), ("ALL_PROXY", "REQUESTS_CA_BUNDLE"), ("https_proxy", "CURL_CA_BUNDLE")],
    ids=" ".join,
)
async def test_every_way_takes_the_proxy_and_trusts_the_authority(
    names: tuple[str, str], company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.refusal, company.needs_password = 0, True
    company.requests.clear()
    environ = {
        names[0]: f"http://{CREDENTIALS}@{company.proxy}",
        names[1]: str(company.authority),
        "NO_PROXY": "fd00::/8,10.0.0.0/8,[fe80::]/10",
    }
    answers = await ask_everybody(company, environ, tmp_path, monkeypatch)
    assert answers == {}
    asked = [request.partition("?")[0] for request in company.requests]
    roles = ["/repos/ada/tools/collaborators/ada/permission"] * 2
    git = ["/ada/tools.git/info/refs"]
    assert sorted(asked) == sorted(["/v1/models/claude-sonnet-5-5", "/v2/sandboxes", *roles, *git])


async def test_what_needs_no_proxy_is_asked_without(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "SSL_CERT_FILE": str(company.authority),
        "NO_PROXY": "localhost,fd00::/8",
    }
    company.tunnels.clear()
    answers = await ask_everybody(company, environ, tmp_path, monkeypatch, host="localhost")
    assert (answers, company.tunnels) == ({}, [])


FAULTS: dict[str, tuple[dict[str, str], int, tuple[str, ...]]] = {
    "no authority": ({}, 0, ("certificate of far.example.com is not trusted", "Set SSL_CERT_FILE")),
    "another authority": (
        {"SSL_CERT_FILE": str(Path(__file__).parents[1] / "support/authority.pem")},
        0,
        ("certificate of far.example.com is not trusted", "SSL_CERT_FILE (", "lacks its authority"),
    ),
    "an authority that is gone": ({"REQUESTS_CA_BUNDLE": "/nowhere.pem"}, 0, ("REQUESTS_CA_BUNDLE", "/nowhere.pem")),
    "no password": ({}, 407, ("HTTPS_PROXY", "(407)", "USER:PASSWORD@127.0.0.1")),
    "a refusal": ({}, 403, ("HTTPS_PROXY", "does not let requests to far.example.com pass", "NO_PROXY")),
    "no proxy there": ({"HTTPS_PROXY": f"http://{CREDENTIALS}@127.0.0.1:9"}, 0, ("proxy 127.0.0.1:9 of HTTPS_PROXY",)),
    "an old kind": ({"HTTPS_PROXY": f"socks4://{CREDENTIALS}@127.0.0.1:9"}, 0, ("HTTPS_PROXY", "socks4", "unset it")),
}


@pytest.mark.family(3)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_way_that_is_closed_is_named(
    name: str, company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, company.refusal, words = FAULTS[name]
    company.needs_password = False
    environ = {"HTTPS_PROXY": f"http://{CREDENTIALS}@{company.proxy}"} | environ
    answers = await ask_everybody(company, environ, tmp_path, monkeypatch)
    assert sorted(answers) == ["API", "Anthropic", "E2B", "gate", "git"]
    for way, answer in answers.items():
        for word in words:
            assert word in answer, way
        assert PASSWORD not in answer
        assert quote(PASSWORD, safe="") not in answer
