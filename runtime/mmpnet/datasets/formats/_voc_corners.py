"""What the corners of a VOC file count: the tools that write the format disagree by one pixel."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from mmpnet.datasets.checked_labels import XYXY


class Convention(Enum):
    """What xmin, ymin, xmax and ymax are."""

    PIXELS_FROM_1 = "pixels counted from 1, the last one inside, as in VOC itself"
    POINTS_FROM_0 = "points counted from 0, as labelImg, CVAT and Label Studio write them"
    POINTS_FROM_1 = "points counted from 1, as Roboflow writes them"


_BY_DATABASE = (
    (re.compile("unknown", re.IGNORECASE), Convention.POINTS_FROM_0),  # labelImg, and Datumaro in CVAT
    (re.compile("mydatabase", re.IGNORECASE), Convention.POINTS_FROM_0),  # Label Studio
    (re.compile("roboflow.*", re.IGNORECASE), Convention.POINTS_FROM_1),  # Roboflow, and its library supervision
)


def conventions_of(roots: Sequence[Any]) -> list[Convention]:
    """The convention of each file of a data set: by its `database`, or else that of VOC; a corner at 0 in such a file
    shows that the tool behind all of them counts from 0."""
    stated = [_stated(root) for root in roots]
    from_0 = any(_has_zero(root) for root, one in zip(roots, stated, strict=True) if one is None)
    otherwise = Convention.POINTS_FROM_0 if from_0 else Convention.PIXELS_FROM_1
    return [one or otherwise for one in stated]


def as_points(corners: Sequence[float], convention: Convention) -> XYXY:
    """xmin, ymin, xmax, ymax as the points (x1, y1, x2, y2) of a box, counted from 0."""
    x1, y1, x2, y2 = corners
    first = 0 if convention is Convention.POINTS_FROM_0 else 1
    last = 1 if convention is Convention.POINTS_FROM_1 else 0
    return x1 - first, y1 - first, x2 - last, y2 - last


def convention_note(path: Path, conventions: Sequence[Convention]) -> list[str]:
    """A note if corners are not those of VOC itself; empty if they are."""
    found = Counter(one for one in conventions if one is not Convention.PIXELS_FROM_1)
    return [f"{path}: corners in {count} of {len(conventions)} files are {one.value}" for one, count in found.items()]


def _stated(root: Any) -> Convention | None:
    database = (root.findtext("source/database") or "").strip()
    return next((convention for name, convention in _BY_DATABASE if name.fullmatch(database)), None)


def _has_zero(root: Any) -> bool:
    texts = (node.findtext(f"bndbox/{side}") for node in root.findall("object") for side in ("xmin", "ymin"))
    return any(re.fullmatch(r"0+(\.0*)?", (text or "").strip()) for text in texts)
