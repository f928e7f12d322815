"""Datasets that are read together and reported separately."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset, read_apart
from mmpnet.datasets.transform import mix
from support.coco_writer import write_coco


@pytest.fixture
def sets(tmp_path: Path) -> list[Path]:
    """Two files that number the same classes differently."""
    paths = [write_coco(tmp_path / name / "val.json", count=count, seed=3) for name, count in (("a", 5), ("b", 4))]
    content = json.loads(paths[1].read_text())
    content["categories"] = [{"id": 2, "name": "dog"}, {"id": 7, "name": "person"}]
    paths[1].write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize("classes", [(), ("someone=person", "dog")])
def test_sets_read_apart_are_those_of_the_mix(sets: list[Path], classes: tuple[str, ...]) -> None:
    apart, mixed = read_apart(sets, "val", classes), load_dataset(sets, "val", classes)
    assert [len(one.images) for one in apart] == [5, 4]
    assert [one.name for one in apart] == ["a/val.json", "b/val.json"]
    assert {one.class_names for one in apart} == {mixed.class_names}
    again = mix(apart)
    assert (again.class_names, again.name, again.sha256) == (mixed.class_names, mixed.name, mixed.sha256)
    for found, expected in zip(again.images, mixed.images, strict=True):
        assert found.path == expected.path
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        assert found.source == expected.source == "synthetic"


def test_one_set_is_read_as_it_is_and_none_twice(sets: list[Path]) -> None:
    (alone,) = read_apart(sets[:1], "val")
    assert alone.class_names == ("background", "person")
    assert alone.images[0].tags == load_dataset(sets[:1], "val").images[0].tags
    with pytest.raises(DatasetError, match="is given twice"):
        read_apart([sets[0], sets[0]], "val")


def test_names_that_differ_only_in_case_or_spaces_are_said(sets: list[Path]) -> None:
    """They come from different tools, and training would learn them as two classes."""
    content = json.loads(sets[1].read_text())
    content["categories"] = [{"id": 2, "name": "traffic_light"}, {"id": 7, "name": "Person"}]
    sets[1].write_text(json.dumps(content))
    alike = [
        "a/val.json + b/val.json: 'person' and 'Person' are different classes; if they mean the same, merge them: "
        "--classes person=person,Person"
    ]
    assert list(load_dataset(sets, "val").notes) == alike
    assert list(read_apart(sets, "val")[0].notes) == alike
    assert alike[0] in load_dataset(sets, "val", ["person"]).notes, "Person is left out, which is said as well"
    assert len(load_dataset(sets, "val", ["person"]).notes) == 2
    for classes in (["person=person,Person"], ["person", "Person"]):
        assert not any("different classes" in note for note in load_dataset(sets, "val", classes).notes)
