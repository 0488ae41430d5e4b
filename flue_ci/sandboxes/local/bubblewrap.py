"""What a local sandbox sees of the host: bubblewrap's mounts and namespaces. Nothing is visible that is not named here.

No value ever stands on a command line, which every user of the host can read.
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from flue_ci.core.errors import SandboxError
from flue_ci.sandboxes.local import supervisor

if TYPE_CHECKING:
    from importlib.abc import InspectLoader

HOME = "/home/user"
ROOT_HOME = "/root"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUPERVISOR = "/run/flue-ci/supervisor"

# As the real root we become this user first. Without that the sandbox's user is root to the kernel: it could write
# /proc/sys/kernel/core_pattern and change the modes of the host's device files, whatever namespaces it is in.
# 65533 is in the range that the UAPI group's and Debian's lists of user ids leave unused.
SANDBOX_UID = 65_533

_NO_ISOLATION = "or run commands unprotected with --no-isolation"
_INSTALL = (
    f"install bubblewrap (apt install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap), {_NO_ISOLATION}"
)
_KERNEL_HINTS = (  # setting below /proc/sys, the value that forbids user namespaces, what to do
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps users from making user namespaces: add an AppArmor profile for bwrap that allows `userns` "
        "(https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces), "
        "or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"),
)
_CONTAINER_HINT = (
    "in a container bubblewrap needs user namespaces and mounts, for example docker run --cap-add SYS_ADMIN "
    "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"
)

# Of /etc only what programs need to work. Left out on purpose: private keys, and configuration of package managers and
# git, which often holds tokens.
_ETC = """
    alternatives ca-certificates ca-certificates.conf crypto-policies debian_version fonts java* ld.so.cache ld.so.conf
    ld.so.conf.d localtime mime.types nsswitch.conf os-release perl pki/ca-trust pki/java pki/tls/cert.pem pki/tls/certs
    protocols python3* redhat-release services ssl/cert.pem ssl/certs ssl/openssl.cnf timezone
""".split()  # noqa: SIM905 (one a line would hide the rest of the module)
_PASSWD = f"root:x:0:0::{ROOT_HOME}:/bin/bash\nuser:x:1000:1000::{HOME}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"
_LOCAL_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountView:
    """What a user sees: `private` is the sandbox's directory on the host. Root also sees root's files, as uid 0."""

    private: Path
    network: bool
    root: bool = False


def sandbox_uid() -> int | None:
    """The user of the host that owns the sandbox's files and processes; None: the one who runs us."""
    return SANDBOX_UID if os.geteuid() == 0 else None


def interpreter() -> str:
    """The Python that runs us, as seen from inside (it is bound there at its own path)."""
    exact = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not exact.exists():
        exact = Path(sys.executable).resolve()
    return str(exact)


def path_variable() -> str:
    """The system's programs first, then those of a Python that is not the system's."""
    if _python_is_system():
        return SYSTEM_PATH
    return f"{SYSTEM_PATH}:{sys.base_prefix}/bin"


def prepare(private: Path) -> None:
    """Write what the sandbox sees in place of the host's files, and the supervisor. All users inside may read it."""
    etc = private / "etc"
    (etc / "passwd").write_text(_PASSWD)
    (etc / "group").write_text(_GROUP)
    (etc / "hosts").write_text(_LOCAL_HOSTS)
    try:
        names = Path("/etc/hosts").read_text()
    except OSError:
        names = ""
    (etc / "hosts-open").write_text(_LOCAL_HOSTS + names)
    # Compiled, which saves the parsing on every start. The loader takes the cached form only when it fits the source.
    loader = cast("InspectLoader", supervisor.__spec__.loader)
    code = marshal.dumps(loader.get_code(supervisor.__name__))
    (private / "supervisor").write_bytes(MAGIC_NUMBER + bytes(12) + code)
    for file in (private / "supervisor", *etc.iterdir()):
        file.chmod(0o644)  # our umask may be stricter


def start_isolated(
    view: MountView, program: list[str], *, stdin: IO[bytes] | int, stderr: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    """Start `program` as the first process of a new sandbox. Options travel in memory files, never on a command line.

    Raises `SandboxError` when bubblewrap is not installed; that it refuses shows only in the exit code and on `stderr`.
    """
    if not (bwrap := shutil.which("bwrap")):
        raise SandboxError("bubblewrap is not installed", hint=_INSTALL)
    binds = list(_private_binds(view))
    with ExitStack() as files:
        options: list[int] = []

        def bubblewrap(arguments: list[str]) -> list[str]:
            options.append(_memory_file(arguments))
            files.callback(os.close, options[-1])
            return [bwrap, "--args", str(options[-1]), "--"]

        command: list[str] = []
        if sandbox_uid() is not None:
            if not (setpriv := shutil.which("setpriv")):
                raise SandboxError("setpriv (util-linux) is not installed", hint="install it, or do not run as root")
            # Sources may lie where only root gets (a Python in /root): an outer mount namespace makes them reachable.
            outer = ["--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/tmp"]  # noqa: S108 (its own)
            for number, (kind, source, target) in enumerate(binds):
                outer += [kind, source, f"/tmp/{number}"]  # noqa: S108
                binds[number] = (kind, f"/tmp/{number}", target)  # noqa: S108
            user = [f"--reuid={SANDBOX_UID}", f"--regid={SANDBOX_UID}", "--clear-groups", "--inh-caps=-all"]
            command = [*bubblewrap(outer), setpriv, *user]
        command += [*bubblewrap(_options(view, binds)), *program]
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={},
            cwd="/",
            pass_fds=options,
            start_new_session=True,  # Ctrl-C is for us: we still have work to do in the sandbox
        )


def check_host(*, isolation: bool) -> None:
    """Raise `SandboxError` for what this machine lacks. Whether the kernel allows it shows at the start."""
    if not Path("/bin/bash").exists():
        raise SandboxError("/bin/bash is not installed", hint="install bash, or use --sandbox e2b")
    if isolation and sys.platform != "linux":
        raise SandboxError(
            "the local sandbox needs bubblewrap, which exists only on Linux",
            hint=f"use --sandbox e2b, {_NO_ISOLATION}",
        )
    if isolation and not shutil.which("bwrap"):
        raise SandboxError("bubblewrap is not installed", hint=_INSTALL)


def start_error(log: str) -> SandboxError:
    """What bubblewrap's own output means on this machine, and what to do."""
    reason = (log.splitlines() or ["it gave no reason"])[-1]
    matches = (hint for setting, value, hint in _KERNEL_HINTS if _kernel_setting(setting) == value)
    hint = next(matches, _CONTAINER_HINT)
    return SandboxError(f"bubblewrap could not make a sandbox: {reason}", hint=f"{hint}, {_NO_ISOLATION}")


def _kernel_setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _options(view: MountView, binds: list[tuple[str, str, str]]) -> list[str]:
    uid = "0" if view.root else "1000"
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    options += ["--uid", uid, "--gid", uid, "--hostname", "sandbox", "--ro-bind", "/usr", "/usr"]
    etc = list(_ETC)
    if view.network:
        options.append("--share-net")
        etc.append("resolv.conf")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--ro-bind-try", "/nix/store", "/nix/store", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]
    for pattern in etc:
        for path in sorted(Path("/etc").glob(pattern)):
            options += ["--ro-bind-try", str(path), str(path)]
    options += ["--symlink", "/run", "/var/run"]
    if not view.root:
        options += ["--tmpfs", ROOT_HOME]
    for bind in binds:
        options += bind
    if not view.root:
        options += ["--remount-ro", ROOT_HOME]
    return [*options, "--remount-ro", "/", "--chdir", "/"]


def _private_binds(view: MountView) -> Iterator[tuple[str, str, str]]:
    private = view.private
    hosts = "hosts-open" if view.network else "hosts"
    yield "--bind", str(private / "home"), HOME
    yield "--bind", str(private / "tmp"), "/tmp"  # noqa: S108 (that of the sandbox)
    yield "--bind", str(private / "var-tmp"), "/var/tmp"  # noqa: S108
    if view.root:
        yield "--bind", str(private / "root"), ROOT_HOME
    yield "--ro-bind", str(private / "etc" / "passwd"), "/etc/passwd"
    yield "--ro-bind", str(private / "etc" / "group"), "/etc/group"
    yield "--ro-bind", str(private / "etc" / hosts), "/etc/hosts"
    yield "--ro-bind", str(private / "supervisor"), SUPERVISOR
    if not _python_is_system():
        # Not the whole prefix: with ~/.local as prefix that would show keyrings.
        for part in ("bin", "lib", "lib64", "include"):
            path = Path(sys.base_prefix, part)
            if path.is_dir():
                yield "--ro-bind", str(path), str(path)


def _python_is_system() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _memory_file(options: list[str]) -> int:
    file = os.memfd_create("options")
    with open(file, "wb", closefd=False) as stream:
        stream.write(b"".join(os.fsencode(option) + b"\0" for option in options))
    os.lseek(file, 0, os.SEEK_SET)
    return file
