"""Talk to systemd: readiness, watchdog and status (sd_notify), and whether stderr goes to its journal.

The protocol is one datagram to the socket in NOTIFY_SOCKET; see `man sd_notify`. Without a service manager nothing
happens.
"""

import os
import socket
import sys
from collections.abc import Mapping

MILLION = 1_000_000


def notify(*states: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send states such as `READY=1` to the service manager. Returns False if there is none, or it does not listen."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):  # an abstract name, which begins with a zero byte
        address = "\0" + address[1:]
    message = "\n".join(state.replace("\n", " ") for state in states)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sending:
            # A manager that is busy must not delay a frame.
            sending.setblocking(False)
            sending.sendto(message.encode(), address)
    except OSError:
        return False
    return True


def is_managed(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a service manager started this process: it then gets the readiness, and SIGHUP means to reload."""
    return bool(environment.get("NOTIFY_SOCKET"))


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which the service manager expects a sign of life; None if it does not watch this process."""
    text, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (process and process != str(os.getpid())):
        return None
    return int(text) / MILLION


def stderr_is_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr is connected to the journal, which adds the time of each line itself."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if not device.isdecimal() or not inode.isdecimal() or sys.stderr is None:
        return False
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (stream.st_dev, stream.st_ino) == (int(device), int(inode))
