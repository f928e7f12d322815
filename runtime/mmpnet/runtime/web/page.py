"""The web page: one document that loads nothing from other hosts."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

SCRIPTS = ("page.js", "page_plots.js", "page_history.js", "page_drawing.js")
"""They are one script in the page, in this order."""


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and the Content-Security-Policy that allows only its own script and style."""

    html: bytes
    policy: str


def load_page() -> Page:
    """Read page.html with page.css and page.js included."""
    html, style = _read("page.html"), _read("page.css")
    script = "".join(_read(name) for name in SCRIPTS)
    html = html.replace("<style></style>", f"<style>{style}</style>")
    html = html.replace("<script></script>", f"<script>{script}</script>")
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return Page(html.encode(), policy)


def load_token_form() -> Page:
    """Read token.html, which asks for the token."""
    html, style = _read("token.html"), _read("page.css")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        f"style-src {_hash(style)}"
    )
    return Page(html.replace("<style></style>", f"<style>{style}</style>").encode(), policy)


def _read(name: str) -> str:
    return (files("mmpnet.runtime.web") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
