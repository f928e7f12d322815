"""Find out why a stream gives no frames, by asking its server once: status, content type, refused connections."""

import base64
import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import closing
from urllib.parse import SplitResult, unquote, urlsplit

PROBE_S = 5.0
"""How long the server may take to answer."""
_READ_BYTES = 2048
_PART_TYPE = re.compile(rb"^content-type:\s*([\w./+-]+)", re.IGNORECASE | re.MULTILINE)
_CHALLENGE = re.compile(r"^WWW-Authenticate:\s*Digest\s+([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LOGIN = "check the user name and password"
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}


def why_no_stream(url: str) -> str:
    """What the server of a stream answers, and what to do; general advice if that tells nothing. Never the password."""
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:  # a port that is not a number
        host, port = None, None
    login = url.partition("//")[2].rpartition("@")[0]
    if host is None or any(mark in login for mark in "/?#"):
        return "its host and port cannot be read; write / ? # in a password as %2F %3F %23"
    try:
        if address.scheme in ("http", "https"):
            return _why_http(url)
        if address.scheme in _RTSP_PORTS:
            return _why_rtsp(url, host, port or _RTSP_PORTS[address.scheme], secure=address.scheme == "rtsps")
    except socket.gaierror:
        return "its host name is unknown here; check the address"
    except ConnectionRefusedError:
        return "its machine refuses the connection; check the port, and that the camera's server runs"
    except TimeoutError:
        return f"it did not answer within {PROBE_S:g} s; check its power and network"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"it cannot be reached ({' '.join(str(error).split())[:120]}); check the address and the network"
    return "check the address, and that this machine can reach it"


def accepts_connections(url: str) -> bool:
    """Whether the machine of a stream accepts connections; True for protocols without connections."""
    address = urlsplit(url)
    port = address.port or {**_RTSP_PORTS, "http": 80, "https": 443, "rtmp": 1935}.get(address.scheme)
    if address.hostname is None or port is None or address.scheme in ("udp", "rtp", "srt"):
        return True
    try:
        socket.create_connection((address.hostname, port), timeout=PROBE_S).close()
    except OSError:
        return False
    return True


def _why_http(url: str) -> str:
    address = urlsplit(url)
    host = address.netloc.rpartition("@")[2]
    plain = address._replace(netloc=host, fragment="").geturl()
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if address.username is not None:
        passwords.add_password(None, plain, unquote(address.username), unquote(address.password or ""))
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)
    )
    try:
        with opener.open(plain, timeout=PROBE_S) as response:
            return _why_content(response.headers.get_content_type(), response.read(_READ_BYTES))
    except urllib.error.HTTPError as error:
        return _why_status(error.code, str(error.reason), logged_in=address.username is not None)
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise


def _why_content(content_type: str, start: bytes) -> str:
    """Advice for an address that answers, by what it sends."""
    if content_type.startswith("multipart/"):
        found = _PART_TYPE.search(start)
        if found is not None and found[1].lower() != b"image/jpeg":
            return f"its parts are of type {found[1].decode()}, and FFmpeg reads image/jpeg; set the camera to MJPEG"
        return "it answers with a stream, but FFmpeg finds no image in it; check the camera's format"
    if content_type.startswith("image/"):
        return f"it sends one image ({content_type}), not a stream; use the address of the camera's stream"
    if content_type.startswith("video/"):
        return f"it sends a file ({content_type}) that FFmpeg cannot read in order; download it"
    return f"it sends {content_type}, not a video; use the address of the camera's stream"


def _why_status(code: int, reason: str, *, logged_in: bool) -> str:
    """Advice for an HTTP or RTSP status other than success."""
    said = f"its server answers {code} {reason}".rstrip()
    if code in (401, 403):
        return f"{said}; {_LOGIN}" if logged_in else f"{said}; it needs a login: put USER:PASSWORD@ before the host"
    if code in (404, 410, 454):
        return f"{said}; check the path of the address"
    if code in (453, 503):
        return f"{said}; it may have too many viewers"
    return f"{said}; check the address"


def _why_rtsp(url: str, host: str, port: int, *, secure: bool) -> str:
    address = urlsplit(url)
    plain = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    connection: socket.socket = socket.create_connection((host, port), timeout=PROBE_S)
    if secure:
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    with closing(connection):
        answer = _describe(connection, plain, 1)
        refused = re.match(r"RTSP/\d\.\d 401", answer) and "www-authenticate" in answer.lower()
        if address.username is not None and refused:
            # The login may be right, and the path wrong.
            login = _authorization(answer, plain, address)
            if login is None:
                return (
                    "it requires a login of a kind that FFmpeg does not know; set the camera to digest (MD5) or basic"
                )
            answer = _describe(connection, plain, 2, f"Authorization: {login}\r\n")
    status = re.match(r"RTSP/\d\.\d (\d{3}) ?([^\r\n]*)", answer)
    if status is None:
        return "it does not answer as an RTSP server; check the port"
    if status[1] == "200":
        return "its server answers, but sends no frame that FFmpeg can decode; check the camera's codec and transport"
    return _why_status(int(status[1]), status[2][:60], logged_in=address.username is not None)


def _describe(connection: socket.socket, url: str, number: int, headers: str = "") -> str:
    """Ask what the stream is; returns the start of the answer up to its empty line, empty if the connection closes."""
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{headers}\r\n"
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _READ_BYTES and (more := connection.recv(_READ_BYTES)):
        answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"^Content-Length:\s*(\d{1,5})\s*$", head, re.IGNORECASE | re.MULTILINE)
    missing = int(length[1]) - len(body) if length is not None else 0
    while missing > 0 and (more := connection.recv(missing)):  # or the next answer begins with it
        missing -= len(more)
    return head.decode("latin-1")


def _authorization(answer: str, url: str, address: SplitResult) -> str | None:
    """The header that answers a refusal with the login of the address; None if FFmpeg knows no way that it asks for."""
    user, password = unquote(address.username or ""), unquote(address.password or "")
    for values in _CHALLENGE.findall(answer):
        challenge = urllib.request.parse_keqv_list(urllib.request.parse_http_list(values))
        if challenge.get("algorithm", "MD5").upper() == "MD5":
            passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            passwords.add_password(None, url, user, password)
            request = urllib.request.Request(url, method="DESCRIBE")
            request.selector = url  # the digest is of the whole address
            return f"Digest {urllib.request.HTTPDigestAuthHandler(passwords).get_authorization(request, challenge)}"
    if re.search(r"^WWW-Authenticate:\s*Basic\b", answer, re.IGNORECASE | re.MULTILINE):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None
