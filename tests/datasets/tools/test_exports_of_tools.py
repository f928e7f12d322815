"""Data sets as well-known tools write them give the boxes that were drawn.

FORMATS.md, beside this file, says which exporter or document each writer follows. All of them draw the same two
objects in a.png, of 40x30 px, and nothing in b.png.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from torchvision.ops import box_convert

from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import recognize
from support.drawn_images import Drawn, draw_image

WIDTH, HEIGHT = 40, 30
PERSON, DOG = (4, 5, 14, 17), (20, 10, 38, 28)
OBJECTS = (("person", PERSON), ("dog", DOG))
Writer = Callable[[Path], Path]


def images_in(folder: Path, *names: str) -> None:
    for name in names or ("a.png", "b.png"):
        draw_image(folder / name, Drawn(Path(name).stem, (HEIGHT, WIDTH), []))


def rows(*, order: tuple[str, ...] = ("person", "dog")) -> str:
    """YOLO rows, computed by torchvision."""
    lines = []
    for name, xyxy in OBJECTS:
        cx, cy, w, h = box_convert(torch.tensor([xyxy], dtype=torch.float64), "xyxy", "cxcywh")[0].tolist()
        lines.append(f"{order.index(name)} {cx / WIDTH:.6f} {cy / HEIGHT:.6f} {w / WIDTH:.6f} {h / HEIGHT:.6f}\n")
    return "".join(lines)


def coco(categories: list[dict[str, Any]], *, prefix: str = "", **extra: object) -> dict[str, Any]:
    ids = {one["name"]: one["id"] for one in categories}
    images = [
        {"id": index, "license": 1, "file_name": f"{prefix}{name}.png", "height": HEIGHT, "width": WIDTH}
        for index, name in enumerate("ab", start=1)
    ]
    annotations = [
        {
            "id": index,
            "image_id": 1,
            "category_id": ids[name],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "segmentation": [],
            "iscrowd": 0,
            **extra,
        }
        for index, (name, (x1, y1, x2, y2)) in enumerate(OBJECTS, start=1)
    ]
    return {"info": {}, "licenses": [], "categories": categories, "images": images, "annotations": annotations}


def voc_objects(*, first: float = 0, last: float = 0, extra: str = "<pose>Unspecified</pose>") -> str:
    """Objects with corners as points; `first` is added to the minima, `last` to the maxima."""
    return "".join(
        f"<object><name>{name}</name>{extra}<truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{x1 + first}</xmin><ymin>{y1 + first}</ymin><xmax>{x2 + last}</xmax><ymax>{y2 + last}</ymax></bndbox>"
        "</object>"
        for name, (x1, y1, x2, y2) in OBJECTS
    )


def voc_xml(name: str, objects: str, *, folder: str, path: str, database: str) -> str:
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return (
        f"<annotation><folder>{folder}</folder><filename>{name}</filename><path>{path}</path>"
        f"<source><database>{database}</database></source>{size}<segmented>0</segmented>{objects}</annotation>"
    )


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


PLAIN = [{"id": 1, "name": "person", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""}]


def coco_itself(root: Path) -> Path:
    """https://cocodataset.org/#format-data, with its ids with gaps."""
    images_in(root / "train2017")
    categories = [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 1, "name": "person", "supercategory": "person"},
    ]
    write_json(root / "annotations" / "instances_train2017.json", coco(categories))
    return root


def cvat_coco(root: Path) -> Path:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-coco/: images/SUBSET and instances_SUBSET.json."""
    images_in(root / "images" / "default")
    attributes = {"occluded": False, "rotation": 0.0}
    write_json(root / "annotations" / "instances_default.json", coco(PLAIN, attributes=attributes))
    return root


def cvat_xml(root: Path) -> Path:
    """https://docs.cvat.ai/docs/other/xml_format/, version 1.1, annotation."""
    images_in(root / "images")
    labels = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name, _ in OBJECTS)
    boxes = "".join(
        f'<box label="{name}" source="manual" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}" '
        'z_order="0"><attribute name="pose">left</attribute></box>'
        for name, (x1, y1, x2, y2) in OBJECTS
    )
    (root / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><id>1</id>'
        f"<size>2</size><mode>annotation</mode><labels>{labels}</labels></task></meta>"
        f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">{boxes}</image>'
        f'<image id="1" name="b.png" width="{WIDTH}" height="{HEIGHT}"></image></annotations>'
    )
    return root


def cvat_yolo(root: Path) -> Path:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-yolo/: obj.data, obj.names, obj_train_data/."""
    images_in(root / "obj_train_data")
    (root / "obj_train_data" / "a.txt").write_text(rows())
    (root / "obj_train_data" / "b.txt").write_text("")
    (root / "obj.names").write_text("person\ndog\n")
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    (root / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    return root


def cvat_ultralytics(root: Path) -> Path:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-yolo-ultralytics/: data.yaml, train.txt, images/."""
    images_in(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text(rows())
    (root / "train.txt").write_text("images/train/a.png\nimages/train/b.png\n")
    (root / "data.yaml").write_text("names:\n  0: person\n  1: dog\npath: ./\ntrain: train.txt\n")
    return root


def voc_itself(root: Path) -> Path:
    """http://host.robots.ox.ac.uk/pascal/VOC/voc2012/: corners are pixels counted from 1, the last one inside."""
    images_in(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name, objects in (("a", voc_objects(first=1)), ("b", "")):
        xml = voc_xml(f"{name}.png", objects, folder="VOC2012", path="", database="The VOC2012 Database")
        (root / "Annotations" / f"{name}.xml").write_text(xml)
    return root


def cvat_voc(root: Path) -> Path:
    """CVAT: ImageSets/Main/SUBSET.txt lists all images, an image without objects has no XML, corners are points."""
    images_in(root / "JPEGImages")
    (root / "Annotations").mkdir()
    xml = voc_xml(
        "a.png",
        voc_objects(first=0.0, last=0.0, extra="<occluded>0</occluded>"),
        folder="",
        path="",
        database="Unknown",
    )
    (root / "Annotations" / "a.xml").write_text(xml)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:::\nperson:::\ndog:::\n")
    return root


def label_studio_coco(root: Path) -> Path:
    """https://labelstud.io/guide/export#COCO: result.json with names relative to it, and images/."""
    images_in(root / "images")
    categories = [{"id": 0, "name": "dog"}, {"id": 1, "name": "person"}]
    content = coco(categories, prefix="images/", ignore=0)
    images = [
        {"width": WIDTH, "height": HEIGHT, "id": index, "file_name": one["file_name"]}
        for index, one in enumerate(content["images"])
    ]
    annotations = [{**one, "id": index, "image_id": 0} for index, one in enumerate(content["annotations"])]
    info = {"year": 2026, "version": "1.0", "contributor": "Label Studio"}
    write_json(
        root / "result.json", {"images": images, "categories": categories, "annotations": annotations, "info": info}
    )
    return root


def label_studio_coco_on_windows(root: Path) -> Path:
    """https://labelstud.io/guide/export#COCO, as written on Windows."""
    label_studio_coco(root)
    path = root / "result.json"
    path.write_text(path.read_text().replace("images/", "images\\\\"))
    return root


def label_studio_yolo(root: Path) -> Path:
    """https://labelstud.io/guide/export#YOLO: classes.txt, notes.json, images/ and labels/."""
    images_in(root / "images")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text(rows(order=("dog", "person")))
    (root / "labels" / "b.txt").write_text("")
    (root / "classes.txt").write_text("dog\nperson\n")
    categories = [{"id": 0, "name": "dog"}, {"id": 1, "name": "person"}]
    write_json(root / "notes.json", {"categories": categories, "info": {"contributor": "Label Studio"}})
    return root


def label_studio_voc(root: Path) -> Path:
    """https://labelstud.io/guide/export#Pascal-VOC-XML: Annotations/ and images/."""
    images_in(root / "images")
    (root / "Annotations").mkdir()
    for name, objects in (("a", voc_objects()), ("b", "")):
        xml = voc_xml(f"{name}.png", objects, folder="images", path="", database="MyDatabase")
        (root / "Annotations" / f"{name}.xml").write_text(xml)
    return root


def roboflow_coco(root: Path) -> Path:
    """https://roboflow.com/formats/coco-json: _annotations.coco.json beside the images of each split."""
    images_in(root / "train")
    categories = [
        {"id": 0, "name": "street", "supercategory": "none"},
        {"id": 1, "name": "dog", "supercategory": "street"},
        {"id": 2, "name": "person", "supercategory": "street"},
    ]
    write_json(root / "train" / "_annotations.coco.json", coco(categories))
    (root / "README.roboflow.txt").write_text("street\n")
    return root


def roboflow_yolo(root: Path) -> Path:
    """https://roboflow.com/formats/yolov8-pytorch-txt: ../train/images in data.yaml, which is beside train/."""
    images_in(root / "train" / "images")
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "a.txt").write_text(rows(order=("dog", "person")).rstrip("\n"))
    (root / "train" / "labels" / "b.txt").write_text("")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['dog', 'person']\n\n"
        "roboflow:\n  workspace: w\n  project: p\n  version: 1\n  license: CC BY 4.0\n"
    )
    (root / "README.dataset.txt").write_text("street\n")
    return root


def roboflow_voc(root: Path) -> Path:
    """https://roboflow.com/formats/pascal-voc-xml: NAME.xml beside NAME.jpg in each split's folder."""
    images_in(root / "train")
    extra = "<pose>Unspecified</pose><occluded>0</occluded>"
    for name, objects in (("a", voc_objects(first=1, last=1, extra=extra)), ("b", "")):
        xml = voc_xml(f"{name}.png", objects, folder="", path=f"{name}.png", database="roboflow.com")
        (root / "train" / f"{name}.xml").write_text(xml)
    return root


def labelimg_voc(root: Path) -> Path:
    """https://github.com/HumanSignal/labelImg, pascal_voc_io.py: XML with the path of the author's computer."""
    images_in(root)
    for name, objects in (("a", voc_objects()), ("b", "")):
        path = f"C:\\Users\\me\\{name}.png"
        xml = voc_xml(f"{name}.png", objects, folder="me", path=path, database="Unknown")
        (root / f"{name}.xml").write_text(xml)
    return root


def labelimg_yolo(root: Path) -> Path:
    """https://github.com/HumanSignal/labelImg, yolo_io.py: classes.txt beside NAME.txt and the images."""
    images_in(root)
    (root / "a.txt").write_text(rows())
    (root / "b.txt").write_text("")
    (root / "classes.txt").write_text("person\ndog\n")
    return root


def via_regions() -> list[dict[str, Any]]:
    return [
        {
            "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
            "region_attributes": {"class": name, "occluded": {"yes": True}},
        }
        for name, (x1, y1, x2, y2) in OBJECTS
    ]


def via_files() -> dict[str, Any]:
    return {
        f"{name}.png99": {"filename": f"{name}.png", "size": 99, "regions": regions, "file_attributes": {}}
        for name, regions in (("a", via_regions()), ("b", []))
    }


def via2_project(root: Path) -> Path:
    """https://www.robots.ox.ac.uk/~vgg/software/via/docs/user_guide.html: a saved project, under a chosen name."""
    images_in(root)
    attributes = {"region": {"class": {"type": "dropdown", "options": {"person": "", "dog": ""}}}, "file": {}}
    content = {"_via_settings": {}, "_via_img_metadata": via_files(), "_via_attributes": attributes}
    write_json(root / "people.json", {**content, "_via_data_format_version": "2.0.10", "_via_image_id_list": []})
    return root / "people.json"


def via2_annotations(root: Path) -> Path:
    """https://www.robots.ox.ac.uk/~vgg/software/via/docs/user_guide.html: annotations exported as JSON."""
    images_in(root)
    write_json(root / "via_project_7Jan2020_10h30m_json.json", via_files())
    return root


def via2_coco(root: Path) -> Path:
    """https://www.robots.ox.ac.uk/~vgg/software/via/docs/user_guide.html: annotations exported in COCO's format."""
    images_in(root)
    categories = [
        {"supercategory": "class", "id": 1, "name": "person"},
        {"supercategory": "class", "id": 2, "name": "dog"},
    ]
    content = coco(categories)
    corners = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for _, (x1, y1, x2, y2) in OBJECTS]
    for one, polygons in zip(content["annotations"], corners, strict=True):
        one["segmentation"] = polygons
    write_json(root / "via_project_7Jan2020_10h30m_coco.json", content)
    return root / "via_project_7Jan2020_10h30m_coco.json"


def via3_project(root: Path) -> Path:
    """https://gitlab.com/vgg/via/-/blob/master/via-3.x.y/src/README.md: a project of version 3."""
    images_in(root)
    metadata = {
        f"1_{name}": {"vid": "1", "flg": 0, "z": [], "xy": [2, x1, y1, x2 - x1, y2 - y1], "av": {"1": str(index)}}
        for index, (name, (x1, y1, x2, y2)) in enumerate(OBJECTS)
    }
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "rev": "1", "pname": "people", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {
            "1": {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"0": "person", "1": "dog"}}
        },
        "file": {
            fid: {"fid": fid, "fname": name, "type": 2, "loc": 1, "src": ""}
            for fid, name in (("1", "a.png"), ("2", "b.png"))
        },
        "metadata": {**metadata, "2_file": {"vid": "2", "flg": 0, "z": [], "xy": [], "av": {}}},
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
    }
    write_json(root / "people.json", content)
    return root / "people.json"


def ultralytics(root: Path) -> Path:
    """https://docs.ultralytics.com/datasets/detect/: path, train, val and names by number in data.yaml."""
    images_in(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text(rows())
    (root / "labels" / "train.cache").write_bytes(b"\x93NUMPY")
    (root / "coco8.yaml").write_text(
        "path: .\ntrain: images/train # 2 images\nval: images/train\ntest: # optional\n\n"
        "names:\n  0: person\n  1: dog\n\n"
        "download: https://example.invalid/coco8.zip\n"
    )
    return root / "coco8.yaml"


def fiftyone_coco(root: Path) -> Path:
    """https://docs.voxel51.com/user_guide/export_datasets.html#cocodetectiondataset: data/ and labels.json."""
    images_in(root / "data")
    categories = [{"id": 0, "name": "dog", "supercategory": None}, {"id": 1, "name": "person", "supercategory": None}]
    content = coco(categories)
    images = [{**one, "license": None, "coco_url": None} for one in content["images"]]
    annotations = [
        {key: one[key] for key in one if key not in ("iscrowd", "segmentation")} for one in content["annotations"]
    ]
    write_json(root / "labels.json", {**content, "images": images, "annotations": annotations})
    return root


WRITERS: dict[str, tuple[Writer, str]] = {
    writer.__name__: (writer, kind)
    for kind, writers in {
        "COCO JSON": (
            coco_itself,
            cvat_coco,
            label_studio_coco,
            label_studio_coco_on_windows,
            roboflow_coco,
            via2_coco,
            fiftyone_coco,
        ),
        "YOLO": (cvat_yolo, cvat_ultralytics, label_studio_yolo, roboflow_yolo, labelimg_yolo, ultralytics),
        "Pascal VOC": (voc_itself, cvat_voc, label_studio_voc, roboflow_voc, labelimg_voc),
        "VIA": (via2_project, via2_annotations, via3_project),
        "CVAT": (cvat_xml,),
    }.items()
    for writer in writers
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_boxes_that_were_drawn_are_read(name: str, tmp_path: Path) -> None:
    writer, kind = WRITERS[name]
    path = writer(tmp_path / "set")
    assert recognize(path).name == kind
    dataset = load_dataset([path], "train")
    assert sorted(dataset.class_names[1:]) == ["dog", "person"]
    first, second = sorted(dataset.images, key=lambda image: image.path)
    assert [first.path.name, second.path.name] == ["a.png", "b.png"]
    assert first.image_hw == second.image_hw == first.read().shape[:2]
    found = {dataset.class_names[i]: box for i, box in zip(first.class_ids, first.boxes_xyxy, strict=True)}
    assert found.keys() == {"person", "dog"}
    for class_name, xyxy in OBJECTS:
        np.testing.assert_allclose(found[class_name], xyxy, atol=1e-3)
    assert len(second.boxes_xyxy) == 0
    assert not first.crowd.any()
    assert first.scores.tolist() == [1, 1]


@pytest.mark.parametrize("name", [name for name, (_, kind) in WRITERS.items() if kind == "COCO JSON"])
def test_pycocotools_reads_the_same_boxes(name: str, tmp_path: Path) -> None:
    path = WRITERS[name][0](tmp_path / "set")
    (json_path,) = [path] if path.is_file() else path.rglob("*.json")
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(json_path))
    expected = {
        reference.cats[one["category_id"]]["name"]: one["bbox"] for one in reference.loadAnns(reference.getAnnIds())
    }
    dataset = load_dataset([path], "train")
    image = dataset.images[0]
    boxes = box_convert(torch.from_numpy(image.boxes_xyxy), "xyxy", "xywh").tolist()
    found = {dataset.class_names[i]: box for i, box in zip(image.class_ids, boxes, strict=True)}
    assert found == expected


SUPERVISION = ["labelimg_yolo", "label_studio_yolo", "ultralytics", "roboflow_yolo", "roboflow_coco"]
"""Sets whose format the library supervision reads with the same meaning."""


@pytest.mark.parametrize("name", SUPERVISION)
def test_supervision_reads_the_same_boxes(name: str, tmp_path: Path) -> None:
    """An independent reader, and that of Roboflow itself."""
    supervision = pytest.importorskip("supervision", reason="pip install 'mmpnet[track]'")
    path = WRITERS[name][0](tmp_path / "set")
    dataset = load_dataset([path], "train")
    images = str(dataset.images[0].path.parent)
    if name.endswith("coco"):
        (labels,) = path.rglob("*.json")
        reference = supervision.DetectionDataset.from_coco(images, str(labels))
    else:
        (labels,) = (tmp_path / "set").rglob("a.txt")
        yaml = next((tmp_path / "set").rglob("*.yaml"), tmp_path / "names.yaml")
        if yaml.parent == tmp_path:
            yaml.write_text(f"names: {next(path.rglob('classes.txt')).read_text().split()}")
        reference = supervision.DetectionDataset.from_yolo(images, str(labels.parent), str(yaml))
    assert len(reference) == len(dataset.images) == 2
    for image_path, _, boxes in reference:
        (image,) = (one for one in dataset.images if one.path.name == Path(image_path).name)
        expected = {reference.classes[i]: xyxy.tolist() for i, xyxy in zip(boxes.class_id, boxes.xyxy, strict=True)}
        found = {dataset.class_names[i]: box for i, box in zip(image.class_ids, image.boxes_xyxy, strict=True)}
        assert found.keys() == expected.keys()
        for class_name, xyxy in found.items():
            np.testing.assert_allclose(xyxy, expected[class_name], atol=1e-3)


@pytest.mark.parametrize("name", [name for name, (_, kind) in WRITERS.items() if kind in ("COCO JSON", "VIA", "CVAT")])
def test_images_that_no_entry_names_are_counted(name: str, tmp_path: Path) -> None:
    path = WRITERS[name][0](tmp_path / "set")
    assert not [note for note in load_dataset([path], "train").notes if "without an entry" in note]
    folder = load_dataset([path], "train").images[0].path.parent
    images_in(folder, "c.png", "d.png")
    (note,) = [note for note in load_dataset([path], "train").notes if "without an entry" in note]
    assert note.startswith(f"{folder}: 2 images, such as c.png, without an entry in ")


def test_images_of_another_split_in_the_same_folder_are_named(tmp_path: Path) -> None:
    images_in(tmp_path / "images", "a.png", "b.png", "c.png", "d.png")
    write_json(tmp_path / "train.json", coco(PLAIN))
    val = coco(PLAIN)
    val["images"] = [{**one, "file_name": name} for one, name in zip(val["images"], ("c.png", "x/d.png"), strict=True)]
    write_json(tmp_path / "val.json", val)
    assert load_dataset([tmp_path], "train").notes == ()


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A COCO JSON after a change."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_two_entries_of_one_image_are_a_fault(tmp_path: Path) -> None:
    """As Label Studio writes for two annotators: each entry's people would be background in the other."""
    folder = label_studio_coco(tmp_path / "set")
    path = changed(folder / "result.json", lambda content: content["images"][1].update(file_name="images/a.png"))
    with pytest.raises(DatasetError, match=r"a\.png is that of id 0 and id 1; join the two entries"):
        load_dataset([path], "train")


def test_boxes_that_are_fractions_of_the_image_are_a_fault(tmp_path: Path) -> None:
    def divide(content: dict[str, Any]) -> None:
        for one in content["annotations"]:
            one["bbox"] = [value / side for value, side in zip(one["bbox"], (WIDTH, HEIGHT) * 2, strict=True)]

    path = changed(fiftyone_coco(tmp_path / "set") / "labels.json", divide)
    with pytest.raises(DatasetError, match="seem to be fractions of the image; expected px"):
        load_dataset([path], "train")


def test_boxes_that_are_two_corners_are_a_fault(tmp_path: Path) -> None:
    """Small boxes near the upper left corner stay in their image when they are read as sides."""

    def restate(content: dict[str, Any]) -> None:
        content["annotations"] = content["annotations"][:1]
        content["annotations"][0]["bbox"] = list(PERSON)

    path = changed(fiftyone_coco(tmp_path / "set") / "labels.json", restate)
    with pytest.raises(DatasetError, match=r"areas are those of boxes \[x1, y1, x2, y2\], but COCO"):
        load_dataset([path], "train")


def test_a_shape_of_cvat_that_has_left_the_image_is_no_object(tmp_path: Path) -> None:
    path = cvat_xml(tmp_path / "set") / "annotations.xml"
    gone = '<box label="dog" outside="1" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9"></box></image>'
    path.write_text(path.read_text().replace("</image>", gone, 1))
    assert len(load_dataset([path], "train").images[0].boxes_xyxy) == 2


def test_tracks_of_cvat_are_not_dropped_in_silence(tmp_path: Path) -> None:
    path = cvat_xml(tmp_path / "set") / "annotations.xml"
    path.write_text(path.read_text().replace("</annotations>", '<track id="0" label="dog"></track></annotations>'))
    with pytest.raises(DatasetError, match="is CVAT for video, with tracks"):
        load_dataset([path], "train")


def test_a_second_box_of_an_object_of_voc_is_a_fault(tmp_path: Path) -> None:
    folder = voc_itself(tmp_path / "set")
    path = folder / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("</bndbox>", "</bndbox><bndbox></bndbox>", 1))
    with pytest.raises(DatasetError, match="has 2 bndbox; expected one"):
        load_dataset([folder], "train")
