"""Names and bounds of the recipe's options. They are apart from the code that uses them, because the help of mmp-train
shows them without loading torch."""

import os
from typing import Literal, TypeAlias

Assignment: TypeAlias = Literal["adaptive", "atss", "iou"]
AugmentationName: TypeAlias = Literal["full", "light", "none"]
BoxLoss: TypeAlias = Literal["giou", "ciou", "smooth-l1"]
Caching: TypeAlias = Literal["auto", "on", "off"]
Negatives: TypeAlias = Literal["focal", "quality", "hard", "random"]
Uncertain: TypeAlias = Literal["soft", "ignore"]

NAMED_WEIGHTS = ("imagenet", "default", "none")
BACKBONE_BLOCKS = 18
LEAST_SCORE = 0.05
"""Detections of teachers with a lower score are not stored."""
MAX_WORKERS = 8
TEACHER_LABELS_SUFFIX = ".json"
"""A teacher whose path ends so is the teacher.json of an earlier run, not a detector."""


def default_workers() -> int:
    """Return the default number of loader processes: one for each core, at most MAX_WORKERS."""
    return min(os.cpu_count() or 1, MAX_WORKERS)
