"""Ports of servers that tests start."""

import os
import random
import socket

LOWEST, PER_WORKER, WORKERS = 12_000, 1_000, 20
"""Below the ports that Linux gives to outgoing connections (32768 to 60999): one of those could take a port between
its choice and the start of its server."""

_DRAWN = random.Random(os.getpid())


def free_port() -> int:
    """A port that nobody listens at; other test processes of this run get other ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    while True:
        port = LOWEST + worker * PER_WORKER + _DRAWN.randrange(PER_WORKER)
        with socket.socket() as probe:
            # Without this, a port whose last connection has just ended counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
