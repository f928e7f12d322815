"""Which frames a collection keeps, and how many."""

from dataclasses import dataclass

TEACHER_LEAST_SCORE = 0.3
"""Lowest score of a label that teachers draw."""


@dataclass(frozen=True, slots=True)
class Interest:
    """When a frame is worth labeling.

    every_s: one frame after this time in any case. unsure: lowest and highest score of a box that the model is unsure
    of. gap_s: least time between two frames. conf: lowest score of a box that counts as found.

    Raises: ValueError if a time is negative or the scores are not an interval in [0, 1].
    """

    every_s: float = 60.0
    unsure: tuple[float, float] = (0.2, 0.5)
    gap_s: float = 2.0
    conf: float = 0.4

    def __post_init__(self) -> None:
        if not self.every_s > 0 or not self.gap_s >= 0:
            raise ValueError(f"every must be above 0 s and gap at least 0 s, got {self.every_s:g} and {self.gap_s:g}")
        low, high = self.unsure
        if not 0 <= low <= high <= 1:
            raise ValueError(f"unsure must be LOW-HIGH with 0 <= LOW <= HIGH <= 1, got {low:g}-{high:g}")


@dataclass(frozen=True, slots=True)
class Limits:
    """per_day: images of a day. bytes: size of all images of the folder. Raises: ValueError if one is below 1."""

    per_day: int = 200
    bytes: int = 2_000_000_000

    def __post_init__(self) -> None:
        if self.per_day < 1 or self.bytes < 1:
            raise ValueError(f"limits must be at least 1, got {self.per_day} images and {self.bytes} bytes")
