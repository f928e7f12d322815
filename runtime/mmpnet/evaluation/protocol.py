"""The default protocol of an evaluation: thresholds, and the resamples of its intervals."""

from mmpnet.contract.thresholds import Thresholds

EVALUATION_THRESHOLDS = Thresholds(conf=0.001, iou=0.5, max_det=100)
RESAMPLES = 1000
"""Number of resamples of the bootstrap."""


def protocol(thresholds: Thresholds) -> str:
    """The name of an evaluation with these thresholds."""
    return f"COCO, conf {thresholds.conf}, NMS IoU {thresholds.iou}, {thresholds.max_det} detections"


EVALUATION_PROTOCOL = protocol(EVALUATION_THRESHOLDS)
