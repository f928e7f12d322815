"""The documentation: generated pages are up to date, addresses agree, links lead somewhere, lines fit."""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib
import yaml

from hooks import FOLDERS, complete, named, outside_links, repository
from make_reference import PAGES, REFERENCE, readme

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES_OF_PEOPLE = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md")])
MOST_COLUMNS = 100
README_LINES = 130
ADDRESS = re.compile(r"https://github\.com/[\w-]+/mmpnet\b")
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside code, with their numbers."""
    fence = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark:
            fence = "" if fence else mark[1]
        elif not fence and not line.startswith("    "):
            yield number, line


def headings(path: Path) -> set[str]:
    """The anchors of the headings of a page, as forges and MkDocs make them."""
    titles = [line.lstrip("#").strip() for _, line in prose(path) if line.startswith("#")]
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_from_the_code_are_up_to_date(name: str) -> None:
    assert (REFERENCE / name).read_text() == PAGES[name](), "run make reference"


def test_the_example_in_the_readme_is_up_to_date() -> None:
    text = (ROOT / "README.md").read_text()
    assert readme(text) == text, "run make reference"


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_every_link_between_files_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in PAGES_OF_PEOPLE:
        for number, line in prose(page):
            for target, anchor in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                path = (page.parent / target).resolve() if target else page
                if not path.exists() or (anchor and path.suffix == ".md" and anchor[1:] not in headings(path)):
                    broken.append(f"{page.relative_to(ROOT)}:{number}: {target}{anchor}")
    assert not broken


def test_prose_fits_its_columns() -> None:
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES_OF_PEOPLE
        for number, line in prose(page)
        if len(line) > MOST_COLUMNS and not line.lstrip().startswith("|") and "](" not in line and " " in line.strip()
    ]
    assert not long, f"prose lines have at most {MOST_COLUMNS} columns"


def test_every_page_states_the_one_address_of_the_repository() -> None:
    pages = [*PAGES_OF_PEOPLE, ROOT / "CITATION.cff", ROOT / "pyproject.toml"]
    found = {(page.name, address) for page in pages for address in ADDRESS.findall(page.read_text())}
    assert {address for _, address in found} == {repository()}


def test_the_citation_has_the_version_of_the_package() -> None:
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated == project["version"] == importlib.metadata.version("mmpnet")
    assert f"## {stated} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_card_states_the_numbers_of_the_result_that_the_readme_shows() -> None:
    """AP50 and AP on each set, then AP by size on the images from elsewhere."""
    result = re.search(r"\(benchmarks/results/([^)]+-peers-[^)]+\.json)\)", (ROOT / "README.md").read_text())
    assert result is not None
    document = json.loads((ROOT / "benchmarks" / "results" / result[1]).read_text())
    card = (DOCS / "MODEL_CARD.md").read_text().splitlines()
    ours = {name: one["accuracy"] for name, one in document["contestants"].items() if one["family"] == "mmpnet"}
    assert len(ours) == 4
    for name, accuracy in ours.items():
        elsewhere, *_ = accuracy.values()
        of_sets = (f"{one['AP50']:.3f} / {one['AP']:.3f}" for one in accuracy.values())
        by_size = (f"{elsewhere[size]:.3f}" for size in ("APs", "APm", "APl"))
        for cells in (of_sets, by_size):
            assert f"| `{name}` | {' | '.join(cells)} |" in card


def test_every_page_is_in_the_navigation() -> None:
    nav = complete(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"], DOCS)
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    notebooks = {page.relative_to(DOCS).with_suffix(".md").as_posix() for page in DOCS.rglob("*.ipynb")}
    assert pages | notebooks == set(named(nav))
    assert len(list(named(nav))) == len(set(named(nav))), "a page is in the navigation twice"
    assert set(FOLDERS) <= {title for entry in _entries(nav) for title in entry}


def _entries(nav: list[object]) -> Iterator[dict[str, object]]:
    for entry in nav:
        if isinstance(entry, dict):
            yield entry
            for content in entry.values():
                yield from _entries(content if isinstance(content, list) else [])


def test_every_make_target_that_a_page_or_a_workflow_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = (ROOT / ".github" / "workflows").glob("*.yml")
    texts = {path: path.read_text() for path in (*PAGES_OF_PEOPLE, *workflows, ROOT / ".ci" / "run")}
    named_targets = re.compile(r"(?:^|`|run: (?:sudo )?|^ *)make ([a-z0-9]+)(?=`|$)", re.MULTILINE)
    found = {(path.name, name) for path, text in texts.items() for name in named_targets.findall(text)}
    assert len(found) > 10
    assert {one for one in found if one[1] not in targets} == set()


def test_links_that_leave_the_documentation_lead_to_the_repository() -> None:
    text = "[a](../pyproject.toml) [b](../benchmarks#x) [c](adr/0001-namespace-roots.md) ![d](images/astronaut.jpg)"
    found = outside_links(text, DOCS, DOCS, "https://host/project")
    assert found == (
        "[a](https://host/project/blob/main/pyproject.toml) [b](https://host/project/tree/main/benchmarks#x) "
        "[c](adr/0001-namespace-roots.md) ![d](images/astronaut.jpg)"
    )
    with pytest.raises(FileNotFoundError, match=r"\.\./absent\.md"):
        outside_links("[a](../absent.md)", DOCS, DOCS, "https://host/project")
