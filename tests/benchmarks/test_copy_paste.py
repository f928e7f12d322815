"""People pasted into other images: which are copied, where they go, and that each gets its box."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.training.copy_paste import MOST_COVERED, covered, paste, people_to_copy, with_pasted_people
from mmpnet.media.images import read_image, write_image


def entry(path: Path, *boxes: dict[str, Any]) -> dict[str, Any]:
    """An image of 320x240 px with these boxes."""
    return {
        "image": {"file_name": str(path), "width": 320, "height": 240, "source": "street"},
        "boxes": [{"category_id": 1, "iscrowd": 0, **box} for box in boxes],
        "categories": [{"id": 1, "name": "person"}],
    }


@pytest.mark.parametrize(
    ("changes", "copied"),
    [
        ({}, 1),
        ({"score": 0.6}, 1),
        ({"score": 0.4}, 0),
        ({"iscrowd": 1}, 0),
        ({"bbox": [100, 50, 40, 40]}, 0),
        ({"bbox": [100, 50, 90, 100]}, 0),
        ({"bbox": [0, 50, 40, 100]}, 0),
        ({"bbox": [100, 50, 0.4, 100]}, 0),
        ({"bbox": [279.5, 50, 40, 100]}, 0),
    ],
)
def test_only_sure_large_upright_and_whole_people_are_copied(changes: dict[str, Any], copied: int) -> None:
    assert len(people_to_copy(entry(Path("a.png"), {"bbox": [100, 50, 40, 100], **changes}))) == copied


def test_people_who_touch_another_box_are_not_copied() -> None:
    near = entry(Path("a.png"), {"bbox": [100, 50, 40, 100]}, {"bbox": [139, 50, 40, 100]}, {"bbox": [200, 50, 40, 99]})
    assert [person.xywh[0] for person in people_to_copy(near)] == [200]


def test_a_pasted_person_is_whole_in_the_middle_and_fades_at_the_edges() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    paste(image, np.full((40, 20, 3), 200, np.uint8), 10, 5)
    assert (image[15:35, 16:24] == 200).all()
    assert 0 < image[5, 20, 0] < 200
    assert 0 < image[25, 10, 0] < image[25, 11, 0] <= 200
    outside = np.ones((60, 60), bool)
    outside[5:45, 10:30] = False
    assert not image[outside].any()


def test_each_pasted_person_has_a_box_and_the_other_images_stay_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    entries = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        pixels = np.full((240, 320, 3), 80, np.uint8)
        pixels[50:150, 100:140] = random.integers(0, 256, 3)
        write_image(path, pixels)
        entries.append(entry(path, *([] if number % 4 == 3 else [{"bbox": [100, 50, 40, 100]}])))
    pasted = with_pasted_people(entries, tmp_path / "pasted")
    assert pasted == with_pasted_people(entries, tmp_path / "pasted")
    changed = [(old, new) for old, new in zip(entries, pasted, strict=True) if old != new]
    assert 5 <= len(changed) <= 15
    for old, new in changed:
        before, after = (read_image(Path(one["image"]["file_name"])) for one in (old, new))
        added = new["boxes"][len(old["boxes"]) :]
        assert new["boxes"][: len(old["boxes"])] == old["boxes"]
        assert added, "an image in which nobody found a place stays as it is"
        assert new["image"]["file_name"] not in [one["image"]["file_name"] for one in entries]
        for index, box in enumerate(added):
            for other in added[:index]:
                assert covered(other["bbox"], box["bbox"]) <= MOST_COVERED
        differs = (before != after).any(axis=2)
        for box in added:
            left, top, width, height = box["bbox"]
            assert 0.08 * 240 - 1 <= height <= 100
            assert all(covered(other["bbox"], box["bbox"]) <= MOST_COVERED for other in old["boxes"])
            differs[top : top + height, left : left + width] = False
        assert not differs.any(), "nothing else has changed"


def test_nobody_is_pasted_into_the_own_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((240, 320, 3), 80, np.uint8))
    alone = [entry(tmp_path / "a.png", {"bbox": [100, 50, 40, 100]})] * 8
    assert with_pasted_people(alone, tmp_path / "pasted") == alone
