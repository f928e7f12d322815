"""How training treats boxes that a detector drew and was not sure of, in a label file or as a teacher.

Such a box is never background: a network that learns it as background unlearns what the detector found there.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmpnet.datasets.types import LabeledImage
from mmpnet.train.choices import Uncertain

"""`soft`: the box is learned, and its score is the target probability. `ignore`: a box below a score is treated like a
crowd; it is neither learned nor background."""


def settle_uncertain(
    images: Sequence[LabeledImage], *, uncertain: Uncertain, sure_score: float
) -> tuple[LabeledImage, ...]:
    """Return the images; with `ignore`, their boxes with a score below sure_score are marked as crowds.

    Boxes that people drew have the score 1, so they stay.
    """
    return tuple(images) if uncertain == "soft" else tuple(_with_ignored(image, sure_score) for image in images)


def _with_ignored(image: LabeledImage, sure_score: float) -> LabeledImage:
    unsure = image.scores < np.float32(sure_score)  # (N,)
    return replace(image, crowd=image.crowd | unsure) if unsure.any() else image
