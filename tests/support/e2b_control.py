"""The control plane of the E2B-compatible test server: what is asked of `api.<domain>`, kept in memory."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.responses import JSONResponse, Response

from tests.support.e2b_envd import Process
from tests.support.e2b_machine import Machine, MachineOptions

ENVD_VERSION = "0.6.9"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One request as it came. `json` is None for bodies that are not JSON of the control plane."""

    route: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: Any = None
    at: float = 0.0  # time.monotonic()


@dataclass(kw_only=True)
class Sandbox:
    id: str
    template: str
    token: str
    machine: Machine
    metadata: dict[str, str]
    env: dict[str, str]
    network: dict[str, Any]
    started: float
    ends: float
    user: str = "user"  # whom a command runs as that names none
    processes: dict[int, Process] = field(default_factory=dict)
    reaper: asyncio.TimerHandle | None = None

    def described(self) -> dict[str, Any]:
        moment = lambda at: datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")  # noqa: E731
        size = {"cpuCount": 2, "memoryMB": 512, "diskSizeMB": 5120}
        return {
            "templateID": self.template,
            "sandboxID": self.id,
            "clientID": "loopback",
            "startedAt": moment(self.started),
            "endAt": moment(self.ends),
            "envdVersion": ENVD_VERSION,
            "state": "running",
            "metadata": self.metadata,
            **size,
        }


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = JSONResponse({"code": status, "message": message}, status_code=status)


class ControlPlane:
    """Sandboxes by id, and the requests about them. Runs on the server's event loop."""

    def __init__(
        self, directory: Path, *, templates: set[str], max_timeout: int, page: int, machine: MachineOptions
    ) -> None:
        self._machine = machine
        self.takes_ipv6 = True  # the range of all IPv6 addresses; E2B's own API of 2026 refuses it
        self.adds_headers = True  # a feature of some teams
        self.deduplicates = True  # by idempotency keys
        self.sandboxes: dict[str, Sandbox] = {}
        self.machines: list[Machine] = []
        self._directory, self._templates, self._max_timeout, self._page = directory, templates, max_timeout, page
        self._by_key: dict[str, asyncio.Future[Sandbox]] = {}

    async def create(self, asked: Recorded) -> Response:
        key = asked.headers.get("idempotency-key")
        if not self.deduplicates:
            key = None
        if key is None or key not in self._by_key:
            future: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
            if key is not None:
                self._by_key[key] = future
            try:
                future.set_result(await self._start(asked.json))
            except Refused:
                self._by_key.pop(key or "", None)
                future.cancel()
                raise
        else:
            future = self._by_key[key]
        sandbox = await future
        return JSONResponse(self._connection(sandbox), status_code=201)

    async def _start(self, body: dict[str, Any]) -> Sandbox:
        template, seconds = body.get("templateID", ""), body.get("timeout", 300)
        if template not in self._templates:
            raise Refused(404, f"template '{template}' not found")
        if not 0 < seconds <= self._max_timeout:
            raise Refused(400, f"Timeout cannot be greater than {self._max_timeout / 3600:g} hours")
        network = body.get("network") or {}
        self._check_network(network)
        sandbox_id = "i" + secrets.token_hex(10)
        machine = Machine(sandbox_id, self._directory / sandbox_id, self._machine)
        self.machines.append(machine)
        now = time.time()
        sandbox = Sandbox(
            id=sandbox_id,
            template=template,
            token=secrets.token_hex(16),
            machine=machine,
            metadata=body.get("metadata") or {},
            env=body.get("envVars") or {},
            network=network,
            user=self._machine.user,
            started=now,
            ends=now + seconds,
        )
        self.sandboxes[sandbox_id] = sandbox
        self._reap_later(sandbox, seconds)
        return sandbox

    def _connection(self, sandbox: Sandbox) -> dict[str, Any]:
        return {
            "sandboxID": sandbox.id,
            "templateID": sandbox.template,
            "clientID": "loopback",
            "envdVersion": ENVD_VERSION,
            "envdAccessToken": sandbox.token,
            "trafficAccessToken": None,
            "domain": None,
        }

    def _reap_later(self, sandbox: Sandbox, seconds: float) -> None:
        if sandbox.reaper is not None:
            sandbox.reaper.cancel()
        sandbox.ends = time.time() + seconds
        sandbox.reaper = asyncio.get_running_loop().call_later(
            seconds, lambda: asyncio.get_running_loop().create_task(self.end(sandbox.id))
        )

    async def end(self, sandbox_id: str) -> bool:
        sandbox = self.sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return False
        if sandbox.reaper is not None:
            sandbox.reaper.cancel()
        sandbox.machine.gone.set()
        await asyncio.sleep(0)
        for process in sandbox.processes.values():
            process.stop()
        await asyncio.to_thread(sandbox.machine.end)
        for process in sandbox.processes.values():
            process.popen.poll()
        return True

    def _known(self, asked: Recorded) -> Sandbox:
        sandbox_id = asked.path.split("/sandboxes/")[1].split("/")[0]
        if sandbox_id not in self.sandboxes:
            raise Refused(404, f"sandbox {sandbox_id} not found")
        return self.sandboxes[sandbox_id]

    async def delete(self, asked: Recorded) -> Response:
        await self.end(self._known(asked).id)
        return Response(status_code=204)

    async def get(self, asked: Recorded) -> Response:
        sandbox = self._known(asked)
        lifecycle = {"autoResume": False, "onTimeout": "kill"}
        return JSONResponse({**sandbox.described(), "network": sandbox.network, "lifecycle": lifecycle})

    async def timeout(self, asked: Recorded) -> Response:
        sandbox, seconds = self._known(asked), asked.json["timeout"]
        if seconds < 0:
            raise Refused(400, "Timeout cannot be negative")
        self._reap_later(sandbox, min(seconds, sandbox.started + self._max_timeout - time.time()))
        return Response(status_code=204)

    async def network(self, asked: Recorded) -> Response:
        sandbox = self._known(asked)
        self._check_network(asked.json or {})
        sandbox.network = asked.json or {}
        return Response(status_code=204)

    def _check_network(self, network: dict[str, Any]) -> None:
        """The rules of E2B's API that a client can break."""
        allowed, denied = network.get("allowOut") or [], network.get("denyOut") or []
        if not self.takes_ipv6 and "::/0" in denied:
            raise Refused(400, "invalid denied CIDR ::/0")
        if any(not _is_address(entry) for entry in denied):
            raise Refused(400, "invalid denied entry: domain names are not supported in deny out")
        if any(not _is_address(entry) for entry in allowed) and "0.0.0.0/0" not in denied:
            raise Refused(400, "when allow out holds domains, deny out must hold 0.0.0.0/0 to block all other traffic")
        if "rules" in network and not self.adds_headers:  # also when it is empty
            raise Refused(400, "network transform rules are not enabled for this team")
        _check_rules(network.get("rules") or {})

    async def connect(self, asked: Recorded) -> Response:
        sandbox = self._known(asked)
        seconds = (asked.json or {}).get("timeout", 15)
        if time.time() + seconds > sandbox.ends:
            self._reap_later(sandbox, seconds)
        return JSONResponse(self._connection(sandbox))

    async def list(self, asked: Recorded) -> Response:
        wanted = {unquote(key): unquote(value) for key, value in parse_qsl(asked.query.get("metadata", ""))}
        found = [box for box in self.sandboxes.values() if wanted.items() <= box.metadata.items()]
        if "running" not in asked.query.get("state", "running"):
            found = []
        start, size = int(asked.query.get("nextToken") or 0), min(int(asked.query.get("limit") or 100), self._page)
        headers = {"x-next-token": str(start + size)} if start + size < len(found) else None
        return JSONResponse([box.described() for box in found[start : start + size]], headers=headers)


def _check_rules(rules: dict[str, Any]) -> None:
    if len(rules) > 10:
        raise Refused(400, "network rules: at most 10 domains are allowed")
    for domain, transforms in rules.items():
        if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z0-9-]+", domain) or _is_address(domain):
            raise Refused(400, f"network rules: {domain!r} is not a valid domain name")
        headers = [item for rule in transforms for item in rule["transform"]["headers"].items()]
        if len(headers) > 20 or any(len(value) > 2_048 for _, value in headers):
            raise Refused(400, "network rules: at most 20 headers of 2048 characters")


def _is_address(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True
