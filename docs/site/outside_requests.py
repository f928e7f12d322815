"""What a built site would make a reader's browser request from other hosts."""

import re
from html.parser import HTMLParser
from pathlib import Path

RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
"""Kinds of <link> that a browser follows by itself."""
ATTRIBUTES = {"src", "srcset", "poster", "data"}
"""Attributes whose addresses a browser loads by itself; a link to click on has `href`."""
STARS = 'data-md-component="source"'
"""With this attribute, the script of the theme requests stars and forks of the repository from the forge's API."""
OTHER_HOST = re.compile(r"(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


def outside_requests(site: Path) -> list[str]:
    """The requests to other hosts of all pages and style sheets of `site`, as lines `file: address`."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            addresses = IN_STYLE.findall(text) + (_of_page(text) if path.suffix == ".html" else [])
            found += [f"{path.relative_to(site)}: {address}" for address in addresses]
    return found


def _of_page(text: str) -> list[str]:
    parser = _Addresses()
    parser.feed(text)
    return parser.found


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        loaded = [values[name] for name in ATTRIBUTES & values.keys()]
        if tag == "link" and RELATIONS & set(values.get("rel", "").split()):
            loaded.append(values.get("href", ""))
        self.found += [address for address in loaded if OTHER_HOST.match(address.strip())]
        if values.get("data-md-component") == "source":
            self.found.append(f"the forge's API, because of {STARS}")
        if "mermaid" in values.get("class", "").split():
            self.found.append("the diagrams' script, because of the class mermaid")
