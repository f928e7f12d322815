"""The figure of accuracy.py: precision-recall curves, a panel for each dataset."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from harness.accuracy import ModelAccuracy
from harness.figures import save_figure
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.curves import RECALL_GRID
from mmpnet.evaluation.evaluate import MATCH_IOU


def draw_curves(path: Path, datasets: Sequence[Dataset], measured: Sequence[dict[str, ModelAccuracy]]) -> None:
    """Draw each dataset's curves, by the models' names.

    Raises: OutputError if the file cannot be written.
    """
    apart = ConstrainedLayoutEngine(wspace=0.04)  # between a recall of 1.0 and the next panel's 0.0
    figure = Figure(figsize=(0.6 + 4.6 * len(datasets), 4.6), layout=apart)
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for panel, dataset, models in zip(panels, datasets, measured, strict=True):
        _draw_panel(panel, models)
        panel.set_title(f"{dataset.name}, {len(dataset.images)} images", fontsize=10, loc="left")
    panels[0].set_ylabel(f"precision at IoU {MATCH_IOU}")
    save_figure(figure, path)


def _draw_panel(panel: Axes, models: dict[str, ModelAccuracy]) -> None:
    colors = cycle(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    for (name, one), color in zip(models.items(), colors, strict=False):
        label = f"{name}, AP50 {one.numbers['AP50'] or 0:.3f}"
        # Between two recalls the precision is that of the higher recall.
        panel.plot(RECALL_GRID, one.precision, color=color, drawstyle="steps-pre", linewidth=1.5, label=label)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("recall")
    panel.grid(alpha=0.25, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    # Curves worth a figure leave room in the lower left corner.
    panel.legend(loc="lower left", frameon=False, labelcolor="linecolor", handlelength=1.2, fontsize=9)
