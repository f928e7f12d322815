"""The latency budget of a detector: the shares of preprocessing, inference and postprocessing."""

from typing import Any

import numpy as np

from harness.latency import stage_facts
from mmpnet.bench.latency import STAGES, stage_reports
from mmpnet.bench.statistics import Floats

MOST_SHARE = 0.10
"""The aim: preprocessing and postprocessing together take at most this share of the inference time."""
PREPROCESS, INFER, POSTPROCESS, _ = range(len(STAGES))


def budget(times_ms: Floats) -> dict[str, Any]:
    """One frame size's stages, from ms (repeats, frames, len(STAGES)).

    before_and_after_per_infer: median time of preprocessing and postprocessing together over the median inference time,
    computed for each repeat; the median of these.
    """
    reports = stage_reports(list(times_ms))
    outside_ms = np.median(times_ms[..., PREPROCESS] + times_ms[..., POSTPROCESS], axis=1)  # (repeats,)
    shares = outside_ms / np.median(times_ms[..., INFER], axis=1)
    share = float(np.median(shares))
    return {
        "stages_ms": {name: stage_facts(getattr(reports, name)) for name in STAGES},
        "before_and_after_per_infer": round(share, 4),
        "shares_of_repeats": [round(float(value), 4) for value in shares],
        "within_aim": share <= MOST_SHARE,
    }
