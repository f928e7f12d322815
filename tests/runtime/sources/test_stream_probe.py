"""The reason why a stream does not open is the one that its server gives."""

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from mmpnet.runtime.sources import stream_probe
from mmpnet.runtime.sources.stream_probe import accepts_connections, why_no_stream


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path: /STATUS, or /type/CONTENT-TYPE."""

    BODY: ClassVar[bytes] = b"--frame\r\nContent-Type: image/jpg\r\nContent-Length: 3\r\n\r\nabc"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/type/"):
            self.send_response(200)
            self.send_header("Content-Type", self.path.removeprefix("/type/"))
            self.end_headers()
            self.wfile.write(self.BODY)
            return
        self.send_response(int(self.path.strip("/")))
        if self.path == "/401":
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.end_headers()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("login", "path", "reason"),
    [
        ("", "401", "its server answers 401 Unauthorized; it needs a login: put USER:PASSWORD@ before the host"),
        ("me:qjzw@", "401", "its server answers 401 Unauthorized; check the user name and password"),
        ("", "404", "its server answers 404 Not Found; check the path of the address"),
        ("", "503", "its server answers 503 Service Unavailable; it may have too many viewers"),
        ("", "500", "its server answers 500 Internal Server Error; check the address"),
        ("", "type/text/html", "it sends text/html, not a video; use the address of the camera's stream"),
        ("", "type/image/png", "it sends one image (image/png), not a stream; use the address of the camera's stream"),
        ("", "type/video/mp4", "it sends a file (video/mp4) that FFmpeg cannot read in order; download it"),
        (
            "",
            "type/multipart/x-mixed-replace;boundary=frame",
            "its parts are of type image/jpg, and FFmpeg reads image/jpeg; set the camera to MJPEG",
        ),
    ],
)
def test_what_a_web_server_answers(host: str, login: str, path: str, reason: str) -> None:
    said = why_no_stream(f"http://{login}{host}/{path}")
    assert said == reason
    assert "qjzw" not in said


def rtsp_server(answer: bytes) -> tuple[int, threading.Thread]:
    """Answers one connection; returns its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            request = connection.recv(4096)
            assert request.startswith(b"DESCRIBE rtsp://127.0.0.1:")
            assert b"qjzw" not in request
            connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return int(listening.getsockname()[1]), thread


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"RTSP/1.0 401 Unauthorized\r\n\r\n", "its server answers 401 Unauthorized; check the user name and password"),
        (b"RTSP/1.0 404 Not Found\r\n\r\n", "its server answers 404 Not Found; check the path of the address"),
        (b"RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n", "it may have too many viewers"),
        (b"RTSP/1.0 200 OK\r\n\r\n", "its server answers, but sends no frame that FFmpeg can decode"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not answer as an RTSP server; check the port"),
        (b"", "it does not answer as an RTSP server; check the port"),
    ],
)
def test_what_an_rtsp_server_answers(answer: bytes, reason: str) -> None:
    port, thread = rtsp_server(answer)
    assert reason in why_no_stream(f"rtsp://me:qjzw@127.0.0.1:{port}/live")
    thread.join(5)


@pytest.mark.parametrize(
    ("challenges", "answer", "reason"),
    [
        (b'Basic realm="cam"', b"404 Not Found", "its server answers 404 Not Found; check the path of the address"),
        (
            b'Digest realm="cam", nonce="ab", algorithm="SHA-256"\r\nWWW-Authenticate: Digest realm="cam", nonce="ab"',
            b"401 Unauthorized",
            "its server answers 401 Unauthorized; check the user name and password",
        ),
        (
            b'Digest realm="cam", nonce="ab", algorithm="SHA-256"',
            None,
            "it requires a login of a kind that FFmpeg does not know; set the camera to digest (MD5) or basic",
        ),
    ],
)
def test_the_login_is_tried_before_it_is_doubted(challenges: bytes, answer: bytes | None, reason: str) -> None:
    """A server that refuses everything without a login says only then whether the path is wrong."""
    listening = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            requests.append(connection.recv(4096))
            body = b"Content-Length: 7\r\n\r\nrefused"
            connection.sendall(b"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: " + challenges + b"\r\n" + body)
            if answer is not None:
                requests.append(connection.recv(4096))
                connection.sendall(b"RTSP/1.0 " + answer + b"\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert why_no_stream(f"rtsp://me:qjzw@127.0.0.1:{listening.getsockname()[1]}/live") == reason
    thread.join(5)
    for request in requests[1:]:
        scheme = challenges.split()[0].decode()
        assert f"Authorization: {scheme} ".encode() in request
        assert b"qjzw" not in request


def test_what_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    for scheme in ("http", "rtsp"):
        assert why_no_stream(f"{scheme}://127.0.0.1:{free}/x").startswith("its machine refuses the connection")
    monkeypatch.setattr(stream_probe, "PROBE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "rtsp"):
            address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
            assert why_no_stream(address).startswith("it did not answer within 0.05 s")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "rtsp://admin:2024#Cam@10.0.0.5/live",
            "its host and port cannot be read; write / ? # in a password as %2F %3F %23",
        ),
        ("udp://127.0.0.1:9", "check the address, and that this machine can reach it"),
    ],
)
def test_addresses_that_cannot_be_asked(url: str, reason: str) -> None:
    assert why_no_stream(url).startswith(reason)


def test_a_machine_that_accepts_connections_is_told_from_one_that_does_not(host: str) -> None:
    assert accepts_connections(f"http://me:secret@{host}/x")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    assert not accepts_connections(f"rtsp://127.0.0.1:{free}/x")
    assert accepts_connections("udp://127.0.0.1:9"), "it has no connections"
