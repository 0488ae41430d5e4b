"""An open network that is not the machine's own: a network namespace that pasta (of passt) connects to the outside.

Without further ado pasta would lead to the local network too; routes of the namespace, set before anything of the
sandbox runs there, keep it out.
"""

import ipaddress
import os
import re
import shutil
import stat
import struct
from pathlib import Path

from flue_ci.core.shell import load_script

_TUN = Path("/dev/net/tun")
# Addresses inside, of a range that is nobody's (RFC 5737). Questions to the last go to the machine's name server.
_ADDRESS, _GATEWAY, _NAME_SERVER, _PREFIX = "198.51.100.1", "198.51.100.2", "198.51.100.3", "29"
RESOLV_CONF = f"nameserver {_NAME_SERVER}\n"
# Not for the public by RFC 6890, and multicast. 127.0.0.0/8 is the namespace's own.
_BLOCKED = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16 198.18.0.0/15
    224.0.0.0/4 240.0.0.0/4
""".split()  # noqa: SIM905 (one a line would hide the rest of the module)


def is_available() -> bool:
    """Whether the programs are there and the device can be used. Whether all of it works shows at the start."""
    if not all(shutil.which(program) for program in ("pasta", "ip", "unshare", "setpriv")):
        return False
    try:
        os.close(os.open(_TUN, os.O_RDWR))  # pasta without it would leave a process that waits forever
    except OSError:
        return False
    return True


def device_for(user: int, private: Path) -> list[str]:
    """Options of bubblewrap (none, or some) with which `user` can open the device too. We are root."""
    if _TUN.stat().st_mode & stat.S_IRWXO >= stat.S_IROTH | stat.S_IWOTH:
        return []
    node = private / "tun"
    if not node.exists():
        os.mknod(node, stat.S_IFCHR | 0o600, _TUN.stat().st_rdev)
        os.chown(node, user, user)
    return ["--dev-bind", str(node), str(_TUN)]


def wrapper() -> list[str]:
    """What goes before a command that is to have a network of its own; it must not depend on open files above 2.

    The user namespace around is ours, because pasta's own would not let bubblewrap make another in it. No ports are
    forwarded in any direction, and no address inside stands for the machine.
    """
    pasta = [_path("pasta"), "--quiet", "--foreground", "--ipv4-only", "--netns-only", "--config-net", "--no-map-gw"]
    pasta += ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--address", _ADDRESS, "--netmask", _PREFIX]
    pasta += ["--gateway", _GATEWAY, "--dns-forward", _NAME_SERVER]
    script = load_script("flue_ci.sandboxes.local", "own_network.sh")
    routes = "".join(f"route replace unreachable {network}\n" for network in [*_BLOCKED, *_own_networks()])
    user = [_path("unshare"), "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--"]
    return [*user, *pasta, "--", "/bin/bash", "-c", script, "bash", routes]


def _path(program: str) -> str:
    return shutil.which(program) or program


def _own_networks() -> set[str]:
    """The machine's addresses and the networks that it is in, where these are public: what answers there is local."""
    networks = set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", Path("/proc/net/fib_trie").read_text()))
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask, *_ = line.split()
        # Half of all addresses "on the link" are how a VPN takes the default route.
        if int(gateway, 16) == 0 and (bits := int(mask, 16).bit_count()) >= 8:
            networks.add(f"{ipaddress.ip_address(struct.pack('=L', int(destination, 16)))}/{bits}")
    return networks
