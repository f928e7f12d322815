"""Watch an interpreter and its children: the kernel kills them if they connect, and writes elsewhere are recorded.

Python loads this file at start from PYTHONPATH. A filter in the kernel also covers libraries in C++.
"""

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

ALLOWED = tuple(os.environ["WATCHED_FOLDERS"].split(os.pathsep))
"""Folders in which writing is allowed."""
RECORD = os.environ["WATCHED_RECORD"]
"""File that lists other files that were opened for writing, one per line."""
CONNECT = {"x86_64": 42, "aarch64": 203}[platform.machine()]
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_connections() -> None:
    """Make the kernel kill this process and its children with SIGSYS at the first connect()."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),  # the number of the system call
            (JUMP_IF_EQUAL, 0, 1, CONNECT),
            (RETURN, 0, 0, KILL_PROCESS),
            (RETURN, 0, 0, ALLOW),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = _Program(len(program) // 8, program)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refuses the filter")


def record_writes(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: record files outside the allowed folders that are opened for writing or made."""
    path = arguments[0] if arguments else None
    if event == "open" and isinstance(flags := arguments[2], int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        pass
    elif event not in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        return
    if isinstance(path, (str, bytes)) and not _is_allowed(Path(os.fsdecode(path)).absolute().as_posix()):
        descriptor = os.dup(_record)
        os.write(descriptor, f"{event} {os.fsdecode(path)}\n".encode())
        os.close(descriptor)


def _is_allowed(path: str) -> bool:
    return path.startswith((*ALLOWED, "/dev/", "/proc/"))


_record = os.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
forbid_connections()
sys.addaudithook(record_writes)
