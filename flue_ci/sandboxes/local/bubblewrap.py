"""What a local sandbox sees of the host: bubblewrap's mounts and namespaces. Nothing is visible that is not named here.

No value ever stands on a command line, which every user of the host can read.
"""

import marshal
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.resources import files
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import IO

from flue_ci.core.errors import SandboxError
from flue_ci.sandboxes.local import bounds, network, supervisor

HOME = "/home/user"
ROOT_HOME = "/root"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SUPERVISOR = "/run/flue-ci/supervisor"

# As the real root we become this user first. Without that the sandbox's user is root to the kernel: it could write
# /proc/sys/kernel/core_pattern and change the modes of the host's device files, whatever namespaces it is in.
# 65533 is in the range that the UAPI group's and Debian's lists of user ids leave unused.
SANDBOX_UID = 65_533

_NO_ISOLATION = "or run commands unprotected with --no-isolation"
_INSTALL = "install bubblewrap (apt install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap), "

# Of /etc only what programs need to work. Left out on purpose: private keys, and configuration of package managers and
# git, which often holds tokens.
_ETC = """
    alternatives ca-certificates ca-certificates.conf crypto-policies debian_version fonts java* ld.so.cache ld.so.conf
    ld.so.conf.d localtime mime.types nsswitch.conf os-release perl pki/ca-trust pki/java pki/tls/cert.pem pki/tls/certs
    protocols python3* redhat-release services ssl/cert.pem ssl/certs ssl/openssl.cnf timezone
""".split()  # noqa: SIM905 (one a line would hide the rest of the module)
_PASSWD = f"root:x:0:0::{ROOT_HOME}:/bin/bash\nuser:x:1000:1000::{HOME}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"
_MEMORY_FILE_SYSTEMS = {"/run": 256 << 20, "/dev/shm": 1 << 30}  # bytes  # noqa: S108 (that of the sandbox)
_LOCAL_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountView:
    """What a user sees: `private` is the sandbox's directory on the host. Root also sees root's files, as uid 0.

    `features` are what not every bubblewrap, kernel and machine can do, see `features.Features`.
    """

    private: Path
    network: bool
    root: bool = False
    features: frozenset[str] = frozenset()

    @property
    def has_own_network(self) -> bool:
        """An open network that is not the machine's."""
        return self.network and "network" in self.features


def sandbox_uid() -> int | None:
    """The user of the host that owns the sandbox's files and processes; None: the one who runs us."""
    return SANDBOX_UID if os.geteuid() == 0 else None


def _interpreter() -> Path:
    """The Python that runs us, as seen from inside (it is bound there at its own path)."""
    exact = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return exact if exact.exists() else Path(sys.executable).resolve()


def path_variable() -> str:
    """The system's programs first, then those of a Python that is not the system's."""
    return SYSTEM_PATH if _python_is_system() else f"{SYSTEM_PATH}:{sys.base_prefix}/bin"


def prepare(private: Path) -> None:
    """Write what the sandbox sees in place of the host's files, and the supervisor. All users inside may read it."""
    etc = private / "etc"
    (etc / "passwd").write_text(_PASSWD)
    (etc / "group").write_text(_GROUP)
    (etc / "hosts").write_text(_LOCAL_HOSTS)
    (etc / "hosts-open").write_text(_LOCAL_HOSTS + _text(Path("/etc/hosts")))
    (etc / "resolv.conf").write_text(network.RESOLV_CONF)
    # Compiled, which saves the parsing on every start. The loader takes the cached form only when it fits the source.
    code = SourceFileLoader(supervisor.__name__, supervisor.__file__).get_code(supervisor.__name__)
    (private / "supervisor").write_bytes(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
    for file in (private / "supervisor", *etc.iterdir()):
        file.chmod(0o644)  # our umask may be stricter
    shutil.copyfile("/bin/bash", private / "bash")
    (private / "bash").chmod(0o111)  # see `supervisor.UNREADABLE_SHELL`


def start_supervisor(
    view: MountView, seconds: float, control: int, log: IO[bytes], *, isolation: bool
) -> subprocess.Popen[bytes]:
    """Start it as the first process of a new sandbox, or beside it without isolation; it ends itself after `seconds`.

    Raises `SandboxError` when bubblewrap is not installed; that it refuses shows only in the exit code and in `log`.
    """
    path, mode = (_SUPERVISOR, "isolated") if isolation else (str(view.private / "supervisor"), "plain")
    with ExitStack() as cleanup:
        wrapper, options = _wrapper(view, cleanup) if isolation else ([], [])
        if "memory" in view.features:
            wrapper = [*bounds.wrapper(view.private.name), *wrapper]
        return subprocess.Popen(
            [*wrapper, _interpreter(), "-I", "-S", path, mode, str(max(seconds, 0.0))],
            stdin=control,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={},
            cwd="/",
            pass_fds=options,
            start_new_session=True,  # Ctrl-C is for us: we still have work to do in the sandbox
        )


def _wrapper(view: MountView, cleanup: ExitStack) -> tuple[list[str], list[int]]:
    """The command line that goes before a program in the sandbox, and the memory files that bubblewrap's options travel
    in."""
    bwrap = _program("bwrap", "bubblewrap", _INSTALL + _NO_ISOLATION)
    binds = list(_private_binds(view))
    options: list[int] = []

    def bubblewrap(arguments: list[str]) -> list[str]:
        file = cleanup.enter_context(os.fdopen(os.memfd_create("options"), "wb", buffering=0))
        file.write(b"".join(os.fsencode(argument) + b"\0" for argument in arguments))
        file.seek(0)
        options.append(file.fileno())
        return [bwrap, "--args", str(file.fileno()), "--"]

    command: list[str] = []
    if sandbox_uid() is not None:
        setpriv = _program("setpriv", "setpriv (util-linux)", "install it, or do not run as root")
        # Sources may lie where only root gets (a Python in /root): an outer mount namespace makes them reachable.
        outer = ["--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/tmp"]  # noqa: S108 (its own)
        for number, (kind, source, target) in enumerate(binds):
            outer += [kind, source, f"/tmp/{number}"]  # noqa: S108
            binds[number] = (kind, f"/tmp/{number}", target)  # noqa: S108
        if view.has_own_network:
            outer += network.device_for(SANDBOX_UID, view.private)
        user = [f"--reuid={SANDBOX_UID}", f"--regid={SANDBOX_UID}", "--clear-groups", "--inh-caps=-all"]
        command = [*bubblewrap(outer), setpriv, *user]
    inner = _options(view, binds)
    if view.has_own_network:
        return [*command, *network.wrapper(), bwrap, *inner, "--"], options  # pasta closes the files of others
    return [*command, *bubblewrap(inner)], options


def _program(name: str, package: str, hint: str) -> str:
    path = shutil.which(name)
    if not path:
        raise SandboxError(f"{package} is not installed", hint=hint)
    return path


def check_host(*, isolation: bool) -> None:
    """Raise `SandboxError` for what this machine lacks. Whether the kernel allows it shows at the start."""
    if not Path("/bin/bash").exists():
        raise SandboxError("/bin/bash is not installed", hint="install bash, or use --sandbox e2b")
    if isolation and sys.platform != "linux":
        hint = f"use --sandbox e2b, {_NO_ISOLATION}"
        raise SandboxError("the local sandbox needs bubblewrap, which exists only on Linux", hint=hint)
    if isolation:
        _program("bwrap", "bubblewrap", _INSTALL + _NO_ISOLATION)


def start_error(log: str) -> SandboxError:
    """What bubblewrap's own output means on this machine, and what to do."""
    reason = (log.splitlines() or ["it gave no reason"])[-1]
    hints = tomllib.loads((files("flue_ci.sandboxes.local") / "kernel_hints.toml").read_text("utf-8"))
    matches = (each["hint"] for each in hints["setting"] if _text(Path(each["file"])).strip() == each["value"])
    hint = next(matches, hints["otherwise"])
    return SandboxError(f"bubblewrap could not make a sandbox: {reason}", hint=f"{hint}, {_NO_ISOLATION}")


def _text(path: Path) -> str:
    """The text of a file of the host; empty when there is none, or we may not read it."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _options(view: MountView, binds: list[tuple[str, str, str]]) -> list[str]:
    uid = "0" if view.root else "1000"
    options = [
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--cap-drop",
        "ALL",
    ]
    options += ["--uid", uid, "--gid", uid, "--hostname", "sandbox", "--ro-bind", "/usr", "/usr"]
    etc = list(_ETC)
    if view.network:
        options.append("--share-net")
    if view.network and not view.has_own_network:
        etc.append("resolv.conf")
    options += _program_directories()
    options += ["--ro-bind-try", "/nix/store", "/nix/store", "--proc", "/proc", "--dev", "/dev"]
    is_hardened = "hardened" in view.features
    if is_hardened:
        options.append("--disable-userns")
    for path, size in _MEMORY_FILE_SYSTEMS.items():
        if is_hardened:
            options += ["--size", str(size)]
        options += ["--tmpfs", path]
    for pattern in etc:
        for file in sorted(Path("/etc").glob(pattern)):
            options += ["--ro-bind-try", str(file), str(file)]
    options += ["--symlink", "/run", "/var/run"]
    if not view.root:
        options += ["--tmpfs", ROOT_HOME]
    for bind in binds:
        options += bind
    if not view.root:
        options += ["--remount-ro", ROOT_HOME]
    return [*options, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _program_directories() -> Iterator[str]:
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        directory = Path("/", name)
        if directory.is_symlink():
            yield from ("--symlink", str(directory.readlink()), str(directory))
        elif directory.is_dir():
            yield from ("--ro-bind", str(directory), str(directory))


def _private_binds(view: MountView) -> Iterator[tuple[str, str, str]]:
    private = view.private
    hosts = "hosts"
    if view.has_own_network:
        yield "--ro-bind", str(private / "etc" / "resolv.conf"), "/etc/resolv.conf"
    elif view.network:
        hosts = "hosts-open"
    yield "--bind", str(private / "home"), HOME
    yield "--bind", str(private / "tmp"), "/tmp"  # noqa: S108 (that of the sandbox)
    yield "--bind", str(private / "var-tmp"), "/var/tmp"  # noqa: S108
    if view.root:
        yield "--bind", str(private / "root"), ROOT_HOME
    yield "--ro-bind", str(private / "etc" / "passwd"), "/etc/passwd"
    yield "--ro-bind", str(private / "etc" / "group"), "/etc/group"
    yield "--ro-bind", str(private / "etc" / hosts), "/etc/hosts"
    yield "--ro-bind", str(private / "supervisor"), _SUPERVISOR
    yield "--ro-bind", str(private / "bash"), os.fsdecode(supervisor.UNREADABLE_SHELL)
    if not _python_is_system():
        # Not the whole prefix: with ~/.local as prefix that would show keyrings.
        for part in ("bin", "lib", "lib64", "include"):
            path = Path(sys.base_prefix, part)
            if path.is_dir():
                yield "--ro-bind", str(path), str(path)


def _python_is_system() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")
