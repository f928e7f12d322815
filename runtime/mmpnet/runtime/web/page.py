"""The web page: one document that loads nothing from other hosts."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from mmpnet.contract.errors import OutputError

SCRIPTS = ("page.js", "page_plots.js", "page_history.js", "page_drawing.js")
"""They are one script in the page, in this order."""
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and the Content-Security-Policy that allows only its own script and style."""

    html: bytes
    policy: str


def load_page(embed_in: Sequence[str] = ()) -> Page:
    """Read page.html with page.css and page.js included. embed_in: origins whose pages may show it in a frame."""
    html, style = _read("page.html"), _read("page.css")
    script = "".join(_read(name) for name in SCRIPTS)
    html = html.replace("<style></style>", f"<style>{style}</style>")
    html = html.replace("<script></script>", f"<script>{script}</script>")
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; "
        f"form-action 'none'; {_ancestors(embed_in)}; style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return Page(html.encode(), policy)


def load_token_form(embed_in: Sequence[str] = ()) -> Page:
    """Read token.html, which asks for the token. embed_in: origins whose pages may show it in a frame."""
    html, style = _read("token.html"), _read("page.css")
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'self'; {_ancestors(embed_in)}; "
        f"style-src {_hash(style)}"
    )
    return Page(html.replace("<style></style>", f"<style>{style}</style>").encode(), policy)


def check_origin(text: str) -> None:
    """Raises: OutputError for something else than an origin such as `https://home.example:8123`; it goes into a
    header."""
    if _ORIGIN.fullmatch(text) is None:
        raise OutputError(f"--embed-in {text!r}: is no origin; expected http[s]://HOST[:PORT], without a path")


def _ancestors(origins: Sequence[str]) -> str:
    return "frame-ancestors " + (" ".join(origins) or "'none'")


def _read(name: str) -> str:
    return (files("mmpnet.runtime.web") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
