"""Check a dataset before training: every label and every file, with all faults in tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mmpnet.console.command import console
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.splits import Split
from mmpnet.datasets.statistics import QUANTILES, DatasetStatistics, SizeRange, dataset_statistics
from mmpnet.datasets.types import LabeledImage

_BAR_CHARACTERS = 30


def check_dataset(
    paths: Sequence[Path],
    split: Split,
    classes: Sequence[str] = (),
    *,
    input_hw: tuple[int, int] = (320, 320),
    allow_absent: bool = False,
    undivided: bool = False,
) -> DatasetStatistics:
    """Read labels and decode every image with a progress bar; `ok` of the result tells whether to exit with 0.

    Raises: as `load_dataset`, for faults that prevent any check, such as a folder with no known format.
    """
    faults = Faults(collect=True)
    dataset = load_dataset(paths, split, classes, allow_absent=allow_absent, undivided=undivided, faults=faults)

    def shown(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        # rich reads markup in descriptions, and a name may hold brackets.
        return iter(track(images, description=escape(f"checking {dataset.name}"), console=console()))

    return dataset_statistics(dataset, input_hw=input_hw, verify_files=True, faults=faults.found, progress=shown)


def print_statistics(console: Console, found: DatasetStatistics) -> None:
    """Print the statistics as tables, then notes, warnings and faults, one per line."""
    console.print(_overview(found))
    console.print(_sizes(found))
    for note in (*found.notes, *(found.files.notes if found.files is not None else ())):
        console.print(f"note: {note}")
    for copy in found.files.copies if found.files is not None else ():
        console.print(f"warning: {copy}")
    for fault in found.all_faults:
        console.print(f"fault: {fault}")
    console.print(f"{found.name}: {_verdict(found)}")


def _overview(found: DatasetStatistics) -> Table:
    table = Table(title=found.name)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_row("images", str(found.n_images))
    table.add_row("images without boxes", str(found.n_without_boxes))
    for name, count in found.boxes_per_class.items():
        table.add_row(f"boxes of {name}", str(count))
    table.add_row("crowd or difficult, ignored", str(found.n_crowd))
    if found.min_wh is not None and found.max_wh is not None:
        table.add_row("widths, px", f"{found.min_wh[0]} to {found.max_wh[0]}")
        table.add_row("heights, px", f"{found.min_wh[1]} to {found.max_wh[1]}")
    for quantile, ratio in zip(QUANTILES, found.aspect_ratios, strict=False):
        table.add_row(f"h/w, {quantile:.0%} of boxes below", f"{ratio:.2f}")
    return table


def _sizes(found: DatasetStatistics) -> Table:
    height, width = found.input_hw
    table = Table(title=f"sqrt(w*h) in px of the {height}x{width} (height x width) input")
    table.add_column("size", justify="right")
    table.add_column("boxes", justify="right")
    table.add_column("")
    most = max(*(one.n_boxes for one in found.sizes), 1)
    for one in found.sizes:
        table.add_row(_range(one), str(one.n_boxes), "#" * round(one.n_boxes / most * _BAR_CHARACTERS))
    return table


def _range(one: SizeRange) -> str:
    return f"{one.from_px} and more" if one.to_px is None else f"{one.from_px} to {one.to_px}"


def _verdict(found: DatasetStatistics) -> str:
    count = len(found.all_faults)
    looked = "labels and files" if found.files is not None else "labels"
    return f"{looked} checked, " + (f"{count} fault{'s' if count > 1 else ''}" if count else "no faults")
