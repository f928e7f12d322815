"""A TCP server that sends the bytes of a file to each client, in about the time that the video takes."""

import socket
import threading
import time
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 7 * 188
"""Packets of MPEG transport streams have 188 bytes."""


class ByteServer:
    """Serves one file at `url`, again for each client, until the block ends."""

    def __init__(self, path: Path, *, lasts_s: float) -> None:
        self._content = path.read_bytes()
        self._lasts_s = lasts_s
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "ByteServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._send, args=(client,), daemon=True).start()

    def _send(self, client: socket.socket) -> None:
        began_s = time.monotonic()
        try:
            for start in range(0, len(self._content), _CHUNK_BYTES):
                due_s = began_s + self._lasts_s * start / len(self._content)
                time.sleep(max(due_s - time.monotonic(), 0))
                client.sendall(self._content[start : start + _CHUNK_BYTES])
        except OSError:  # the client has left
            pass
        finally:
            client.close()
