"""What is known of a collected image, as its line in the journal holds it."""

from pathlib import Path

import msgspec

JOURNAL = "collected.jsonl"
LABELS = "labels.json"
"""The COCO file of all collected images."""


class CollectedBox(msgspec.Struct, frozen=True, array_like=True):
    """One pre-label: corners in px of the image; `ignored` is neither a person to find nor background."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    class_id: int
    ignored: bool = False


class CollectedImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collected image.

    captured_at: ISO 8601 in UTC; for a video, the time at which it was read. source_time_s: seconds in its source.
    reasons: why it is worth labeling. labeled_by: names of the models that drew the boxes. people: corners of what the
    model of the run was sure of, with which later images are compared. networks: for each model of labeled_by, that of
    its metadata, or "" if it has none; empty in older journals.
    """

    name: str
    source: str
    captured_at: str
    source_time_s: float
    width: int
    height: int
    reasons: tuple[str, ...]
    labeled_by: tuple[str, ...]
    boxes: tuple[CollectedBox, ...] = ()
    people: tuple[tuple[float, float, float, float], ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def day(self) -> str:
        return self.captured_at[:10]


def journal_of(folder: Path) -> Path:
    return folder / JOURNAL
