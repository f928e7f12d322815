"""IoU of two equal boxes against their horizontal displacement: its three kinks, and where it has no gradient.

GIoU (Rezatofighi et al. 2019) and DIoU (Zheng et al. 2020) stand beside it: they go on falling where IoU is flat.
Writes a plot and a JSON document with the kinks found numerically. Needs mmpnet[train].
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.table import Table
from torchvision.ops import distance_box_iou, generalized_box_iou

from exercise_record import RESULTS, plot, record
from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.boxes import pairwise_iou

Curve = NDArray[np.float64]

STEPS_PER_WIDTH = 256
"""A power of two, so that -width, 0 and width are samples and every displacement is exact in float32."""
REACH = 2.5
"""Displacements go from -REACH to REACH widths."""
NOISE = 1e-4
"""Slopes (of IoU per width) below this come from the rounding of float32, not from the curve."""

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def iou_displacement(
    width: Annotated[float, typer.Option(min=1, max=4096, help="Width of both boxes in px.")] = 64.0,
    height: Annotated[float, typer.Option(min=1, max=4096, help="Height of both boxes in px.")] = 128.0,
    results: Annotated[Path, typer.Option(help="Folder for the plot and the JSON.")] = RESULTS,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Plot IoU, GIoU and DIoU of two equal boxes against displacement and find their kinks."""
    with exit_on_error():
        dx = displacements(width)
        curves = overlap_curves(dx, width, height)
        report = {name: describe(dx, curve, width) for name, curve in curves.items()}
        result = record(
            results / "iou_displacement.json",
            {"exercise": "IoU against displacement", "width_px": width, "height_px": height, "curves": report},
        )
        _draw(results / "iou_displacement.png", dx, curves, width)
        table = Table("overlap", "kinks px", "no gradient px")
        for name, entry in report.items():
            kinks = ", ".join(f"{kink:g}" for kink in entry["kinks_px"])
            flat = ", ".join(f"{left:g} to {right:g}" for left, right in entry["flat_px"]) or "nowhere"
            table.add_row(name, kinks, flat)
        console().print(table)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def displacements(width: float) -> Curve:
    """Samples (N,) of the displacement in px, symmetric about 0."""
    count = round(REACH * STEPS_PER_WIDTH)
    return np.arange(-count, count + 1, dtype=np.float64) * (width / STEPS_PER_WIDTH)


def overlap_curves(dx: Curve, width: float, height: float) -> dict[str, Curve]:
    """Return the IoU, GIoU and DIoU (N,) of a box at the origin with its copy moved right by each displacement (N,)."""
    still = np.array([[0, 0, width, height]], np.float64)
    moved = still + dx[:, None] * np.array([1, 0, 1, 0])  # (N, 4)

    def with_torch(overlap: Callable[..., torch.Tensor]) -> Curve:
        values: Curve = overlap(torch.from_numpy(still), torch.from_numpy(moved))[0].numpy()
        return values

    iou = pairwise_iou(still.astype(np.float32), moved.astype(np.float32))[0].astype(np.float64)
    return {"IoU": iou, "GIoU": with_torch(generalized_box_iou), "DIoU": with_torch(distance_box_iou)}


def describe(dx: Curve, curve: Curve, width: float) -> dict[str, Any]:
    """Kinks, and the stretches without a gradient, of one curve."""
    return {"kinks_px": find_kinks(dx, curve, width), "flat_px": find_flat(dx, curve, width)}


def find_kinks(dx: Curve, curve: Curve, width: float) -> list[float]:
    """Displacements at which the slopes to the left and to the right differ, however small the step.

    On a smooth curve the difference of the one-sided slopes halves with the step; at a kink it stays.
    """
    fine, coarse = slope_jump(dx, curve, 1), slope_jump(dx, curve, 2)
    kinks = (fine > NOISE / width) & (fine > 0.75 * coarse)
    return [float(value) for value in dx[kinks]]


def slope_jump(dx: Curve, curve: Curve, step: int) -> Curve:
    """|slope over the next `step` samples - slope over the last|, (N,); infinite, not known, where the samples end."""
    jump = np.full_like(curve, np.inf)
    second = curve[2 * step :] - 2 * curve[step:-step] + curve[: -2 * step]
    jump[step:-step] = np.abs(second) / (step * (dx[1] - dx[0]))
    return jump


def find_flat(dx: Curve, curve: Curve, width: float) -> list[tuple[float, float]]:
    """Stretches (from, to) in px on which the curve does not change from sample to sample."""
    flat = np.abs(np.diff(curve)) / np.diff(dx) < NOISE / width
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    return [(float(dx[start]), float(dx[end])) for start, end in edges.reshape(-1, 2)]


def _draw(path: Path, dx: Curve, curves: dict[str, Curve], width: float) -> None:
    with plot(path) as axes:
        for (name, curve), style in zip(curves.items(), ("-", "--", ":"), strict=True):
            axes.plot(dx, curve, style, label=name, linewidth=2)
        kinks = find_kinks(dx, curves["IoU"], width)
        values = [curves["IoU"][int(np.argmin(np.abs(dx - kink)))] for kink in kinks]
        axes.plot(kinks, values, "o", color="black", label="kinks of IoU")
        for left, right in find_flat(dx, curves["IoU"], width):
            axes.axvspan(left, right, color="gray", alpha=0.2, label="IoU has no gradient" if left < 0 else None)
        axes.set_xlabel(f"horizontal displacement in px (boxes {width:g} px wide)")
        axes.set_ylabel("overlap")
        axes.grid(alpha=0.3)
        axes.legend()


if __name__ == "__main__":
    app()
