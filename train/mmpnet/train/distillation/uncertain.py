"""What becomes of boxes that a detector drew and was not sure of, in a label file or as a teacher.

Such a box is background in no case: a network that is told so unlearns what the teacher half knew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from mmpnet.contract.arrays import BoolArray
from mmpnet.datasets.types import LabeledImage

Uncertain: TypeAlias = Literal["soft", "ignore"]
"""`soft`: the box is learned, with its score as the probability to give; `ignore`: like a crowd, it is neither learned
nor background."""


def settle_uncertain(
    images: Sequence[LabeledImage], *, least_score: float, sure_score: float, uncertain: Uncertain
) -> tuple[LabeledImage, ...]:
    """The images without the boxes that score below least_score, which are taken for background, and with those below
    sure_score as `uncertain` says. Boxes that people drew score 1."""
    return tuple(_settled(image, least_score, sure_score, uncertain) for image in images)


def is_uncertain(image: LabeledImage, sure_score: float) -> BoolArray:
    """Which boxes of an image score below sure_score (N,)."""
    uncertain: BoolArray = image.scores < np.float32(sure_score)
    return uncertain


def _settled(image: LabeledImage, least_score: float, sure_score: float, uncertain: Uncertain) -> LabeledImage:
    kept = image.scores >= np.float32(least_score)
    crowd = image.crowd | is_uncertain(image, sure_score) if uncertain == "ignore" else image.crowd
    if kept.all() and crowd is image.crowd:
        return image
    return replace(
        image,
        boxes_xyxy=image.boxes_xyxy[kept],
        class_ids=image.class_ids[kept],
        areas_px2=image.areas_px2[kept],
        crowd=crowd[kept],
        scores=image.scores[kept],
    )
