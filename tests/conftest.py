"""Guards of all tests: a clean environment, an isolated git, nothing but loopback; live services only with `--live`."""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from tests.support import fork_server

# A busy machine is no defect, and the same code gives the same verdict twice. `--hypothesis-profile=explore` looks
# for new cases, by hand and for long; those it finds become examples of their own.
settings.register_profile("flue-ci", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("flue-ci")

_CLEARED = ("E2B_", "ANTHROPIC_", "GITHUB_", "GH_", "GIT_", "RUNNER_", "ACTIONS_", "FLUE_", "XDG_", "AWS_", "OTEL_")
# One certificate, of a key that nobody has: no test speaks TLS, and each client that is made would read all those of
# the system, which takes 20 ms of processor time.
_AUTHORITY = Path(__file__).parent / "support/authority.pem"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "PIP_CERT")


# jsonschema imports it where it is, for formats of addresses, which nothing here uses: it compiles 38 grammars,
# which takes 1.2 s of processor time. (check-jsonschema brings it along.)
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# Where temporary files are in memory. (ext4 passes over each inode that was deleted in the last minutes before it gives
# a new one: a sixth of all processor time.)
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30


class TheTestTouchedTheNetwork(AssertionError):
    """Tests talk to loopback only. What needs a live service is marked `live` and runs with `--live`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="also run tests that talk to the real E2B and Anthropic")
    parser.addoption("--thorough", action="store_true", help="run every member of each family of tests, as at night")


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until all tests are collected: nothing of it is garbage
    # Without bytecode each worker and each program of ours that a test starts would compile everything again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if "TMPDIR" not in os.environ and _MEMORY.is_dir():
        memory = os.statvfs(_MEMORY)
        like_a_disk = not memory.f_flag & (os.ST_NOEXEC | os.ST_NOSUID | os.ST_NODEV | os.ST_RDONLY)
        if like_a_disk and memory.f_bavail * memory.f_frsize >= _ROOM:
            os.environ["TMPDIR"] = str(_MEMORY)  # also of xdist's workers
            tempfile.tempdir = None
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        config.add_cleanup(fork_server.share())


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)  # a worker has the memory, and little of what it makes is in a circle
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: five for two processors, because most tests wait for processes and servers now and then."""
    processors = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    return processors * 5 // 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("property")
    absent = set[pytest.Item]()
    if not config.getoption("--live"):
        absent.update(item for item in items if "live" in item.keywords)
    if not config.getoption("--thorough") and not _names_one_test(config):
        absent.update(_rest_of_families(items))
        if "outside" not in config.option.markexpr:
            absent.update(item for item in items if "outside" in item.keywords)
    config.hook.pytest_deselected(items=list(absent))
    items[:] = [item for item in items if item not in absent]
    items.sort(key=lambda item: "long" not in item.keywords)  # the others fill the gaps up to the end


def _names_one_test(config: pytest.Config) -> bool:
    """Whether somebody asks for tests by name: those run, all of them."""
    return bool(config.option.keyword) or any("::" in argument for argument in config.args)


def _rest_of_families(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """What stays out of the usual suite: of the tests of a function with the mark `family(size)` all but `size`. By a
    checksum of their names, so that they are spread over all parameters and each run takes the same."""
    families = defaultdict[tuple[str, str, int], list[pytest.Item]](list)
    for item in items:
        if mark := item.get_closest_marker("family"):
            function = getattr(item, "originalname", item.name)
            families[getattr(item.parent, "nodeid", ""), function, mark.args[0]].append(item)
    for (_, _, size), members in families.items():
        yield from sorted(members, key=lambda item: zlib.crc32(item.name.encode()))[size:]


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new directory each time. (`mktemp` looks at all those before, for a number that is free.)"""
    top = tmp_path_factory.mktemp("homes")
    return (top / str(number) for number in count())


@pytest.fixture(autouse=True)
def clean_environment(request: pytest.FixtureRequest, homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """No keys, no proxies, no settings of whoever runs the tests. Returns the home directory that tests see."""
    live = "live" in request.keywords
    for name in list(os.environ):
        if name.upper() in (*_PROXIES, *_AUTHORITIES) or (name.startswith(_CLEARED) and not live):
            monkeypatch.delenv(name)
    home = next(homes)
    home.mkdir(0o700)
    for name, value in {
        "HOME": str(home),
        "NO_PROXY": "127.0.0.1,localhost",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada Author",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Carl Committer",
        "GIT_COMMITTER_EMAIL": "carl@example.com",
    }.items():
        monkeypatch.setenv(name, value)
    if not live:
        monkeypatch.setenv("SSL_CERT_FILE", str(_AUTHORITY))
    return home


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python's sockets connect to this machine only. (The E2B SDK's transport is native; its tests pass it a URL.)"""
    if "live" in request.keywords:
        yield
        return
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guard(sock: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        local = host.startswith("127.") or host in ("::1", "localhost")
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not local:
            raise TheTestTouchedTheNetwork(f"a connection to {address}")

    def guarded_connect(sock: socket.socket, address: object) -> None:
        guard(sock, address)
        return connect(sock, address)  # type: ignore[arg-type]

    def guarded_connect_ex(sock: socket.socket, address: object) -> int:
        guard(sock, address)
        return connect_ex(sock, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    yield
