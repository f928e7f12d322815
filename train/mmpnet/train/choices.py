"""Names and bounds of the recipe's options. They are apart from the code that uses them, because the help of mmp-train
shows them without loading torch."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

from mmpnet.system.machine import whole_cores

Assignment: TypeAlias = Literal["adaptive", "atss", "iou"]
AugmentationName: TypeAlias = Literal["full", "light", "none"]
BoxLoss: TypeAlias = Literal["giou", "ciou", "smooth-l1"]
Caching: TypeAlias = Literal["auto", "on", "off"]
Negatives: TypeAlias = Literal["focal", "quality", "hard", "random"]
Uncertain: TypeAlias = Literal["soft", "ignore"]

FINE_TUNING: Mapping[str, float] = {"lr": 5e-4, "backbone_lr": 1e-4, "warmup_steps": 20, "epochs": 20}
"""Defaults for training that starts from the model that ships: it already finds people, and large steps would undo
that."""
NAMED_WEIGHTS = ("imagenet", "default", "none")
BACKBONE_BLOCKS = 18
LEAST_SCORE = 0.05
"""Detections of teachers with a lower score are not stored."""
MAX_WORKERS = 8
TEACHER_LABELS_SUFFIX = ".json"
"""A teacher whose path ends so is the teacher.json of an earlier run, not a detector."""


def default_workers() -> int:
    """Return the default number of loader processes: one for each core that may be used, at most MAX_WORKERS."""
    return min(whole_cores(), MAX_WORKERS)


def with_fine_tuning(options: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """The options, with those of FINE_TUNING in place of the defaults if training starts from the model that ships.

    options: by their fields' names. given: names of those that the caller chose, which stay as they are.
    """
    if options.get("weights") != "default":
        return dict(options)
    return {**options, **{name: value for name, value in FINE_TUNING.items() if name not in given}}
