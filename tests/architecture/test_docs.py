"""The documentation: generated pages are up to date, addresses agree, links lead somewhere, lines fit."""

import importlib
import importlib.metadata
import inspect
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import av
import cv2
import pytest
import tomllib
import yaml

from hooks import FOLDERS, complete, named, outside_links, repository
from make_clip import PARTS
from make_reference import PAGES, REFERENCE, readme

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES_OF_PEOPLE = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md")])
MOST_COLUMNS = 100
README_LINES = 130
MOST_CLIP_BYTES = 700_000
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


def test_every_image_is_on_a_page() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES_OF_PEOPLE
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    images = [path for path in (DOCS / "images").glob("*") if path.suffix in (".jpg", ".png", ".svg")]
    examples = {"astronaut.jpg"}  # the input of commands
    assert [path.name for path in images if path.resolve() not in shown and path.name not in examples] == []


@pytest.mark.parametrize("folder", ["images", "media"])
def test_every_image_and_video_has_its_origin_and_terms(folder: str) -> None:
    rows = [line for line in (DOCS / folder / "SOURCES.md").read_text().splitlines() if line.startswith("| `")]
    patterns = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    files = [path.relative_to(DOCS / folder).as_posix() for path in (DOCS / folder).rglob("*.*")]
    missing = [name for name in files if name != "SOURCES.md" and not any(fnmatch(name, one) for one in patterns)]
    assert not missing
    assert [one for one in patterns if not any(fnmatch(name, one) for name in files)] == []


def test_the_clip_is_small_and_says_nothing_of_the_computer_that_made_it() -> None:
    clip = DOCS / "media" / "door.mp4"
    assert clip.stat().st_size < MOST_CLIP_BYTES
    with av.open(str(clip)) as opened:
        stream = opened.streams.video[0]
        assert set(opened.metadata) <= {"major_brand", "minor_version", "compatible_brands"}
        assert set(stream.metadata) <= {"language", "handler_name", "vendor_id"}
        frames = sum(1 for _ in opened.decode(stream))
    video = cv2.VideoCapture(str(clip))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == frames == sum(end - first for first, end in PARTS)


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
    assert len(ours) == 5
    for name, accuracy in ours.items():
        elsewhere, *_ = accuracy.values()
        of_sets = (f"{one['AP50']:.3f} / {one['AP']:.3f}" for one in accuracy.values())
        by_size = (f"{elsewhere[size]:.3f}" for size in ("APs", "APm", "APl"))
        for cells in (of_sets, by_size):
            assert f"| `{name}` | {' | '.join(cells)} |" in card


def test_the_page_about_adapting_states_the_numbers_of_its_results() -> None:
    """Minutes, AP50 and AP on the view, and both on general images before and after."""
    rows = [line for line in (DOCS / "own-model" / "adapt.md").read_text().splitlines() if line.startswith("| | ")]
    expected = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*-adapt-*.json")):
        for name, variant in json.loads(path.read_text())["variants"].items():
            if name != "shipped":
                elsewhere = [
                    f"{before:.3f}, {after:.3f}" for before, after in (variant["general_AP50"], variant["general_AP"])
                ]
                here = [f"{variant[number]['value']:.3f}" for number in ("AP50", "AP")]
                expected.append([str(int(variant["minutes"] + 0.5)), *here, *elsewhere])
    found = [[cell.split(" (")[0] for cell in row.split(" | ")[2:7]] for row in rows if row.count(" | ") == 7]
    assert len(expected) == 9
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("package", ["mmpnet.runtime", "mmpnet.train", "mmpnet.export"])
def test_every_public_name_is_in_the_reference_of_python(package: str) -> None:
    module, page = importlib.import_module(package), (REFERENCE / "python.md").read_text()
    named_there = set(re.findall(r"^::: (\S+)$", page, re.MULTILINE))
    public = [getattr(module, name) for name in module.__all__]
    assert [one for one in public if f"{one.__module__}.{one.__qualname__}" not in named_there] == []


def test_every_entry_of_the_reference_of_python_is_there_and_has_a_description() -> None:
    entries = re.findall(r"^::: (\S+)\.(\w+)$", (REFERENCE / "python.md").read_text(), re.MULTILINE)
    assert len(entries) > 15
    described = {name: inspect.getdoc(getattr(importlib.import_module(home), name)) for home, name in entries}
    assert [name for name, text in described.items() if not text] == []


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
