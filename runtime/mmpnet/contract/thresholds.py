"""The thresholds that select detections from candidate boxes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Lowest score kept, largest IoU that two kept boxes of one class may have, most boxes per frame.

    Raises: ValueError if conf or iou is outside [0, 1] or max_det is below 1.
    """

    conf: float = 0.4
    iou: float = 0.5
    max_det: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.conf <= 1 or not 0 <= self.iou <= 1:
            raise ValueError(f"conf and iou must be in [0, 1], got conf={self.conf}, iou={self.iou}")
        if self.max_det < 1:
            raise ValueError(f"max_det must be at least 1, got {self.max_det}")
