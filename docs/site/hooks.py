"""Hooks of MkDocs: pages in the navigation, pages of notebooks, and links that leave the documentation."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomllib

PROJECT = Path(__file__).parents[2]
FOLDERS = {"Recipes": "recipes", "Reference": "reference", "Decisions": "adr"}
"""Sections of the navigation that take all pages of a folder."""
TO_NOTEBOOK = re.compile(r"(\]\([^)\s]*)\.ipynb\)")
SEARCH_BOOSTS = {
    "troubleshooting.md": 5.0,
    "start/": 2.0,
    "recipes/": 2.0,
    "notebooks/": 0.5,
    "adr/": 0.2,
    "ABLATION.md": 0.2,
    "images/": 0.1,
    "media/": 0.1,
}
"""What a page counts in the search, by the start of its name: what people ask first comes before why."""
LINK = re.compile(r"(?P<before>\]\()(?P<target>(?:\.\./)+[^)#\s]*)(?P<after>(?:#[^)\s]*)?\))")

INLINE_CODE = re.compile(r"(?<!<pre>)(?<!</span>)(<code>)([^<]*)(?=</code>)")
OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
IMAGE = re.compile(r"(?P<before>!\[[^\]]*\]\()(?P<target>(?:\.\./)+[^)#\s]*)\)")


def repository() -> str:
    """The address of the repository, which only pyproject.toml states."""
    urls: dict[str, str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["urls"]
    return urls["Repository"]


def on_config(config: Any) -> Any:
    """Set the address of the repository, and complete the navigation."""
    config.repo_url = repository()
    config.repo_name = config.site_name
    config.nav = complete(config.nav, Path(config.docs_dir))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each notebook, which is run for it."""
    from mkdocs.structure.files import File

    sys.path.insert(0, str(Path(__file__).parent))
    from notebooks import NOTEBOOKS, page_of

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page, images = page_of(path, path.name)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, png in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=png))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Keep a narrow screen from breaking the names of options in text after their dashes."""
    return INLINE_CODE.sub(
        lambda code: code[1] + OPTION.sub(r'<span style="white-space: nowrap">\g<0></span>', code[2]), html
    )


def on_post_page(output: str, **_: Any) -> str:
    """Take away what makes the theme request the stars of the repository from the forge's API."""
    from outside_requests import STARS

    return output.replace(f" {STARS}", "")


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for pages of the theme, such as that of an absent address."""
    return on_post_page(output_content)


def on_post_build(config: Any) -> None:
    """Raises: PluginError if a page would make a browser request anything from another host."""
    from mkdocs.exceptions import PluginError

    from outside_requests import outside_requests

    if found := outside_requests(Path(config.site_dir)):
        raise PluginError("the site asks other hosts for files: " + "; ".join(found))


def complete(nav: list[Any], docs: Path) -> list[Any]:
    """The navigation, with the pages of the folders that it does not name at the end of their sections."""
    return _completed(nav, docs, set(named(nav)))


def named(nav: list[Any]) -> Iterator[str]:
    """The pages that a navigation names."""
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for content in entry.values():
                yield from named(content if isinstance(content, list) else [content])


def _completed(nav: list[Any], docs: Path, known: set[str]) -> list[Any]:
    completed: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            [(title, content)] = entry.items()
            if isinstance(content, list):
                folder = FOLDERS.get(title)
                pages = sorted(docs.glob(f"{folder}/*.md")) if folder else []
                more = [name for page in pages if (name := page.relative_to(docs).as_posix()) not in known]
                content = [*_completed(content, docs, known), *more]
            entry = {title: content}
        completed.append(entry)
    return completed


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Let links to files outside the documentation lead to the repository, and links to notebooks to their pages; copy
    images from outside it into the site; say what the page counts in the search."""
    boosts = [boost for start, boost in SEARCH_BOOSTS.items() if page.file.src_uri.startswith(start)]
    page.meta["search"] = {"boost": boosts[0]} if boosts else {}
    if page.file.abs_src_path is None:  # the page of a notebook
        return markdown
    linked = _with_images(TO_NOTEBOOK.sub(r"\1.md)", markdown), page.file, files, config)
    return outside_links(linked, Path(page.file.abs_src_path).parent, Path(config.docs_dir), config.repo_url)


def _with_images(markdown: str, file: Any, files: Any, config: Any) -> str:
    """The text with images from outside the documentation as images of the site, which are added to `files`."""
    from mkdocs.structure.files import File

    def replaced(image: re.Match[str]) -> str:
        source = (Path(file.abs_src_path).parent / image["target"]).resolve()
        if source.is_relative_to(Path(config.docs_dir).resolve()):
            return image[0]
        name = f"images/{source.name}"
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=source.read_bytes()))
        return f"{image['before']}{'../' * file.src_uri.count('/')}{name})"

    return IMAGE.sub(replaced, markdown)


def outside_links(markdown: str, folder: Path, docs: Path, repo_url: str) -> str:
    """The text with links from `folder` to files outside `docs` as addresses in the repository.

    Raises: FileNotFoundError for a link to a file that does not exist.
    """

    def replaced(link: re.Match[str]) -> str:
        target = (folder / link["target"]).resolve()
        if target.is_relative_to(docs.resolve()):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"link to {link['target']}: no such file; expected a file of the repository")
        kind = "tree" if target.is_dir() else "blob"
        place = f"{repo_url}/{kind}/main/{target.relative_to(PROJECT).as_posix()}"
        return f"{link['before']}{place}{link['after']}"

    return LINK.sub(replaced, markdown)
