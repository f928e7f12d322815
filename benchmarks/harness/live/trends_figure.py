"""The figure of soak.py: memory and latency of a long run over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harness.figures import save_figure
from harness.live.trends import MemoryTrend, Sample, tenths
from mmpnet.reporting.svg import BLUE, ORANGE

SPAN_MB = 10.0
"""The least height of the memory panel."""


def draw_trends(path: Path, samples: Sequence[Sample], line: MemoryTrend) -> None:
    """Draw memory and latency over time.

    Raises: OutputError if the file cannot be written.
    """
    unit, unit_s = ("minutes", 60) if samples[-1].elapsed_s > 120 else ("seconds", 1)
    at = np.array([sample.elapsed_s for sample in samples]) / unit_s
    settled = next(t for t, sample in zip(at, samples, strict=True) if sample.frame > line.warm_up_frames)
    memory_mb = np.array([sample.memory_mb for sample in samples])
    latency_ms = [sample.latency_ms for sample in samples]
    first_ms, last_ms = tenths(latency_ms)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, values in ((top, memory_mb), (bottom, latency_ms)):
        axes.plot(at, values, ".", markersize=4, color=BLUE)
        axes.axvspan(0, settled, color="black", alpha=0.06, linewidth=0)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    top.plot([settled, at[-1]], [line.start_mb, line.start_mb + line.rise_mb], color=ORANGE, linewidth=1.5)
    # No narrower than SPAN_MB: otherwise the allocator's pages would look like large steps.
    spare_mb = max(SPAN_MB - np.ptp(memory_mb), 0.2 * np.ptp(memory_mb)) / 2
    top.set(ylabel="resident MB", ylim=(memory_mb.min() - spare_mb, memory_mb.max() + spare_mb))
    rise = f"{line.rise_mb:+.1f} MB, {line.mb_per_1000_frames:+.3f} MB per 1000 frames"
    top.set_title(f"memory: {rise} after the warm-up (gray)", fontsize=10, loc="left")
    bottom.set(ylabel="ms, grab to result", ylim=(0, 1.1 * max(latency_ms)), xlabel=unit, xlim=(0, at[-1]))
    change = f"{first_ms:.1f} ms in the first tenth, {last_ms:.1f} ms in the last"
    bottom.set_title(f"latency: {change}", fontsize=10, loc="left")
    save_figure(figure, path)
