"""What the files of a checkout ask for and only the user may allow: sending the model's key to an address, handing
over variables of the shell, reading another git directory.

A checkout may be a stranger's, so nothing in it is a yes, wherever the spec lies. A yes comes from outside: by an
option, by the environment, by `--set`, or by an answer on the terminal, which is remembered until what was asked
changes.
"""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.commands.consent_store import ConsentStore
from flue_ci.core.errors import Diagnostic, UsageError
from flue_ci.core.text import PORTS, first_few, one_line, origin, printable
from flue_ci.git.places import outside_places
from flue_ci.models.registry import DEFAULT_PROVIDER, OWN_HOST
from flue_ci.run.plan import RunOptions
from flue_ci.settings import Settings
from flue_ci.spec.schema import AgentSpec
from flue_ci.spec.yaml_document import KeyPath
from flue_ci.terminal.screen import ask, say

_GIT_VARIABLES = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`text` says what would happen, `place` which file asks for it, `option` what allows it for one run. `terms` are
    all parts that the yes is about; when they change, it is void. `directory` is a git directory to be read."""

    text: str
    place: str
    option: str
    terms: Mapping[str, object] = field(default_factory=dict)
    directory: Path | None = None


def obtain_consent(
    spec: AgentSpec, root: Path, options: RunOptions, settings: Settings
) -> tuple[tuple[Path, ...], list[Request]]:
    """The git directories elsewhere that may be read for the checkout `root`, and what is not allowed yet: in a dry
    run, which asks nobody and sends nothing; otherwise nothing.

    Raises `UsageError` with the options when the answer is no, when nobody can be asked, and for a dry run that would
    have to read another git directory.
    """
    directories = [*options.allow_git_dir, *_git_directories(settings.environ)]
    store = ConsentStore(settings.state_dir)
    requests = [*spec_requests(spec, options, settings), *git_requests(root, directories)]
    while requests:
        digest = digest_of(requests)
        if not store.holds(root, digest):
            if options.dry_run and not any(request.directory for request in requests):
                return tuple(directories), requests
            _ask(requests, root, options, settings)
            trouble = store.add(root, digest, tuple(request.text for request in requests))
            if trouble:
                say(f"flue-ci: your answer cannot be remembered: {printable(trouble)}", sys.stderr)
        directories += [request.directory for request in requests if request.directory]
        requests = git_requests(root, directories)  # behind an allowed place there may be another
    return tuple(directories), []


def spec_requests(spec: AgentSpec, options: RunOptions, settings: Settings) -> Iterator[Request]:
    """What the spec would send where, as far as neither an option nor the environment nor `--set` allows it."""
    model = spec.model
    if model.base_url and not options.replay and not _is_allowed_url(spec, options, settings):
        host = _host(model.base_url)
        yield Request(
            text=f"send the model's key and the conversation to {host}",
            place=_place(spec, ("model", "base_url")),
            option=f"--allow-base-url {shlex.quote(host)}",
            terms={"base_url": model.base_url, "provider": model.provider},
        )
    network = spec.sandbox.network
    for index, name in enumerate(spec.sandbox.secrets):
        path: KeyPath = ("sandbox", "secrets", index)
        if name in options.allow_secret or spec.document.is_external(path) or not settings.environ.get(name):
            continue
        headers = [(rule.host, rule.header, rule.value) for rule in network.inject if f"${{{name}}}" in rule.value]
        yield Request(
            text=_secret_text(spec, name, [host for host, _, _ in headers]),
            place=_place(spec, path),
            option=f"--allow-secret {name}",
            terms={"secret": name, "inject": headers, "setup": network.setup, "agent": network.agent},
        )


def git_requests(root: Path, directories: Sequence[Path]) -> list[Request]:
    """The git directories outside of the checkout that its `.git` leads to, besides `directories`."""
    return [
        Request(
            text=f"read {place.directory}, outside of the checkout: commits and files from there would travel",
            place=f"{place.path} {place.reason} it",
            option=place.option,
            terms={"git_directory": str(place.directory)},
            directory=place.directory,
        )
        for place in outside_places(root, directories)
    ]


def digest_of(requests: Sequence[Request]) -> str:
    """SHA-256 over the terms of all requests in a canonical form."""
    terms = sorted(json.dumps(request.terms, sort_keys=True) for request in requests)
    return hashlib.sha256(json.dumps(terms).encode("utf-8", "surrogatepass")).hexdigest()


def _ask(requests: Sequence[Request], root: Path, options: RunOptions, settings: Settings) -> None:
    words = " ".join(request.option for request in requests)
    in_ci = settings.environ.get("CI", "").lower() not in ("", "0", "false")
    has_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    items = [(request.text, request.place) for request in requests]
    if options.dry_run or options.json or in_ci or not has_terminal:
        lines = [line for text, place in items for line in (f"  • {text}", f"      {place}")]
        raise UsageError(
            "\n".join(["nothing was started: a file asks for what only you can allow", *map(printable, lines)]),
            hint=f"if you want this: {words}\n    (on a terminal you are asked, and a yes is remembered)",
        )
    title = f"{one_line(options.agent)} asks for what only you can allow, in {root}"
    if not ask(title, items, "Your yes is remembered until one of these changes; `flue-ci doctor` lists it."):
        raise UsageError("not allowed, so nothing was started", hint=f"for a single run: {words}")


def _secret_text(spec: AgentSpec, name: str, hosts: Sequence[str]) -> str:
    if hosts:
        return f"send your variable {name} to {', '.join(dict.fromkeys(hosts))}, in a header"
    network = _network_text(spec.sandbox.network.agent)
    if spec.sandbox.setup:
        network = f"{_network_text(spec.sandbox.network.setup)} during setup, then {network}"
    return f"put your variable {name} into the sandbox (network: {network})"


def _network_text(egress: str | tuple[str, ...]) -> str:
    return egress if isinstance(egress, str) else first_few(egress, 5)


def _is_allowed_url(spec: AgentSpec, options: RunOptions, settings: Settings) -> bool:
    url = spec.model.base_url or ""
    address = origin(url)
    is_default = spec.model.provider == DEFAULT_PROVIDER
    if is_default and address in (origin(settings.anthropic_base_url), ("https", OWN_HOST, 443)):
        return True
    names = {_host(value) if "://" in value else value.lower() for value in options.allow_base_url}
    names |= {name.strip("[]") for name in names}
    return spec.document.is_external(("model", "base_url")) or not names.isdisjoint((_host(url), address[1]))


def _host(url: str) -> str:
    """The host of a web address, with its port unless that is the usual one."""
    scheme, host, port = origin(url)
    if ":" in host:
        host = f"[{host}]"
    return host if port == PORTS.get(scheme) else f"{host}:{port}"


def _place(spec: AgentSpec, path: KeyPath) -> str:
    place = spec.document.locate(path, Diagnostic(message=""))
    return f"{place.file}:{place.line}:{place.column} {place.key}"


def _git_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    """Those that the user's own environment names. What git starts (a hook, an alias) has the variables of git, which
    followed the checkout's `.git` itself; `GIT_PREFIX` tells the two apart."""
    if "GIT_PREFIX" in environ:
        return iter(())
    names = [environ.get(name, "") for name in _GIT_VARIABLES]
    names += environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "").split(os.pathsep)
    return (Path(name) for name in names if name)
