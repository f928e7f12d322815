"""Images of COCO files that are chosen and written again."""

import json
from pathlib import Path

import pytest

from harness.training.coco_entries import coco_entries, write_entries
from mmpnet.contract.errors import DatasetError


def test_images_of_several_files_are_numbered_anew_with_their_boxes(dataset_folder: Path, tmp_path: Path) -> None:
    entries = [*coco_entries(dataset_folder / "train.json"), *coco_entries(dataset_folder / "val.json")]
    again = coco_entries(write_entries(tmp_path / "both.json", entries))
    assert [one["image"]["id"] for one in again] == list(range(len(entries)))
    for before, after in zip(entries, again, strict=True):
        assert [box["bbox"] for box in after["boxes"]] == [box["bbox"] for box in before["boxes"]]
        assert after["image"]["file_name"] == before["image"]["file_name"]


def test_files_that_number_their_classes_in_another_way_are_not_mixed(dataset_folder: Path, tmp_path: Path) -> None:
    entries = coco_entries(dataset_folder / "val.json")
    other = [{**one, "categories": [{"id": 0, "name": "person"}, {"id": 1, "name": "helmet"}]} for one in entries]
    with pytest.raises(DatasetError, match=r"the files have different categories, .*'helmet'"):
        write_entries(tmp_path / "both.json", [*entries, *other])
    assert not (tmp_path / "both.json").exists()


@pytest.mark.parametrize("content", ["{", json.dumps({"images": []})])
def test_a_file_that_is_no_coco_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DatasetError, match=r"bad\.json"):
        coco_entries(tmp_path / "bad.json")
