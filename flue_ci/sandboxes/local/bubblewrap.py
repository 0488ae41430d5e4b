"""What a local sandbox sees of the host: bubblewrap's mounts and namespaces. Nothing is visible that is not named here.

No value ever stands on a command line, where everybody could read it.
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from flue_ci.core.errors import SandboxError
from flue_ci.sandboxes.local import state as leftovers
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
NOBODY_ELSE = 65_533

INSTALL = (
    "install bubblewrap (apt install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap), "
    "or run commands unprotected with --no-isolation"
)
_NO_ISOLATION = "or run commands unprotected with --no-isolation"

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
    """Who looks at what: `private` is the sandbox's directory on the host. Root also sees root's files, as uid 0."""

    private: Path
    network: bool
    root: bool = False


def is_real_root() -> bool:
    return os.geteuid() == 0


def interpreter() -> str:
    """The Python that runs us, as seen from inside (it is bound there at its own path)."""
    exact = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return str(exact if exact.exists() else Path(sys.executable).resolve())


def path_variable() -> str:
    """The system's programs first, then those of a Python that is not the system's."""
    return SYSTEM_PATH if _python_is_system() else f"{SYSTEM_PATH}:{sys.base_prefix}/bin"


def prepare(private: Path) -> None:
    """Write what the sandbox sees in place of the host's files, and the supervisor. Everybody inside may read it."""
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
        file.chmod(0o644)  # whatever our umask is


def start_jailed(
    view: MountView, program: list[str], *, stdin: IO[bytes] | int, stderr: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    """Start `program` as the first process of a new sandbox. Options travel in memory files, never on a command line.

    Raises `SandboxError` when bubblewrap is not there; that it refuses shows only in the exit code and on `stderr`.
    """
    if not (bwrap := shutil.which("bwrap")):
        raise SandboxError("bubblewrap is not installed", hint=INSTALL)
    binds = list(_private_binds(view))
    options: list[int] = []
    try:
        command = ["--", *program]
        if is_real_root():
            if not (setpriv := shutil.which("setpriv")):
                raise SandboxError("setpriv (util-linux) is not installed", hint="install it, or do not run as root")
            # Sources may lie where only root gets (a Python in /root): an outer mount namespace makes them reachable.
            outer = ["--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/tmp"]  # noqa: S108 (its own)
            staged = []
            for number, (kind, source, target) in enumerate(binds):
                outer += [kind, source, f"/tmp/{number}"]  # noqa: S108
                staged.append((kind, f"/tmp/{number}", target))  # noqa: S108
            options += [_memory_file(outer), _memory_file(_options(view, staged))]
            drop = [setpriv, f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", "--clear-groups", "--inh-caps=-all"]
            command = [bwrap, "--args", str(options[0]), "--", *drop, bwrap, "--args", str(options[1]), *command]
        else:
            options.append(_memory_file(_options(view, binds)))
            command = [bwrap, "--args", str(options[0]), *command]
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
    finally:
        for option in options:
            os.close(option)


def diagnose() -> tuple[bool, str, str]:
    """Try a sandbox that does nothing: (works, what was found, what to do)."""
    if sys.platform != "linux":
        return False, "bubblewrap exists only on Linux", "use --sandbox e2b, " + _NO_ISOLATION
    if not Path("/bin/bash").exists():
        return False, "/bin/bash is not installed", "install bash"
    private = leftovers.create(None, NOBODY_ELSE if is_real_root() else None)
    try:
        prepare(private)
        with tempfile.TemporaryFile() as log:
            true = [interpreter(), "-I", "-S", "-c", "pass"]
            with start_jailed(
                MountView(private=private, network=False), true, stdin=subprocess.DEVNULL, stderr=log
            ) as process:
                code = process.wait(timeout=20)
            log.seek(0)
            said = log.read(10_000).decode(errors="replace").strip()
        return (True, "bubblewrap works", "") if code == 0 else (False, *explain(said))
    except subprocess.TimeoutExpired:
        return False, "bubblewrap does not answer", _NO_ISOLATION.removeprefix("or ")
    except SandboxError as error:
        return False, str(error), error.hint
    finally:
        leftovers.remove(private, seconds=5)


def explain(said: str) -> tuple[str, str]:
    """What bubblewrap's own words mean on this machine: (what happened, what to do)."""
    what = f"bubblewrap could not make a sandbox: {said.splitlines()[-1] if said else 'it gave no reason'}"
    if _kernel_setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return what, (
            "AppArmor keeps users from making user namespaces: add an AppArmor profile for bwrap that allows `userns` "
            "(https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces), "
            f"or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, {_NO_ISOLATION}"
        )
    if _kernel_setting("kernel/unprivileged_userns_clone") == "0":
        return what, f"sudo sysctl -w kernel.unprivileged_userns_clone=1, {_NO_ISOLATION}"
    if _kernel_setting("user/max_user_namespaces") == "0":
        return what, f"sudo sysctl -w user.max_user_namespaces=10000, {_NO_ISOLATION}"
    return what, (
        "in a container bubblewrap needs user namespaces and mounts, for example docker run --cap-add SYS_ADMIN "
        f"--security-opt seccomp=unconfined --security-opt systempaths=unconfined, {_NO_ISOLATION}"
    )


def _kernel_setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _options(view: MountView, binds: list[tuple[str, str, str]]) -> list[str]:
    uid = "0" if view.root else "1000"
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    options += ["--uid", uid, "--gid", uid, "--hostname", "sandbox", *(["--share-net"] if view.network else [])]
    options += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--ro-bind-try", "/nix/store", "/nix/store", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]
    for pattern in [*_ETC, *(["resolv.conf"] if view.network else [])]:
        for path in sorted(Path("/etc").glob(pattern)):
            options += ["--ro-bind-try", str(path), str(path)]
    options += ["--symlink", "/run", "/var/run", *([] if view.root else ["--tmpfs", ROOT_HOME])]
    for bind in binds:
        options += bind
    options += [*([] if view.root else ["--remount-ro", ROOT_HOME]), "--remount-ro", "/", "--chdir", "/"]
    return options


def _private_binds(view: MountView) -> Iterator[tuple[str, str, str]]:
    private = view.private
    yield "--bind", str(private / "home"), HOME
    yield "--bind", str(private / "tmp"), "/tmp"  # noqa: S108 (that of the sandbox)
    yield "--bind", str(private / "var-tmp"), "/var/tmp"  # noqa: S108
    if view.root:
        yield "--bind", str(private / "root"), ROOT_HOME
    yield "--ro-bind", str(private / "etc" / "passwd"), "/etc/passwd"
    yield "--ro-bind", str(private / "etc" / "group"), "/etc/group"
    yield "--ro-bind", str(private / "etc" / ("hosts-open" if view.network else "hosts")), "/etc/hosts"
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
