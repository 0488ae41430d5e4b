"""How much of the machine a local sandbox may use."""

import resource
from pathlib import Path

_PROCESSES = 4096  # with threads, in one sandbox
_FILE_BYTES = 16 << 30


def resource_limits() -> dict[int, int]:
    """For `setrlimit`, soft and hard. Never the address space: node, go and java reserve far more than they use."""
    # 1 and not 0: with 0 a handler of the host (systemd-coredump, apport) would still be started on the dump.
    limits = {resource.RLIMIT_CORE: 1, resource.RLIMIT_FSIZE: _FILE_BYTES}
    try:
        # Linux before 5.14 counts what the same user runs outside of the sandbox too, hence all of the machine's.
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return limits
    return {**limits, resource.RLIMIT_NPROC: running + _PROCESSES}
