"""report.html is one file that needs nothing else, and states what was measured."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MissingExtraError, OutputError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.curves import mean_confidence_curve, precision_recall
from mmpnet.evaluation.evaluate import evaluate
from mmpnet.evaluation.matching import Ranking
from mmpnet.evaluation.report.inputs import History, Line, Measured, Subject, exported_subject
from mmpnet.evaluation.report.plots import confidence_plot, epoch_plot, precision_recall_plot, size_plot
from mmpnet.evaluation.report.report import render_report, write_report
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.optional_packages import require_packages

VOID = frozenset({"meta", "img", "br", "link"})
SUBJECT = Subject("run/best.pth", (("classes", "a <b> & c"),), (("lr", "0.0015"),))


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises if elements are not properly nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, tag: str, name: str) -> list[str]:
        return [value for of, attribute, value in self.attributes if (of, attribute) == (tag, name)]


@pytest.fixture(scope="module")
def measured(tiny_onnx: Path, dataset_folder: Path) -> Measured:
    """An evaluation of the tiny network's random boxes, which has many mistakes."""
    detector = Detector(tiny_onnx, provider="cpu", threads=1)
    dataset = read_coco(dataset_folder / "val.json")
    return Measured(dataset, evaluate(detector, dataset, detector.class_names), "COCO, conf 0.3")


@pytest.fixture
def history() -> History:
    epochs = np.arange(1, 5, dtype=np.float64)
    loss, ap = (
        Line("box", epochs, np.array([0.9, 0.5, 0.4, 0.3])),
        Line("AP", epochs, np.array([np.nan, 0.1, np.nan, 0.2])),
    )
    return History((loss,), (ap,))


def assert_needs_nothing(html: str) -> Page:
    page = Page(html)
    assert not re.search(r"https?:|//\w", re.sub(r'base64,[^"]*', "", html))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    addresses = [
        v for _, name, v in page.attributes if name in ("src", "href", "xlink:href", "srcset", "data", "poster")
    ]
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in addresses)
    assert not re.search(r"@import|url\((?!#)", html)
    return page


def test_the_page_is_whole_in_itself_and_says_what_was_measured(measured: Measured, history: History) -> None:
    page = assert_needs_nothing(render_report(SUBJECT, measured=measured, history=history))
    assert f"AP {measured.evaluation.ap():.3f}" in page.text
    assert f"{measured.evaluation.voc07_ap50:.3f}" in page.text
    assert measured.dataset.sha256 in page.text
    assert "a <b> & c" in page.text, "facts are text, not markup"
    assert page.tags.count("svg") == 5
    images = page.values("img", "src")
    assert len(images) > 6
    for image in images:
        content = np.frombuffer(b64decode(image.removeprefix("data:image/jpeg;base64,")), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR) is not None
    assert all(page.values("img", "alt")), "every image has words"
    assert "width=device-width" in page.values("meta", "content")[0]


def test_ids_are_unique_and_every_reference_has_its_target(measured: Measured, history: History) -> None:
    html = render_report(SUBJECT, measured=measured, history=history)
    ids = [value for _, name, value in Page(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html))
    assert references
    assert {one or other for one, other in references} <= set(ids)


def test_without_a_validation_set_it_shows_the_losses_alone(history: History) -> None:
    page = assert_needs_nothing(
        render_report(
            SUBJECT, measured=None, history=History(history.losses, (Line("AP", np.ones(1), np.full(1, np.nan)),))
        )
    )
    assert "no validation set" in page.text
    assert page.tags.count("svg") == 1
    assert "img" not in page.tags


def test_without_a_history_there_are_no_training_curves(measured: Measured) -> None:
    page = assert_needs_nothing(render_report(SUBJECT, measured=measured, history=None))
    assert "Training" not in page.words
    assert page.tags.count("svg") == 3


@pytest.mark.parametrize("finds", ["nothing", "everything"])
def test_a_report_of_a_detector_that_finds_nothing_or_everything_is_complete(dataset_folder: Path, finds: str) -> None:
    dataset = read_coco(dataset_folder / "val.json")
    answers = {image.read().tobytes(): image for image in dataset.images}

    def detect(frame_bgr: np.ndarray) -> Detections:
        image = answers[frame_bgr.tobytes()]
        count = len(image.class_ids) if finds == "everything" else 0
        return Detections(image.boxes_xyxy[:count], np.ones(count, np.float32), image.class_ids[:count])

    evaluation = evaluate(detect, dataset, dataset.class_names)
    page = assert_needs_nothing(render_report(SUBJECT, measured=Measured(dataset, evaluation, "p"), history=None))
    if finds == "everything":
        assert f"{dataset.num_boxes} correct detections, 0 false positives, 0 missed boxes" in page.text
    else:
        assert f"0 correct detections, 0 false positives, {dataset.num_boxes} missed boxes" in page.text


def test_several_classes_have_a_table(dataset_folder: Path) -> None:
    plain = read_coco(dataset_folder / "val.json")
    images = tuple(
        LabeledImage(p.path, p.image_hw, p.boxes_xyxy, p.class_ids + (index % 2), p.areas_px2, p.crowd, p.scores)
        for index, p in enumerate(plain.images)
    )
    dataset = Dataset(plain.path, plain.name, ("background", "person", "dog", "cat"), images, plain.sha256)
    answers = {image.read().tobytes(): image for image in images}

    def detect(frame_bgr: np.ndarray) -> Detections:
        image = answers[frame_bgr.tobytes()]
        return Detections(image.boxes_xyxy, np.ones(len(image.class_ids), np.float32), image.class_ids)

    evaluation = evaluate(detect, dataset, dataset.class_names)
    page = assert_needs_nothing(render_report(SUBJECT, measured=Measured(dataset, evaluation, "p"), history=None))
    assert "dog" in page.words
    assert "mean of 2 classes" in page.text, "a class without boxes is in no mean"


def test_a_page_without_settings_or_mistakes_is_written_whole_or_not_at_all(measured: Measured, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", Subject("m", ()), measured=measured, history=None)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match="absent"):
        write_report(tmp_path / "absent" / "report.html", Subject("m", ()), measured=measured, history=None)


def test_an_exported_file_says_where_it_comes_from(tiny_onnx: Path) -> None:
    subject = exported_subject(tiny_onnx, Detector(tiny_onnx, provider="cpu").metadata)
    facts = dict(subject.facts)
    assert facts["classes"] == "person"
    assert "synthetic/train.json, 16 images" in facts["trained on"]
    assert len(facts["checkpoint sha256"]) == 64


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"a report needs no_such_package: pip install 'mmpnet\[eval\]'"):
        require_packages("json", "no_such_package", wanted_for="a report")


@pytest.mark.parametrize(
    "fault", ["ImportError('built for numpy 1')", "AttributeError('_ARRAY_API')", "ValueError('size')"]
)
def test_a_broken_package_is_one_line_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    name = f"broken_{fault[:5].lower()}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "part.py").write_text(f"raise {fault}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=rf"a report needs {name}: {name} cannot be loaded \(.*; pip install"):
        require_packages(f"{name}.part", wanted_for="a report")


def test_plots_take_the_color_of_their_page_and_name_their_axes() -> None:
    ranking = Ranking(np.array([0.9, 0.5], np.float32), np.array([True, False]), 2)
    curve = precision_recall(ranking)
    epochs = np.arange(3.0)
    plots = {
        precision_recall_plot([curve], [curve]): ("recall", "precision", "IoU 0.5", "IoU 0.75"),
        precision_recall_plot([curve, curve], [curve, curve]): ("recall", "IoU 0.75"),
        confidence_plot(mean_confidence_curve([ranking])): ("score threshold", "precision", "recall", "F1"),
        size_plot([("small", None, 0), ("large", 0.4, 3)]): ("small", "none to measure", "0.400", "3 boxes"),
        epoch_plot([Line("box", epochs, epochs), Line("cls", epochs, epochs)], "loss"): ("epoch", "loss", "box 2.000"),
    }
    for svg, words in plots.items():
        page = Page(svg)
        assert page.tags[0] == "svg"
        assert page.values("svg", "role") == ["img"]
        assert "currentColor" in svg
        assert "#010203" not in svg
        assert all(word in page.text for word in words), words
    assert len(set(plots)) == len(plots)


def test_the_same_numbers_give_the_same_plot() -> None:
    epochs = np.arange(3.0)
    first, second = (epoch_plot([Line("box", epochs, epochs)], "loss") for _ in range(2))
    assert first == second


def test_plotting_leaves_matplotlibs_own_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    epoch_plot([Line("box", np.arange(3.0), np.arange(3.0))], "loss")
    assert dict(mpl.rcParams) == before
