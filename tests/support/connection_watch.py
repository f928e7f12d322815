"""Decide about each connection of a watched process and its children, which the kernel holds up until then.

The other side is tests/privacy/watched/sitecustomize.py. Whatever is not permitted is recorded, and ends its process
with SIGSYS.
"""

import fcntl
import ipaddress
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CONNECT, SEND_TO, SEND_MESSAGE, SEND_MESSAGES = range(4)
SYSTEM_CALLS = {
    "x86_64": {42: CONNECT, 44: SEND_TO, 46: SEND_MESSAGE, 307: SEND_MESSAGES},
    "aarch64": {203: CONNECT, 206: SEND_TO, 211: SEND_MESSAGE, 269: SEND_MESSAGES},
}
"""By machine: the number of each system call that can name an address."""
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
REQUEST_BYTES = 80
CONTINUE = 1
MOST_ADDRESS_BYTES = 128
NAME_SERVICE = "/var/run/nscd/socket"
"""Asking for it fails as where there is none, so that libc resolves names in the process, where it is seen."""


def nothing(_address: str) -> bool:
    """Permit no address."""
    return False


def this_machine(folder: Path) -> Callable[[str], bool]:
    """Permit loopback addresses, and local sockets in a folder."""

    def permitted(address: str) -> bool:
        if address.startswith("/"):
            return Path(address).is_relative_to(folder)
        with suppress(ValueError):
            return ipaddress.ip_address(address).is_loopback
        return False

    return permitted


@dataclass
class ConnectionWatch:
    """Judge connections until all watched processes have ended.

    machine: as platform.machine() names it. permitted: takes an IP address, or the path of a local socket.
    """

    machine: str
    permitted: Callable[[str], bool]
    refused: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def start(self, listener: int) -> None:
        """Take over the descriptor on which the kernel asks."""
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def all_ended(self, timeout_s: float) -> bool:
        """Wait until the last watched process has ended; False if one still runs then."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            request = bytearray(REQUEST_BYTES)
            with suppress(FileNotFoundError):  # the process was killed meanwhile
                fcntl.ioctl(listener, RECEIVE, request)
                error = self._judge(request)
                identity = request[:8]
                fcntl.ioctl(listener, ANSWER, identity + struct.pack("qiI", 0, -error, 0 if error else CONTINUE))
        os.close(listener)

    def _judge(self, request: bytearray) -> int:
        """Return 0 to let the call through, otherwise its error."""
        _, process, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", request)
        try:
            addresses = _addresses(process, SYSTEM_CALLS[self.machine][number], arguments)
        except (OSError, struct.error) as error:
            addresses = [f"an address that cannot be read ({error})"]
        refused = [address for address in addresses if not self.permitted(address)]
        if not refused:
            return 0
        if refused == [NAME_SERVICE]:
            return 2  # ENOENT
        self.refused += refused
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSYS)
        return 1  # EPERM


def _addresses(process: int, call: int, arguments: list[int]) -> list[str]:
    """The addresses that a call names: none if it sends on a connection that was judged before."""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:

        def read(place: int, length: int) -> bytes:
            memory.seek(place)
            return memory.read(length)

        if call == CONNECT:
            places = [(arguments[1], arguments[2])]
        elif call == SEND_TO:
            places = [(arguments[4], arguments[5])]
        else:
            count = arguments[2] if call == SEND_MESSAGES else 1
            messages = (read(arguments[1] + 64 * number, 16) for number in range(count))
            places = [struct.unpack("QI4x", message) for message in messages]
        contents = [read(place, min(length, MOST_ADDRESS_BYTES)) for place, length in places if place and length]
    return [name for name in map(_name_of, contents) if name is not None]


def _name_of(content: bytes) -> str | None:
    """A socket address as text; None for one that reaches nobody: the kernel itself, or the end of a connection."""
    family = struct.unpack_from("H", content)[0]
    if family in (socket.AF_UNSPEC, socket.AF_NETLINK):
        return None
    if family == socket.AF_UNIX:
        return os.fsdecode(content[2:].partition(b"\0")[0])  # the rest is not set; abstract names begin with NUL
    if family == socket.AF_INET:
        return str(ipaddress.IPv4Address(content[4:8]))
    if family == socket.AF_INET6:
        address = ipaddress.IPv6Address(content[8:24])
        return str(address.ipv4_mapped or address)
    return f"an address of family {family}"
