"""What tools put before the names of images is taken off, and what was there before stays."""

from pathlib import Path

import numpy as np
import pytest

from mmpnet.adapt.collected_names import CollectedNames
from mmpnet.datasets.types import LabeledImage


def of_names(*names: str) -> list[LabeledImage]:
    none = np.zeros(0, np.float32)
    return [
        LabeledImage(Path("images") / name, (96, 128), none.reshape(0, 4), none.astype(np.int64), none,
                     none.astype(np.bool_), none)
        for name in names
    ]  # fmt: skip


@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("before", ["0a1b2c3d-", "0a1b2c3d__", "12345678-", "000012-", "0a1b2c3d-000012-"])
def test_a_prefix_is_taken_off_where_the_rest_was_collected(journal: bool, before: str) -> None:
    """Recordings are often named by their date, whose eight digits look like such a prefix."""
    stems = ["20261128-1015-000000000ms", "20261129-1015-000000000ms", "20261130-1015-000000000ms"]
    data, labeled = of_names(*(f"{stem}.jpg" for stem in stems)), of_names(f"{before}{stems[2]}.jpg")
    names = CollectedNames([f"{stem}.jpg" for stem in stems] if journal else [], data, labeled)
    assert [names.plain(image.path) for image in data] == stems
    assert names.plain(labeled[0].path) == stems[2]


@pytest.mark.parametrize("mark", ["-", "__"])
def test_prefixes_of_a_whole_export_are_taken_off_also_where_nothing_was_collected(mark: str) -> None:
    """One of the random prefixes has digits alone."""
    exported = of_names(
        *(f"{before}{mark}yard-{at}.jpg" for at, before in enumerate(("9f00aa11", "12345678", "0c" * 4)))
    )
    again = of_names(
        *(f"{before}{mark}yard-{at}.jpg" for at, before in enumerate(("1a2b3c4d", "dd000000", "ffffffff")))
    )
    names = CollectedNames([], exported, again)
    for images in (exported, again):
        assert [names.plain(image.path) for image in images] == ["yard-0", "yard-1", "yard-2"]
