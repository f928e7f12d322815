"""A web server that receives webhooks, and that can fail, hang, and be away."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


class WebhookServer:
    """Answers each POST with the status that `answer` gives for its number, from 0; None hangs until `release`."""

    def __init__(self, answer: Callable[[int], int | None] = lambda _: 204, *, port: int = 0) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.release = threading.Event()
        self._changed = threading.Condition()
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.take(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._changed:
            status = self.answer(len(self.requests))
            self.requests.append(({name.lower(): value for name, value in handler.headers.items()}, body))
            self._changed.notify_all()
        if status is None:
            self.release.wait(60)
            return
        handler.send_response(status)
        if status == 302:
            handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """The bodies, once there are `count` requests."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, 30), f"{len(self.requests)} requests"
            return [msgspec.json.decode(body) for _, body in self.requests]

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
