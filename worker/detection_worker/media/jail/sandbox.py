"""Sandbox of a decoding child: rlimits, Landlock, seccomp, all closed before it reads a byte.

Effective on Linux only. Where the kernel lacks one of them, the others still hold.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
MAX_OPEN_FILES = 32

LANDLOCK_CREATE_RULESET = 444
LANDLOCK_RESTRICT_SELF = 446
# Every right of each version of Landlock (linux/landlock.h), keyed by the first version with it.
LANDLOCK_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
LANDLOCK_NET_SINCE = 4
LANDLOCK_NET_RIGHTS = 0b11

BPF_LOAD_WORD, BPF_RETURN = 0x20, 0x06
BPF_JUMP_EQUAL, BPF_JUMP_AT_LEAST, BPF_JUMP_ANY_BIT = 0x15, 0x35, 0x45
SECCOMP_ALLOW, SECCOMP_ERRNO = 0x7FFF0000, 0x00050000
# Offsets in struct seccomp_data (linux/seccomp.h), low word first.
SECCOMP_DATA_CALL, SECCOMP_DATA_ARCH, SECCOMP_DATA_FIRST_ARGUMENT = 0, 4, 16
X32_CALLS = 0x40000000
CLONE3 = 435
CLONE_THREAD = 0x00010000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """Numbers of system calls on one architecture.

    Attributes:
        arch: AUDIT_ARCH of linux/audit.h.
        clone: Number of ``clone``, allowed for threads only.
        forbidden: Calls that a decoder does not need: ptrace, fork, vfork, execve, socket,
            connect, bind, listen, process_vm_readv, process_vm_writev, execveat, bpf, userfaultfd,
            io_uring_setup, as far as the architecture has them.
    """

    arch: int
    clone: int
    forbidden: tuple[int, ...]


CALL_RULES = {
    "x86_64": CallRules(
        arch=0xC000003E,
        clone=56,
        forbidden=(101, 57, 58, 59, 41, 42, 49, 50, 310, 311, 322, 321, 323, 425),
    ),
    "aarch64": CallRules(
        arch=0xC00000B7,
        clone=220,
        forbidden=(117, 221, 198, 203, 200, 201, 270, 271, 281, 280, 282, 425),
    ),
}


def die_with(parent_pid: int) -> None:
    """Make the kernel kill this process when the thread that started it ends.

    Raises:
        SystemExit: The parent is gone already.
    """
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit(1)


def give_up_rights() -> tuple[str, ...]:
    """Give up the right to open files, sockets and programs; return which parts took effect.

    Call when every library is loaded: afterwards no file can be opened any more.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    libc = _libc()
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return ("rlimits",)
    granted = ["rlimits"]
    if _landlock(libc):
        granted.append("landlock")
    if _seccomp(libc):
        granted.append("seccomp")
    return tuple(granted)


def limit_memory(address_space_bytes: int) -> None:
    """Bound the address space; allocations beyond it fail with MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, hard))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _landlock(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    files = LANDLOCK_FILE_RIGHTS[max(v for v in LANDLOCK_FILE_RIGHTS if v <= version)]
    network = LANDLOCK_NET_RIGHTS if version >= LANDLOCK_NET_SINCE else 0
    rights = struct.pack("=QQ", files, network) if network else struct.pack("=Q", files)
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, rights, len(rights), 0)
    if ruleset < 0:
        return False
    # A ruleset without rules forbids all that it handles.
    restricted = bool(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    os.close(ruleset)
    return restricted


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _filter_program(rules: CallRules) -> bytes:
    """Classic BPF: jumps count the instructions that they skip."""
    n = len(rules.forbidden)
    allow, eperm, enosys = 8 + n, 9 + n, 10 + n
    calls = enumerate(rules.forbidden, start=4)
    program = [
        _instruction(BPF_LOAD_WORD, SECCOMP_DATA_ARCH),
        _instruction(BPF_JUMP_EQUAL, rules.arch, 0, eperm - 2),
        _instruction(BPF_LOAD_WORD, SECCOMP_DATA_CALL),
        _instruction(BPF_JUMP_AT_LEAST, X32_CALLS, eperm - 4),
        *(_instruction(BPF_JUMP_EQUAL, call, eperm - at - 1) for at, call in calls),
        # The C library then falls back to clone, whose flags a filter can see.
        _instruction(BPF_JUMP_EQUAL, CLONE3, enosys - (4 + n) - 1),
        _instruction(BPF_JUMP_EQUAL, rules.clone, 0, allow - (5 + n) - 1),
        _instruction(BPF_LOAD_WORD, SECCOMP_DATA_FIRST_ARGUMENT),
        _instruction(BPF_JUMP_ANY_BIT, CLONE_THREAD, 0, 1),
        _instruction(BPF_RETURN, SECCOMP_ALLOW),
        _instruction(BPF_RETURN, SECCOMP_ERRNO | errno.EPERM),
        _instruction(BPF_RETURN, SECCOMP_ERRNO | errno.ENOSYS),
    ]
    return b"".join(program)


def _seccomp(libc: ctypes.CDLL) -> bool:
    known = CALL_RULES.get(platform.machine())
    if known is None or struct.calcsize("P") != 8:
        return False
    program = ctypes.create_string_buffer(_filter_program(known))
    length = (ctypes.sizeof(program) - 1) // 8
    header = struct.pack("=HxxxxxxQ", length, ctypes.addressof(program))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0)
