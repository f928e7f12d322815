"""Frames worth labeling: which they are, what the folder holds, and that it stays whole."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import mmpnet.collect.collection as collection_module
from mmpnet.collect.collection import Collection
from mmpnet.collect.interest import InterestJudge
from mmpnet.collect.options import Interest, Limits
from mmpnet.collect.sink import CollectSink, Labeler
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.datasets.load import load_dataset
from mmpnet.media.images import read_image
from mmpnet.runtime.analytics.tracks import Tracks
from mmpnet.runtime.pipeline.results import Result
from support.frames import make_noise
from support.results import make_result

NAMES = ("background", "person")
SCENE = np.repeat(np.repeat(make_noise(0, (12, 16)), 10, axis=0), 10, axis=1)
"""A scene of 120x160 px with structure that thumbnails keep."""


def found(*boxes: tuple[float, float, float, float, float]) -> Detections:
    rows = np.array(sorted(boxes, key=lambda box: -box[4]), np.float32).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4], np.ones(len(rows), np.int64))


PERSON = (20.0, 20.0, 50.0, 90.0, 0.9)


def frame(at_s: float, *boxes: tuple[float, float, float, float, float], scene: UInt8Array = SCENE) -> Result:
    """A frame of a video at a time."""
    return make_result(scene, index=round(at_s * 10), source="v/door.mp4", kind="video", detections=found(*boxes))


def tracked(result: Result, *ids: int) -> Result:
    confirmed = np.ones(len(ids), np.bool_)
    return replace(result, tracks=Tracks(np.array(ids, np.int64), None, lambda *_: None, confirmed=confirmed))


class Opened(NamedTuple):
    sink: CollectSink
    collection: Collection


def opened(folder: Path, *, labeler: Labeler | None = None, limits: Limits | None = None, **changes: Any) -> Opened:
    collection = Collection(folder, NAMES)
    interest = Interest(every_s=10, gap_s=1)
    sink = CollectSink(collection, interest, limits or Limits(), labeler or Labeler(("tiny",), None, 0.4), **changes)
    return Opened(sink, collection)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").iterdir())


def test_a_frame_is_kept_every_so_often_and_where_the_model_is_unsure() -> None:
    judge = InterestJudge(Interest(every_s=10, gap_s=1, unsure=(0.2, 0.5)))
    assert judge.reasons(frame(0)) == ("interval",)
    judge.kept(frame(0))
    assert judge.reasons(frame(5, PERSON)) == ()
    assert judge.reasons(frame(6, (20, 20, 50, 90, 0.3))) == ("unsure",)
    assert judge.reasons(frame(6.5, (20, 20, 50, 90, 0.3))) == (), "too soon"
    assert judge.reasons(frame(10)) == ("interval",)


def test_a_frame_is_kept_where_the_scene_has_changed() -> None:
    judge = InterestJudge(Interest(every_s=100, gap_s=1))
    judge.kept(frame(0))
    brighter = np.clip(SCENE.astype(np.int64) + 5, 0, 255).astype(np.uint8)
    assert judge.reasons(frame(2, scene=brighter)) == ()
    assert judge.reasons(frame(4, scene=np.ascontiguousarray(SCENE[::-1]))) == ("changed",)


def test_a_frame_is_kept_where_a_tracked_person_is_suddenly_not_found() -> None:
    judge = InterestJudge(Interest(every_s=100, gap_s=0))
    judge.kept(frame(0))
    assert judge.reasons(tracked(frame(1, PERSON), 7)) == ()
    assert judge.reasons(tracked(frame(1.1))) == ("disagree",)
    assert judge.reasons(tracked(frame(1.2))) == (), "once"
    at_border = (0.0, 20.0, 30.0, 90.0, 0.9)
    assert judge.reasons(tracked(frame(2, at_border), 8)) == ()
    assert judge.reasons(tracked(frame(2.1))) == (), "somebody who leaves"


def test_near_duplicates_are_left_out_but_not_a_far_person(tmp_path: Path) -> None:
    with opened(tmp_path / "c").collection as collection:
        sink = CollectSink(collection, Interest(every_s=1, gap_s=0), Limits(), Labeler(("tiny",), None, 0.4))
        noisy = np.clip(SCENE + np.random.default_rng(1).integers(-3, 4, SCENE.shape), 0, 255).astype(np.uint8)
        far = SCENE.copy()
        far[50:54, 80:82] = 0
        for at_s, one in enumerate(
            [frame(0), frame(2, scene=noisy), frame(4, (80, 50, 82, 54, 0.8), scene=far), frame(6, PERSON)]
        ):
            assert sink.write(one, None), at_s
    assert names_in(tmp_path / "c") == ["door-000000000ms.jpg", "door-000004000ms.jpg", "door-000006000ms.jpg"]
    assert (sink.kept.images, sink.kept.near_duplicates) == (3, 1)


def test_the_labels_are_read_by_our_own_readers_and_as_the_tools_state_them(tmp_path: Path) -> None:
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON, (90.5, 30, 110, 100, 0.5), (60, 20, 70, 40, 0.2)), None)
    sink.write(frame(20, scene=np.ascontiguousarray(SCENE[:, ::-1])), None)
    sink.close()
    from_coco = load_dataset([tmp_path / "c" / "labels.json"], "train")
    from_yolo = load_dataset([tmp_path / "c" / "yolo" / "data.yaml"], "train")
    assert load_dataset([tmp_path / "c"], "train").sha256 == from_coco.sha256
    for dataset in (from_coco, from_yolo):
        assert [len(image.boxes_xyxy) for image in dataset.images] == [2, 0]
        assert dataset.class_names == NAMES
        np.testing.assert_allclose(
            dataset.images[0].boxes_xyxy, np.array([[20, 20, 50, 90], [90.5, 30, 110, 100]]), atol=0.01
        )
    np.testing.assert_allclose(from_coco.images[0].scores, [0.9, 0.5], atol=1e-4)
    task = json.loads((tmp_path / "c" / "label-studio" / "tasks.json").read_text())[0]
    assert task["data"] == {"image": "/data/local-files/?d=images/door-000000000ms.jpg"}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "tiny"
    box = prediction["result"][0]
    assert (box["from_name"], box["to_name"], box["type"]) == ("label", "image", "rectanglelabels")
    assert (box["original_width"], box["original_height"]) == (160, 120)
    value = {name: pytest.approx(one) for name, one in {"x": 12.5, "y": 16.6667, "width": 18.75}.items()}
    assert box["value"] == {**value, "height": pytest.approx(58.3333), "rotation": 0, "rectanglelabels": ["person"]}
    assert '<Label value="person"/>' in (tmp_path / "c" / "label-studio" / "interface.xml").read_text()
    collection.__exit__(None, None, None)


def test_a_box_has_every_field_without_which_cvat_refuses_the_file(tmp_path: Path) -> None:
    sink, collection = opened(tmp_path)
    sink.write(frame(0, PERSON), None)
    sink.close()
    collection.__exit__(None, None, None)
    (box,) = json.loads((tmp_path / "labels.json").read_text())["annotations"]
    assert box.keys() >= {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}


def test_corrections_of_cvat_and_label_studio_come_back(tmp_path: Path) -> None:
    """CVAT's COCO export names images as they were; without images beside it, those of the folder above count. Label
    Studio's has the images, with a prefix."""
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON), None)
    sink.close()
    collection.__exit__(None, None, None)
    name = names_in(tmp_path / "c")[0]
    cvat = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "person", "supercategory": ""}],
        "images": [
            {"id": 1, "width": 160, "height": 120, "file_name": name, "license": 0, "flickr_url": "", "coco_url": "",
             "date_captured": 0}
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [], "area": 600.0, "bbox": [1, 2, 20, 30],
             "iscrowd": 0, "attributes": {"occluded": False, "rotation": 0.0}}
        ],
    }  # fmt: skip
    corrected = tmp_path / "c" / "corrected"
    corrected.mkdir()
    (corrected / "instances_default.json").write_text(json.dumps(cvat))
    read = load_dataset([corrected / "instances_default.json"], "train")
    assert read.images[0].path.resolve() == (tmp_path / "c" / "images" / name).resolve()
    np.testing.assert_array_equal(read.images[0].boxes_xyxy, [[1, 2, 21, 32]])
    studio = tmp_path / "studio"
    (studio / "images").mkdir(parents=True)
    shutil.copy(tmp_path / "c" / "images" / name, studio / "images" / f"1a2b3c4d-{name}")
    exported = {
        "images": [{"width": 160, "height": 120, "id": 0, "file_name": f"images/1a2b3c4d-{name}"}],
        "categories": [{"id": 0, "name": "person"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": [1, 2, 20, 30], "ignore": 0,
             "iscrowd": 0, "area": 600}
        ],
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }  # fmt: skip
    (studio / "result.json").write_text(json.dumps(exported))
    assert load_dataset([studio], "train").num_boxes == 1


def test_teachers_draw_the_labels(tmp_path: Path) -> None:
    labeler = Labeler(("big", "bigger"), lambda _: found((1, 2, 31, 42, 0.6), (60, 2, 80, 42, 0.2)), 0.3)
    sink, collection = opened(tmp_path / "c", labeler=labeler)
    sink.write(frame(0, PERSON), None)
    (image,) = collection.images
    assert image.labeled_by == ("big", "bigger")
    (box,) = image.boxes
    assert box.x1 == 1.0
    assert box.score == pytest.approx(0.6)


def test_blurred_people_are_ignored_and_nowhere_background(tmp_path: Path) -> None:
    sink, _ = opened(tmp_path / "c", blur=True)
    weak = (90.0, 30.0, 110.0, 100.0, 0.15)
    sink.write(frame(0, PERSON, weak), None)
    sink.close()
    folder = tmp_path / "c"
    pixels = read_image(folder / "images" / names_in(folder)[0])
    for x1, y1, x2, y2, _ in (PERSON, weak):
        inside = np.s_[int(y1) : int(y2), int(x1) : int(x2)]
        assert np.abs(pixels[inside].astype(int) - SCENE[inside]).mean() > 20
    outside = np.s_[:, 130:]
    assert np.abs(pixels[outside].astype(int) - SCENE[outside]).mean() < 15
    dataset = load_dataset([folder / "labels.json"], "train")
    assert dataset.images[0].crowd.tolist() == [True, True]
    assert list((folder / "labels").iterdir()) == []
    assert not (folder / "yolo").exists()
    assert not (folder / "label-studio" / "tasks.json").exists()


def test_a_second_run_goes_on_and_knows_what_is_there(tmp_path: Path) -> None:
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON), None)
    with pytest.raises(OutputError, match="another run writes to it"):
        Collection(tmp_path / "c", NAMES)
    collection.__exit__(None, None, None)
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON), None)
    assert sink.kept.near_duplicates == 1
    sink.write(frame(30), None)
    sink.close()
    assert len(load_dataset([tmp_path / "c"], "train").images) == 2
    collection.__exit__(None, None, None)
    with pytest.raises(OutputError, match="has labels of class 1, but the model knows 0"):
        Collection(tmp_path / "c", NAMES[:1])


def test_a_crash_at_any_byte_leaves_a_folder_that_goes_on(tmp_path: Path) -> None:
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON), None)
    sink.write(frame(20), None)
    collection.__exit__(None, None, None)
    journal = (tmp_path / "c" / "collected.jsonl").read_bytes()
    second = journal.index(b"\n") + 1
    for cut in (0, 1, second - 1, second, second + 1, len(journal) - 1):
        (tmp_path / "c" / "collected.jsonl").write_bytes(journal[:cut])
        with Collection(tmp_path / "c", NAMES) as again:
            assert len(again.images) == (0 if cut < second else 1)
            again.write_label_files()
        assert len(json.loads((tmp_path / "c" / "labels.json").read_text())["images"]) == len(again.images)
    (tmp_path / "c" / "collected.jsonl").write_bytes(journal)
    (tmp_path / "c" / "images" / "door-000000000ms.jpg").unlink()
    with Collection(tmp_path / "c", NAMES) as again:
        assert [image.name for image in again.images] == ["door-000020000ms.jpg"]
    (tmp_path / "c" / "collected.jsonl").write_bytes(b"{}\n")
    with pytest.raises(OutputError, match=r"collected\.jsonl:1: is not a line of mmp-collect"):
        Collection(tmp_path / "c", NAMES)


def test_a_disk_that_is_nearly_full_stops_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, collection = opened(tmp_path / "c")
    sink.write(frame(0, PERSON), None)
    monkeypatch.setattr(collection_module, "LEAST_FREE_BYTES", 10**18)
    with pytest.raises(OutputError, match="free space, and start the same command again"):
        sink.write(frame(20), None)
    sink.close()
    assert len(collection.images) == len(names_in(tmp_path / "c")) == 1
    assert (tmp_path / "c" / "collected.jsonl").read_bytes().count(b"\n") == 1


def test_limits_of_days_and_bytes_hold_across_runs(tmp_path: Path) -> None:
    said: list[str] = []
    sink, collection = opened(tmp_path / "c", limits=Limits(per_day=2), notice=said.append)
    scenes = [np.ascontiguousarray(np.roll(SCENE, 20 * shift, axis=1)) for shift in range(4)]
    assert all(sink.write(frame(20 * at, scene=scene), None) for at, scene in enumerate(scenes))
    assert (sink.kept.images, sink.kept.over_limit) == (2, 2)
    assert said == ["2026-01-02: 2 images, the most of a day"]
    collection.__exit__(None, None, None)
    sink, _ = opened(tmp_path / "c", limits=Limits(per_day=9, bytes=1), notice=said.append)
    assert not sink.write(frame(100, scene=scenes[3]), None)
    assert "the most allowed" in said[-1]
