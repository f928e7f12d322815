"""The names of images as they were collected, whatever tools have put before them since."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpnet.datasets.types import LabeledImage

_OF_LABEL_STUDIO = re.compile(r"^[0-9a-f]{8}(-|__)")
"""What Label Studio puts before the name of an uploaded image, and of one from a folder that it serves."""
_PUT_BEFORE = re.compile(rf"{_OF_LABEL_STUDIO.pattern}|^[0-9]{{6}}-")
"""That, and what `--copy-mistakes` puts before all names."""


class CollectedNames:
    """The names of images as they were collected: tools have put something before some of them since.

    collected: the names in the journals. images: those of each set that came from one place; a set that Label Studio
    wrote has its prefixes before most names. A collected name may begin as such a prefix does, as that of a recording
    of `20261130-101500.mp4`, so that a prefix is taken off only where the rest is known, or from such a set.
    """

    def __init__(self, collected: Iterable[str], *images: Sequence[LabeledImage]) -> None:
        self._collected = {Path(name).stem for name in collected}
        self._exported: set[Path] = set()
        self._others: set[str] = set()
        for one in images:
            stems = [image.path.stem for image in one]
            prefixes = [found[0] for stem in stems if (found := _OF_LABEL_STUDIO.match(stem))]
            # The digits of a date are no letters; of random hexadecimal digits one in forty has none.
            if len(prefixes) > len(stems) / 2 and any(re.search("[a-f]", prefix) for prefix in prefixes):
                self._exported.update(image.path for image in one)
            else:
                self._others.update(stems)

    def plain(self, path: Path) -> str:
        """The stem of an image as it was collected."""
        stems = [path.stem]
        while before := _PUT_BEFORE.match(stems[-1]):
            stems.append(stems[-1][before.end() :])
        collected = next((stem for stem in stems if stem in self._collected), None)
        if collected is not None:
            return collected
        if path in self._exported and _OF_LABEL_STUDIO.match(path.stem):
            stems = stems[1:]
        return next((stem for stem in reversed(stems) if stem in self._others), stems[0])
