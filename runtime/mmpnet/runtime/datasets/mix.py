"""Several data sets as one."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np

from mmpnet.runtime.datasets.classes import renumbered
from mmpnet.runtime.datasets.types import BACKGROUND, Dataset


def mix(datasets: Sequence[Dataset]) -> Dataset:
    """All pictures, in order; classes are matched by name and numbered as they first appear. One data set stays itself.

    Each picture is tagged with its data set's name, so that sampling can weigh the sets. `path` is the first one's.

    Raises: ValueError if there are none.
    """
    if not datasets:
        raise ValueError("nothing to mix: give at least one data set")
    if len(datasets) == 1:
        return datasets[0]
    names = (BACKGROUND, *dict.fromkeys(name for one in datasets for name in one.class_names[1:]))
    pictures = []
    for one in datasets:
        new_ids = np.array([names.index(name) for name in one.class_names], np.int64)
        for picture in one.pictures:
            pictures.append(replace(renumbered(picture, new_ids), tags=(*picture.tags, one.name)))
    return Dataset(
        path=datasets[0].path,
        name=" + ".join(one.name for one in datasets),
        class_names=names,
        pictures=tuple(pictures),
        sha256=sha256("\n".join(one.sha256 for one in datasets).encode()).hexdigest(),
    )
