"""Results are written as documented, and only a finished file replaces another."""

import json
import re
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError, SourceError
from mmpnet.media.drawing import WARNING_BGR
from mmpnet.media.images import read_image
from mmpnet.media.video_writer import VIDEO_CODECS
from mmpnet.media.window_probe import why_no_window
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sinks.video import SaveSink
from mmpnet.runtime.sinks.window import WindowSink
from mmpnet.runtime.sources.frame import Event, Kind
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.sources.open import open_source
from mmpnet.system.progress import Notice, no_notice
from support.frames import frame_indices, make_noise, read_video
from support.results import make_result

NAMES = ("background", "person", "dog")


def two_found() -> Detections:
    """Detections of a person and a dog."""
    boxes = np.array([[1.23456, 2, 30.5, 40], [0, 0, 5.999, 6]], np.float32)
    return Detections(boxes, np.array([0.912345, 0.25], np.float32), np.array([1, 2], np.int64))


def gray(value: int, size_hw: tuple[int, int] = (48, 64)) -> UInt8Array:
    return np.full((*size_hw, 3), value, np.uint8)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_an_ndjson_line_is_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    sink = NdjsonSink(str(path), NAMES)
    assert sink.write(make_result(gray(0, (30, 40)), index=7, detections=two_found()), None)
    sink.close()
    assert json.loads(path.read_text()) == {
        "frame": 7,
        "stream": 0,
        "source": "somewhere/a.png",
        "source_frame": 0,
        "source_time_s": 0.7,
        "captured_at": "2026-01-02T03:04:05.678Z",
        "frame_age_ms": 12.346,
        "width": 40,
        "height": 30,
        "detections": [
            {"xyxy": [1.23, 2.0, 30.5, 40.0], "score": 0.9123, "class_id": 1, "name": "person"},
            {"xyxy": [0.0, 0.0, 6.0, 6.0], "score": 0.25, "class_id": 2, "name": "dog"},
        ],
        "timing_ms": {"preprocess": 1.235, "infer": 2.5, "postprocess": 0.25},
    }


@settings(deadline=None, max_examples=50)
@example(source="\ud800", rows=[])
@example(source='\x1b[2J\n\u2028"', rows=[])
@given(
    source=st.text(st.characters(exclude_categories=[]), max_size=20),
    rows=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 5), max_size=4),
)
def test_every_result_is_one_line_of_json_whatever_its_source_is_called(
    source: str, rows: list[tuple[float, ...]]
) -> None:
    values = np.array(rows, np.float32).reshape(-1, 5)
    values = values[np.argsort(-values[:, 4], kind="stable")]
    corner = values[:, :2] * 100
    boxes = np.concatenate([corner, corner + values[:, 2:4] * 100], axis=1)
    found = Detections(boxes, values[:, 4].copy(), np.ones(len(values), np.int64))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.ndjson"
        sink = NdjsonSink(str(path), NAMES)
        assert sink.write(make_result(gray(0), source=source, detections=found), None)
        sink.close()
        (line,) = path.read_bytes().split(b"\n")[:-1]
    document = json.loads(line)
    assert document["source"] == source.encode(errors="replace").decode(), "half a surrogate pair is no text"
    assert [one["score"] for one in document["detections"]] == [round(float(score), 4) for score in found.score]
    np.testing.assert_allclose([one["xyxy"] for one in document["detections"]] or np.zeros((0, 4)), boxes, atol=0.006)


def test_ndjson_of_a_run_has_the_documented_types_and_one_line_per_frame(
    tmp_path: Path, dataset_folder: Path, detector: Detector
) -> None:
    path = tmp_path / "out.ndjson"
    started = datetime.now(UTC).replace(microsecond=0)
    run(open_source(str(dataset_folder / "images" / "val_*.png")), detector, [NdjsonSink(str(path), NAMES)])
    assert path.read_text().endswith("}\n")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(6))
    assert sum(len(line["detections"]) for line in lines) > 6
    for line in lines:
        assert [(key, type(value)) for key, value in line.items()] == [
            ("frame", int),
            ("stream", int),
            ("source", str),
            ("source_frame", int),
            ("source_time_s", float),
            ("captured_at", str),
            ("frame_age_ms", float),
            ("width", int),
            ("height", int),
            ("detections", list),
            ("timing_ms", dict),
        ]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["captured_at"])
        assert started <= datetime.fromisoformat(line["captured_at"]) <= datetime.now(UTC), "the time is UTC"
        assert list(line["timing_ms"]) == ["preprocess", "infer", "postprocess"]
        for found in line["detections"]:
            types = [(key, type(value)) for key, value in found.items()]
            assert types == [("xyxy", list), ("score", float), ("class_id", int), ("name", str)]
            assert [type(value) for value in found["xyxy"]] == [float] * 4


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    sink = NdjsonSink("-", NAMES)
    for index in range(2):
        sink.write(make_result(gray(0), index=index), None)
    sink.close()
    captured = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in captured.out.splitlines()] == [0, 1]
    assert captured.err == ""
    assert not sys.stdout.closed


def test_every_ndjson_line_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    sink = NdjsonSink(str(path), NAMES)
    for index in range(3):
        sink.write(make_result(gray(0), index=index), None)
        assert len(path.read_text().splitlines()) == index + 1
    sink.close()


def test_an_existing_ndjson_file_survives_a_source_that_fails_first(tmp_path: Path, detector: Detector) -> None:
    path, broken = tmp_path / "out.ndjson", tmp_path / "broken.jpg"
    path.write_text("yesterday\n")
    broken.write_text("no image")
    with pytest.raises(SourceError):
        run(open_source(str(broken)), detector, [NdjsonSink(str(path), NAMES)])
    assert path.read_text() == "yesterday\n"
    sink = NdjsonSink(str(path), NAMES)
    sink.write(make_result(gray(0)), None)
    sink.close()
    assert "yesterday" not in path.read_text()


@pytest.mark.parametrize("name", ["", "gone/out.ndjson"])
def test_an_unwritable_ndjson_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="NDJSON cannot be written") as caught:
        NdjsonSink(str(tmp_path / name), NAMES).write(make_result(gray(0)), None)
    assert str(tmp_path / name) in str(caught.value)


def test_an_image_is_saved_in_a_folder_that_need_not_exist(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out.png"
    sink = SaveSink(out, many_files=False)
    assert sink.write(make_result(gray(0, (9, 11))), make_noise(0, (9, 11)))
    sink.close()
    np.testing.assert_array_equal(read_image(out), make_noise(0, (9, 11)))
    assert sink.written == [out]
    assert names_in(out.parent) == ["out.png"]


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [("image", "o.mp4", ".jpg"), ("image", "o", ".png"), ("video", "o.jpg", ".mp4"), ("camera", "o", ".avi")],
)
def test_a_suffix_of_another_kind_is_refused_with_the_right_ones(
    tmp_path: Path, kind: Kind, name: str, expected: str
) -> None:
    sink = SaveSink(tmp_path / name, many_files=False)
    with pytest.raises(OutputError, match=re.escape(expected)) as caught:
        sink.write(make_result(gray(0), kind=kind), gray(0))
    sink.close()
    assert str(tmp_path / name) in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("many_files", [False, True])
def test_a_file_where_a_folder_must_stand_is_an_output_error(tmp_path: Path, many_files: bool) -> None:
    (tmp_path / "notes").write_text("no folder")
    out = tmp_path / "notes" if many_files else tmp_path / "notes" / "out.png"
    with pytest.raises(OutputError) as caught:
        SaveSink(out, many_files=many_files).write(make_result(gray(0)), gray(0))
    assert str(out) in str(caught.value)
    assert (tmp_path / "notes").read_text() == "no folder"


def test_many_files_keep_their_names_in_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sink = SaveSink(out, many_files=True)
    sink.write(make_result(gray(0), source="in/a.png"), gray(60))
    for index in range(3):
        sink.write(make_result(gray(0), index=index, source="in/b.avi", kind="video"), gray(12 * index))
    for index in range(4):
        sink.write(make_result(gray(0), index=index, source="in/c.webm", kind="video"), gray(12 * index + 24))
    sink.write(make_result(gray(0), source="in/d.JPG"), gray(80))
    sink.close()
    assert names_in(out) == ["a.png", "b.avi", "c.mp4", "d.JPG"]
    assert sorted(sink.written) == [out / name for name in names_in(out)]
    assert (read_image(out / "a.png") == 60).all()
    assert frame_indices(read_video(out / "b.avi")) == [0, 1, 2]
    assert frame_indices(read_video(out / "c.mp4")) == [2, 3, 4, 5]


@pytest.mark.parametrize("sources", [("in/x/a.png", "in/y/a.png"), ("in/a.webm", "in/a.mp4")])
def test_no_result_overwrites_another_of_the_same_run(tmp_path: Path, sources: tuple[str, str]) -> None:
    """Two files with one name, as `--source '**/*.png'` finds them: both are saved, or there is an error."""
    out = tmp_path / "out"
    sink = SaveSink(out, many_files=True)
    refusal = ""
    try:
        for source in sources:
            kind: Kind = "image" if source.endswith("png") else "video"
            sink.write(make_result(gray(0), source=source, kind=kind), gray(60))
        sink.close()
    except OutputError as error:
        refusal = str(error)
    assert sources[1] in refusal or len(names_in(out)) == len(sources)


@pytest.mark.parametrize("suffix", sorted(VIDEO_CODECS))
@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63), (3, 5)])
def test_a_saved_video_has_every_frame_in_order(
    tmp_path: Path,
    suffix: str,
    size_hw: tuple[int, int],
) -> None:
    out = tmp_path / f"out{suffix}"
    sink = SaveSink(out, many_files=False)
    for index in range(11):
        frame = gray(12 * index, size_hw)
        assert sink.write(make_result(frame, index=index, kind="video", source="in.webm"), frame)
        assert not out.exists(), "an unfinished video must not bear the name"
    sink.close()
    assert sink.written == [out]
    assert names_in(tmp_path) == [out.name]
    frames = read_video(out)
    assert frame_indices(frames) == list(range(11))
    assert frames[0].shape == (size_hw[0] // 2 * 2, size_hw[1] // 2 * 2, 3), "an odd last row or column is dropped"
    assert next(iter(open_source(str(out)))).fps == pytest.approx(10.0)


def test_frames_of_another_size_continue_in_a_further_video(tmp_path: Path) -> None:
    sink = SaveSink(tmp_path / "out.avi", many_files=False)
    for size_hw in ((48, 64), (24, 32), (24, 32), (48, 64)):
        sink.write(make_result(gray(0, size_hw), kind="video"), gray(0, size_hw))
    sink.close()
    assert names_in(tmp_path) == ["out-2.avi", "out-3.avi", "out.avi"]
    shapes = {name: [frame.shape[:2] for frame in read_video(tmp_path / name)] for name in names_in(tmp_path)}
    assert shapes == {"out.avi": [(48, 64)], "out-2.avi": [(24, 32)] * 2, "out-3.avi": [(48, 64)]}


def test_a_frame_too_small_for_a_video_is_an_output_error(tmp_path: Path) -> None:
    frame = gray(0, (1, 64))
    with pytest.raises(OutputError, match="64x1 px are too small"):
        SaveSink(tmp_path / "out.avi", many_files=False).write(make_result(frame, kind="video"), frame)
    assert names_in(tmp_path) == []


def test_an_existing_video_survives_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.avi"
    out.write_bytes(b"yesterday")
    sink = SaveSink(out, many_files=False)
    sink.write(make_result(gray(0), kind="video"), gray(0))
    assert out.read_bytes() == b"yesterday"

    class CutWriter:
        """A writer whose disk is full: the file ends after its first bytes."""

        def __init__(self, writer: cv2.VideoWriter) -> None:
            self._writer = writer

        def release(self) -> None:
            self._writer.release()
            (partial,) = tmp_path.glob("out.partial-*.avi")
            partial.write_bytes(partial.read_bytes()[:100])

    video = sink._recordings[0].video
    monkeypatch.setattr(video, "_writer", CutWriter(video._writer))
    with pytest.raises(OutputError, match="wrote 1 frame, 0 can be read back"):
        sink.close()
    assert out.read_bytes() == b"yesterday"
    assert names_in(tmp_path) == ["out.avi"]
    assert sink.written == []


def test_an_existing_video_survives_a_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.avi"
    out.write_bytes(b"yesterday")
    sink = SaveSink(out, many_files=False)
    sink.write(make_result(gray(0), kind="video"), gray(0))

    def refused(_path: Path, _target: Path) -> Path:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OutputError, match=r"out\.avi: cannot be written \(Permission denied\); the video is in"):
        sink.close()
    assert out.read_bytes() == b"yesterday"
    assert len(names_in(tmp_path)) == 2, "what was recorded is not thrown away"


@dataclass
class FakeWindow:
    """Replaces OpenCV's windows: `keys` are pressed one after another, then none."""

    keys: list[int]
    visible: float = 1.0
    shown: list[tuple[str, UInt8Array]] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "imshow", lambda title, frame: self.shown.append((title, frame.copy())))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.keys.pop(0) if self.keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda _title, _property: self.visible)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)


def window_sink(
    source: str = "somewhere/a.png",
    *,
    live: bool = False,
    snapshots: Path = Path(),
    notify: Notice = no_notice,
) -> WindowSink:
    """A window of a run of this one source."""
    sink = WindowSink(snapshots, notify=notify)
    sink.started(Summary(sources=[SourceCounts(source, live)]))
    return sink


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [(ord("q"), 1, False), (27, 1, False), (ord("x"), 1, True), (-1, 1, True), (-1, 0, False)],
)
@pytest.mark.parametrize("kind", ["image", "video", "camera"])
def test_a_window_ends_the_run_by_q_escape_or_its_cross(
    monkeypatch: pytest.MonkeyPatch, key: int, visible: int, goes_on: bool, kind: Kind
) -> None:
    window = FakeWindow([key], visible)
    window.install(monkeypatch)
    assert window_sink().write(make_result(gray(0), kind=kind), gray(5)) is goes_on
    assert [frame.mean() for _, frame in window.shown] == [5]


def test_an_image_is_held_until_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    window = FakeWindow([-1, -1, ord("x")])
    window.install(monkeypatch)
    sink = window_sink()
    sink.write(make_result(gray(0)), gray(5))
    assert sink.holding
    assert sink.idle()
    assert sink.holding
    assert sink.idle()
    assert not sink.holding


@pytest.mark.parametrize(("kind", "holds"), [("video", True), ("camera", False)])
def test_space_holds_a_file_and_stills_a_cameras_window(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, holds: bool
) -> None:
    window = FakeWindow([ord(" "), -1, -1, ord(" "), -1])
    window.install(monkeypatch)
    sink = window_sink(live=kind == "camera")
    for value in (1, 2, 3, 4, 5):
        assert sink.write(make_result(gray(0), kind=kind), gray(value))
        if value == 1:
            assert sink.holding is holds
    assert [frame.mean() for _, frame in window.shown] == [1, 5]


def test_s_saves_what_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while paused, when the canvas already has another image."""
    window = FakeWindow([ord("s"), ord(" "), -1, ord("s")])
    window.install(monkeypatch)
    sink = window_sink(live=True, snapshots=tmp_path)
    canvas = gray(77)
    assert sink.write(make_result(gray(0), kind="camera"), canvas)
    (name,) = names_in(tmp_path)
    assert re.fullmatch(r"mmpnet-\d{8}-\d{6}-\d{3}-0\.png", name)
    assert (read_image(tmp_path / name) == 77).all()
    (tmp_path / name).unlink()
    for value in (40, 99, 100):
        canvas[:] = value
        sink.write(make_result(gray(0), kind="camera"), canvas)
    (name,) = names_in(tmp_path)
    assert (read_image(tmp_path / name) == 40).all()
    assert [frame.mean() for _, frame in window.shown] == [77, 40]


def test_a_snapshot_is_reported_and_one_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    FakeWindow([ord("s")]).install(monkeypatch)
    sink = window_sink(live=True, snapshots=tmp_path, notify=said.append)
    assert sink.write(make_result(gray(0), kind="camera"), gray(5))
    (name,) = names_in(tmp_path)
    assert said == [f"saved {tmp_path / name}"]
    FakeWindow([ord("s")]).install(monkeypatch)
    gone = window_sink(live=True, snapshots=tmp_path / "gone", notify=said.append)
    assert gone.write(make_result(gray(0), kind="camera"), gray(5)), "the run goes on"
    assert re.search(r"gone/mmpnet-.*\.png: cannot be written", said[-1])


def test_a_folder_of_images_has_one_window_and_each_waits_for_its_key(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (10, 20, 30):
        assert cv2.imwrite(str(tmp_path / f"{value}.png"), gray(value))
    window = FakeWindow([-1, -1, ord("x"), -1, ord("x"), -1, -1, ord("x")])
    window.install(monkeypatch)
    assert run(open_source(str(tmp_path)), detector, [WindowSink()]).frames == 3
    assert window.keys == [], "the last image waits as well"
    assert len({title for title, _ in window.shown}) == 1
    assert len(window.shown) == 3


def test_the_last_image_of_a_lost_source_does_not_look_like_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    window = FakeWindow([])
    window.install(monkeypatch)
    sink = window_sink("camera 0", live=True)
    sink.write(make_result(gray(0, (240, 320)), kind="camera", source="camera 0"), gray(50, (240, 320)))
    sink.event(Event("camera 0", "live", datetime.now(UTC)))
    assert len(window.shown) == 1
    sink.event(Event("camera 0", "stale", datetime.now(UTC), "no frame for 5 s"))
    title, frame = window.shown[-1]
    assert title.startswith("camera 0")
    assert (frame[0] == WARNING_BGR).all(), "a red frame stands around it"
    assert (frame[100:140, 100:200] != 50).any(), "and a word in it"


def test_without_a_display_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert why_no_window() == "there is no display"
    monkeypatch.setenv("DISPLAY", ":77")
    assert why_no_window() == "the display :77 does not open"
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    assert why_no_window() == "this OpenCV is built without support for windows"
