"""An HTTP server in its own thread, which stops with the run."""

import asyncio
import contextlib
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.web.connections import BACKLOG, QUEUED, GuardedConnection, quiet_without_descriptors

GRACE_S = 0.3
"""How long a stream may take to end before its connection is closed."""
START_S, STOP_S = 10.0, 2.0


class ServerThread:
    """Serves the app on a listening socket until `close`. Raises: OutputError if it cannot start."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=GuardedConnection,
            backlog=BACKLOG,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",  # lower levels log a line for each malformed request
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, args=(listening,), name="serve", daemon=True)
        self._thread.start()
        until_s = time.perf_counter() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.perf_counter() > until_s:
                raise OutputError("--serve: the server did not start; see the lines above")
            time.sleep(0.005)
        listening.listen(QUEUED)  # asyncio has set it to the number of connections that it accepts at once

    def close(self) -> None:
        """Stop listening, let responses end, and close connections that do not."""
        self._server.should_exit = True
        self._thread.join(STOP_S)

    def _run(self, listening: socket.socket) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn raises it if it does not start
            asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(quiet_without_descriptors)
        await self._server.serve([listening])


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close connections of clients that do not read, as the shutdown would wait for them."""
        until_s = time.perf_counter() + GRACE_S
        while self.server_state.tasks and time.perf_counter() < until_s:
            await asyncio.sleep(0.01)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)
