"""Access control of the web server: a token, or loopback only."""

import secrets
from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmpnet.runtime.web.listen import is_loopback
from mmpnet.runtime.web.page import load_token_form

MOST_CLIENTS = 64
_EVERYWHERE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class AuthMiddleware:
    """Refuses requests without the token, which is sent as `Authorization: Bearer TOKEN` or `?token=TOKEN`.

    Without a token, the server listens on loopback only. Then it also blocks web pages of other sites in this machine's
    browser: they can neither embed the images nor reach the server under a host name that resolves to 127.0.0.1.
    embed_in: origins whose pages may show the token form in a frame.
    """

    def __init__(self, app: ASGIApp, token: str | None, embed_in: Sequence[str] = ()) -> None:
        self._app = app
        self._token = token
        self._form = load_token_form(embed_in)
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _EVERYWHERE.items():
                    headers.setdefault(name, value)
                if self._token is None:
                    headers["Cross-Origin-Resource-Policy"] = "same-origin"
            await send(message)

        refusal = self._refusal(scope)
        self._busy += refusal is None
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        finally:
            self._busy -= refusal is None

    def _refusal(self, scope: Scope) -> Response | None:
        refusal = self._stranger(scope)
        # Health checks are always answered, whatever the number of viewers.
        if refusal is None and self._busy >= MOST_CLIENTS and scope["path"] not in ("/healthz", "/metrics"):
            return PlainTextResponse(f"{MOST_CLIENTS} other requests are active; try again later\n", 503)
        return refusal

    def _stranger(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._token is None:
            if is_loopback(_host(headers.get("host", ""))):
                return None
            return PlainTextResponse("this server answers only to localhost and 127.0.0.1\n", 400)
        if _matches(headers, scope["query_string"].decode("latin-1"), self._token):
            return None
        if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            headers_of_form = {"Content-Security-Policy": self._form.policy, "WWW-Authenticate": "Bearer"}
            return HTMLResponse(self._form.html, 401, headers_of_form)
        text = "this server needs its token: open /?token=TOKEN, or send Authorization: Bearer TOKEN\n"
        return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})


def _matches(headers: Headers, query: str, token: str) -> bool:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    given = [credentials.strip().encode("latin-1")] if scheme.lower() == "bearer" else []
    given += [text.encode("utf-8", "replace") for text in parse_qs(query).get("token", [])]
    return any(secrets.compare_digest(one, token.encode("utf-8", "replace")) for one in given)


def _host(header: str) -> str:
    """The host of a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
