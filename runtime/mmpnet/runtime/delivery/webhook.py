"""Post events to a web server, signed as https://www.standardwebhooks.com describes."""

import base64
import binascii
import hashlib
import hmac
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import IO
from urllib.parse import urlsplit

import msgspec

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.delivery.sender import RefusedError, RetryError
from mmpnet.runtime.events.event import CameraEvent
from mmpnet.runtime.events.store import StoredEvent
from mmpnet.runtime.sources.redact import without_password

TIMEOUT_S = 10.0
SECRET_PREFIX = "whsec_"
REFUSED = frozenset({400, 406, 409, 413, 415, 422})
"""Answers that mean this event, and not the server or the settings: sending it again would not help."""


class WebhookBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is posted: the event, and its snapshot as JPEG in base64."""

    event: CameraEvent
    snapshot_jpeg: bytes | None = None


class Webhook:
    """Posts each event as JSON to `url`.

    The headers `webhook-id` (the event's id), `webhook-timestamp` and `webhook-signature` let the receiver check who
    sent it, that it is recent, and whether it came before. `secret`: text, or base64 after `whsec_`; without it there
    is no signature. `snapshots`: include the image.

    Raises: OutputError for an address that is not http or https, or a secret that is empty or is not base64.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        snapshots: bool = True,
        timeout_s: float = TIMEOUT_S,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OutputError(f"--webhook {without_password(url)}: expected an address such as https://host/path")
        self._url = url
        self._key = None if secret is None else _key(secret)
        self._snapshots = snapshots
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._opener = urllib.request.build_opener(_NoRedirects)

    def deliver(self, stored: StoredEvent, jpeg: bytes | None, *, newest: bool) -> None:
        """Post one event. Raises: RetryError, RefusedError."""
        del newest
        body = msgspec.json.encode(WebhookBody(stored.event, jpeg if self._snapshots else None))
        request = urllib.request.Request(self._url, body, self._headers(stored.event.id, body), method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answers {error.code} {error.reason}"
            raise (RefusedError if error.code in REFUSED else RetryError)(reason) from error
        except (OSError, http.client.HTTPException, ssl.SSLError, ValueError) as error:
            raise RetryError(getattr(error, "reason", None) or error) from error

    def _headers(self, event_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._now_s()))
        headers = {"Content-Type": "application/json", "webhook-id": event_id, "webhook-timestamp": timestamp}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, event_id, timestamp, body)
        return headers


def signature(key: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    """The header `webhook-signature` of a message."""
    content = b".".join([event_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    """The bytes of a secret. Raises: OutputError."""
    if not secret.startswith(SECRET_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error as error:
            raise OutputError(f"--webhook: the secret after {SECRET_PREFIX} is not base64; correct it") from error
    if not key:
        raise OutputError("--webhook: the secret is empty; give one that is hard to guess, or none")
    return key


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error, as it would turn the POST into a GET."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers, newurl: str
    ) -> None:
        del req, fp, code, msg, headers, newurl
