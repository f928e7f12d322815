"""Watch an interpreter and its children: the kernel asks before each connection, and writes elsewhere are recorded.

Python loads this file at start from PYTHONPATH. A filter in the kernel also covers libraries in C++, and programs that
are not Python. tests/support/connection_watch.py answers the kernel's questions.
"""

import ctypes
import os
import platform
import queue
import socket
import struct
import sys
import threading
from pathlib import Path

ALLOWED = tuple(os.environ["WATCHED_FOLDERS"].split(os.pathsep))
"""Folders in which writing is allowed."""
RECORD = os.environ["WATCHED_RECORD"]
"""File that lists other files that were opened for writing, one per line."""
CONNECT, SEND_TO, SEND_MESSAGE, SEND_MESSAGES, FILTER = {
    "x86_64": (42, 44, 46, 307, 317),
    "aarch64": (203, 206, 211, 269, 277),
}[platform.machine()]
IO_URING_SETUP = 425
"""It could connect past the filter; libraries do without where the kernel does not have it."""
ASK, ALLOW, NOT_THERE = 0x7FC00000, 0x7FFF0000, 0x00050000 | 38
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ADDRESS_OF_SEND_TO = 48
"""Offset of the fifth argument in the kernel's description of a call."""
PR_SET_NO_NEW_PRIVS, SET_FILTER, NEW_LISTENER = 38, 1, 8


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def hold_up_connections() -> int:
    """Make the kernel hold up each call of this thread and its children that names an address; return where it asks."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),  # the number of the system call
            (JUMP_IF_EQUAL, 9, 0, CONNECT),
            (JUMP_IF_EQUAL, 8, 0, SEND_MESSAGE),
            (JUMP_IF_EQUAL, 7, 0, SEND_MESSAGES),
            (JUMP_IF_EQUAL, 7, 0, IO_URING_SETUP),
            (JUMP_IF_EQUAL, 0, 4, SEND_TO),
            (LOAD, 0, 0, ADDRESS_OF_SEND_TO),
            (JUMP_IF_EQUAL, 0, 3, 0),
            (LOAD, 0, 0, ADDRESS_OF_SEND_TO + 4),
            (JUMP_IF_EQUAL, 0, 1, 0),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, ASK),
            (RETURN, 0, 0, NOT_THERE),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = _Program(len(program) // 8, program)
    listener = -1
    if not libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        listener = libc.syscall(FILTER, SET_FILTER, NEW_LISTENER, ctypes.byref(wanted))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses the filter")
    return int(listener)


def hand_over(descriptor: int) -> None:
    """Watch this process, and send the listener to the process that judges; the children inherit the filter."""
    listeners: queue.Queue[int] = queue.Queue()

    def send() -> None:  # in a thread from before the filter, as the filter would hold up this call too
        with socket.socket(fileno=descriptor) as judge:
            socket.send_fds(judge, [b"x"], [listeners.get()])

    sender = threading.Thread(target=send)
    sender.start()
    listener = hold_up_connections()
    listeners.put(listener)
    sender.join()
    os.close(listener)


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
if _judge := os.environ.pop("WATCHED_SOCKET", None):
    hand_over(int(_judge))
sys.addaudithook(record_writes)
