"""Parse HOST:PORT and bind the socket before any other work starts."""

import errno
import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from mmpnet.contract.errors import OutputError

SEND_BUFFER_BYTES = 256 * 1024
"""The kernel's buffer per client, so that a slow client lags by this many bytes, not by megabytes."""
_EVERY_HOST = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
"""The names for all addresses of this machine, and an address of documentation (RFC 5737, RFC 3849) elsewhere."""
_ADVICE = {
    errno.EADDRINUSE: "another program uses this port; choose another port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "this machine lacks this address; use 127.0.0.1 for local access, or 0.0.0.0 for networks",
    errno.EACCES: "no permission; choose a port from 1024 on",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number and without brackets, and a port; port 0 means any free one."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def phone_url(address: Address, token: str | None) -> str | None:
    """The address that other devices of the network open, with the token; None if only this machine is served.

    For all addresses of this machine (0.0.0.0), it is the one that this machine has towards its router.
    """
    if is_loopback(address.host):
        return None
    host = address.host
    if host in _EVERY_HOST:
        family, elsewhere = _EVERY_HOST[host]
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((elsewhere, 9))  # sends nothing: it only chooses a route
            host = asking.getsockname()[0]
    query = "" if token is None else f"?{urlencode({'token': token})}"
    return f"{Address(host, address.port).url}{query}"


def parse_address(text: str) -> Address:
    """Parse `127.0.0.1:8080`, `[::1]:8080` or `localhost:0`.

    Raises: OutputError for anything else.
    """
    host, _, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or (":" in host) != bracketed or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise OutputError(f"--serve {text}: expected HOST:PORT, such as 127.0.0.1:8080, with a port up to 65535")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether the host is certainly this machine; a name that needs a look-up could be any."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(address: Address) -> socket.socket:
    """Open a listening socket.

    Raises: OutputError if the port is in use, or the address is not one of this machine.
    """
    # `localhost` is resolved here, as a look-up could give another address.
    host = "127.0.0.1" if address.host.lower() == "localhost" else address.host
    try:
        family = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server((host, address.port), family=family, dualstack_ipv6=both)
    except UnicodeError as error:  # a name that cannot be looked up, such as `a..b`
        raise OutputError(
            f"--serve {address.host}:{address.port}: {address.host!r} is not a host name; expected HOST:PORT"
        ) from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, error.strerror or "cannot listen there")
        raise OutputError(f"--serve {address.host}:{address.port}: {advice}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listening
