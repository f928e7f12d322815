"""Checks that no image is both learned and measured: near-duplicates between labeled data sets.

A learned image that also appears among the measured ones, be it cropped, resized, recompressed or mirrored, makes the
accuracy too high. --sheet draws the pairs. --hashes keeps the hashes of all images, which a test compares without the
images. The method and its limits are in mmpnet.datasets.near_duplicates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Column, Table

from harness.pair_sheet import MOST_PAIRS, pair_sheet
from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.near_duplicates import LEAST_CORRELATION, MAX_BITS, NearDuplicate, fingerprint, near_duplicates
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.media.images import IMAGE_SUFFIXES, write_image
from mmpnet.system.files import atomic_write, check_output

app = script_app()


@app.command()
def check(
    learned: Annotated[list[Path], typer.Option(help="Data that is learned from. May be repeated.")],
    measured: Annotated[list[Path], typer.Option(help="Data that is measured. May be repeated.")],
    max_bits: Annotated[
        int, typer.Option(min=0, max=64, help="Compare pairs whose hashes differ in at most this many of 64 bits.")
    ] = MAX_BITS,
    least_correlation: Annotated[
        float, typer.Option(min=0, max=1, help="Report pairs whose details correlate at least this much.")
    ] = LEAST_CORRELATION,
    sheet: Annotated[
        Path | None, typer.Option(help=f"Draw the {MOST_PAIRS} most similar pairs as one image, such as pairs.png.")
    ] = None,
    hashes: Annotated[
        Path | None, typer.Option(help="Write the 64 bits of each image, and of its mirror image, as .npz.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find images that are both learned and measured."""
    with exit_on_error():
        if sheet is not None:
            check_output(sheet, IMAGE_SUFFIXES)
        if hashes is not None:
            check_output(hashes, (".npz",))
        known = load_dataset(learned, "train", undivided=True)
        watched = load_dataset(measured, "val", undivided=True)
        pairs = near_duplicates(
            known.images,
            watched.images,
            max_bits=max_bits,
            least_correlation=least_correlation,
            progress=progress_bar,
        )
        show(f"{len(pairs)} pairs among {len(known.images)} learned and {len(watched.images)} measured images")
        if pairs:
            show(_table(pairs))
        if sheet is not None and pairs:
            write_image(sheet, pair_sheet(pairs))
            show(f"saved {sheet}")
        if hashes is not None:
            _write_hashes(hashes, known.images, watched.images)
            show(f"saved {hashes}")
        if as_json:
            write_json(
                {
                    "max_bits": max_bits,
                    "least_correlation": least_correlation,
                    "learned": _set_facts(known, learned),
                    "measured": _set_facts(watched, measured),
                    "pairs": [_pair_facts(pair) for pair in pairs],
                }
            )


def _write_hashes(path: Path, learned: Sequence[LabeledImage], measured: Sequence[LabeledImage]) -> None:
    """`learned` (N, 8), `measured` (M, 8) and `measured_mirrored` (M, 8), uint8."""
    known = [fingerprint(image.read()) for image in progress_bar(learned, "hashing the learned images")]
    watched = [fingerprint(image.read()) for image in progress_bar(measured, "hashing the measured images")]
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            learned=np.stack([one.dhash for one in known]),
            measured=np.stack([one.dhash for one in watched]),
            measured_mirrored=np.stack([one.mirrored_dhash for one in watched]),
        )


def _set_facts(dataset: Dataset, files: Sequence[Path]) -> dict[str, Any]:
    return {"files": [str(path) for path in files], "sha256": dataset.sha256, "n_images": len(dataset.images)}


def _pair_facts(pair: NearDuplicate) -> dict[str, Any]:
    return {
        "learned": str(pair.learned.path),
        "measured": str(pair.measured.path),
        "bits": pair.bits,
        "correlation": round(pair.correlation, 4),
        "is_mirrored": pair.is_mirrored,
    }


def _table(pairs: Sequence[NearDuplicate]) -> Table:
    paths = (Column(name, overflow="fold") for name in ("learned", "measured"))
    table = Table(*paths, "bits", "correlation", "mirrored", box=None, padding=(0, 1, 0, 0))
    for pair in pairs:
        facts = (str(pair.bits), f"{pair.correlation:.3f}", "yes" if pair.is_mirrored else "")
        table.add_row(str(pair.learned.path), str(pair.measured.path), *facts)
    return table


if __name__ == "__main__":
    app()
