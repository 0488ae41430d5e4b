"""The system calls that nothing in the local sandbox may make, as a program for the kernel's filter (classic BPF).

Denied is what no build needs and where the kernel had its holes. A debugger's calls stay (ptrace, process_vm_readv).
"""

import errno
import os
import struct
import sys

# By name: the number on x86-64 and on aarch64, 0 where there is none. Source: the kernel's syscall tables.
_DENIED = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "iopl": (172, 0),
    "ioperm": (173, 0),
    "uselib": (134, 0),
    "fanotify_init": (300, 262),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
}
# Numbers of clone, unshare, clone3 and socket, which are denied for some arguments only.
_CONDITIONAL = ((56, 272, 435, 41), (220, 97, 435, 198))
_CLONE_NEWUSER = 0x1000_0000
_X32 = 0x4000_0000  # the bit of a second table of calls on x86-64
# Unix, IPv4, IPv6, netlink. Others reach past the namespaces (VSOCK: the hypervisor), or are rarely used kernel code.
_SOCKET_FAMILIES = (1, 2, 10, 16)
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

_ALLOW, _KILL, _ERROR = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in `struct seccomp_data`, little endian


def filter_program() -> bytes:
    """`struct sock_filter`s; empty on a machine of another architecture, or for a Python of 32 bits.

    Denied calls fail with EPERM. Exceptions: ENOSYS for clone3, whose flags a filter cannot see (C libraries then use
    clone), and the end of the process for calls of another architecture (32-bit programs).
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or sys.maxsize < 1 << 32:
        return b""
    column = tuple(_ARCHITECTURES).index(machine)
    clone, unshare, clone3, socket = _CONDITIONAL[column]
    denied = _result(_ERROR | errno.EPERM)
    skip_next = _instruction(_EQUAL, _ARCHITECTURES[machine], if_true=1)
    program = _load(_ARCHITECTURE) + skip_next + _result(_KILL) + _load(_NUMBER)
    if column == 0:
        program += _when(_AT_LEAST, _X32, denied)
    for numbers in _DENIED.values():
        if number := numbers[column]:
            program += _when(_EQUAL, number, denied)
    program += _when(_EQUAL, clone3, _result(_ERROR | errno.ENOSYS))
    new_user = _load(_FIRST_ARGUMENT) + _when(_ANY_BIT, _CLONE_NEWUSER, denied) + _result(_ALLOW)
    program += _when(_EQUAL, clone, new_user) + _when(_EQUAL, unshare, new_user)
    families = b"".join(_when(_EQUAL, family, _result(_ALLOW)) for family in _SOCKET_FAMILIES)
    other = _result(_ERROR | errno.EAFNOSUPPORT)
    return program + _when(_EQUAL, socket, _load(_FIRST_ARGUMENT) + families + other) + _result(_ALLOW)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, offset)


def _result(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _when(test: int, operand: int, then: bytes) -> bytes:
    return _instruction(test, operand, if_false=len(then) // 8) + then
