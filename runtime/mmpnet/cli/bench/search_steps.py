"""What mmp-bench search reads and writes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mmpnet.bench.search.report import SearchReport
from mmpnet.cli.bench.options import write_json
from mmpnet.cli.bench.search_tables import show_search
from mmpnet.console.command import console, results
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.transform import evenly_spaced
from mmpnet.datasets.types import Dataset


def images_of(data: Sequence[Path], limit: int | None) -> Dataset:
    """The labeled images to evaluate on, at most `limit` of them; the dataset's name then states both counts."""
    dataset = load_dataset(data, "val", undivided=True)
    chosen = evenly_spaced(dataset, limit)
    if chosen is dataset:
        return dataset
    return dataclasses.replace(chosen, name=f"{dataset.name} ({limit} of {len(dataset.images)})")


def write_report(report: SearchReport, page: Path, *, as_json: bool) -> None:
    """Show the report on stdout or the console, and write it as a page."""
    if as_json:
        write_json(report)
    else:
        show_search(results(), report, page.parent)
    # matplotlib is slow to load and is needed only here.
    from mmpnet.bench.search.page import write_search_page

    write_search_page(page, report, page.parent)
    console().print(f"saved {page}")
