"""HTML pages that commands write: each is one file and needs no network access. Needs jinja2."""

from datetime import datetime, timezone
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from mmpnet.contract.text import visible
from mmpnet.system.files import atomic_write


def render(template: str, **values: Any) -> str:
    """Render a template of the package as HTML; it also receives the version and the time.

    Control characters in the values, as in names of files, are shown as escapes.
    """
    folder = Path(str(files("mmpnet.reporting") / "templates"))
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = pages.get_template(template).render(
        **values, version=version("mmpnet"), made_at=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
    )
    return visible(page)


def write_page(path: Path, page: str) -> None:
    """Write the page atomically. Raises: OutputError if it cannot be written."""
    with atomic_write(path) as partial:
        partial.write_bytes(page.encode("utf-8", "replace"))  # file names in the page may not be UTF-8
