"""What makes a local sandbox tighter where this machine can do it. Each is tried once; what is missing is said."""

from dataclasses import replace

from flue_ci.core.errors import SandboxError
from flue_ci.sandboxes.local import bounds, network
from flue_ci.sandboxes.local.bubblewrap import MountView
from flue_ci.sandboxes.local.client import SupervisorClient

_GAPS = {
    "hardened": "bubblewrap cannot bound the memory of /run and /dev/shm (it is older than 0.8, or the kernel refuses)",
    "memory": "memory is not bounded (there is no control group that we may use: neither a delegated one nor one of "
    "`systemd-run --user`)",
    "network": "AN OPEN NETWORK IS THIS MACHINE'S OWN: programs inside reach services on this machine and in the local "
    "network (install passt, whose program `pasta` gives them a network of their own)",
}


class Features:
    """Those that work here: all, until a start fails."""

    def __init__(self) -> None:
        self._working = frozenset(_GAPS)
        self._gaps: dict[str, str] = {}
        self._reported = 0

    async def start(self, view: MountView, seconds: float) -> SupervisorClient:
        """A supervisor with all features that work. Raises `SandboxError` when it does not start without any either."""
        if view.network and "network" in self._working and not network.is_available():
            self._drop("network")
        if "memory" in self._working and not bounds.has_groups():
            self._drop("memory")
        try:
            client = await SupervisorClient.start(replace(view, features=self._working), seconds, isolation=True)
        except SandboxError:
            await self._probe(view)
            client = await SupervisorClient.start(replace(view, features=self._working), seconds, isolation=True)
        if client.gap:
            self._gaps["filter"] = client.gap
        return client

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing, as far as sandboxes were started, one sentence each."""
        return tuple(self._gaps.values())

    def unreported_gaps(self) -> tuple[str, ...]:
        """Those that no earlier call had: a run with two sandboxes says them once."""
        fresh = self.gaps[self._reported :]
        self._reported += len(fresh)
        return fresh

    async def _probe(self, view: MountView) -> None:
        """Find out which features keep a sandbox from starting; raises `SandboxError` when it is none of them."""
        for names in (frozenset[str](), *(frozenset({name}) for name in sorted(self._working))):
            try:
                client = await SupervisorClient.start(replace(view, features=names), 20.0, isolation=True)
            except SandboxError:
                if not names:
                    raise
                self._drop(*names)
            else:
                await client.close()

    def _drop(self, *names: str) -> None:
        self._working -= {*names}
        self._gaps |= {name: _GAPS[name] for name in names}
