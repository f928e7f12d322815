"""People are tracked through a run, counted, and shown with their numbers."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import SourceError
from mmpnet.media.images import write_image
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer, analyzer_factory
from mmpnet.runtime.analytics.shapes import parse_line, parse_zone
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.options import Blur, RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.frame import Frame
from mmpnet.runtime.sources.open import open_source
from support.frames import write_video

NAMES = ("background", "person")


@dataclass
class Walkers:
    """Replaces a detector: one person walks down with falling scores, and one frame has a false detection."""

    class_names = NAMES
    frame: int = 0

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
        del frame_bgr
        y = 2.0 * self.frame
        rows = [([10, y, 20, y + 12], 0.2 if 6 <= self.frame <= 8 else 0.8)]
        if self.frame == 5:
            rows.append(([40, 5, 50, 20], 0.15))
        self.frame += 1
        rows.sort(key=lambda row: -row[1])
        xyxy, score = np.array([box for box, _ in rows], np.float32), np.array([s for _, s in rows], np.float32)
        return Detections(xyxy, score, np.ones(len(rows), np.int64)), StageTimes(0, 0, 0)


@dataclass
class Images(Sink):
    """Keeps results, and images if requested."""

    wants_annotated: bool = True
    results: list[Result] = field(default_factory=list)
    painted: list[UInt8Array] = field(default_factory=list)

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        self.results.append(result)
        if annotated_bgr is not None:
            self.painted.append(annotated_bgr.copy())
        return True


def test_a_person_keeps_the_number_and_is_counted_once(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "in.avi", count=18), tmp_path / "out.ndjson"
    lines, zones = (
        [parse_line("door=0,24,64,24", default_name="")],
        [parse_zone("0,0,64,0,64,24,0,24", default_name="top")],
    )
    analyzer = analyzer_factory([Analysis(0.4, lines, zones)])
    images = Images()
    sinks = [images, NdjsonSink(str(out), NAMES)]
    summary = run(open_source(str(video)), Walkers(), sinks, RunOptions(analyzer=analyzer))  # type: ignore[arg-type]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ids = [[found["track_id"] for found in row["detections"]] for row in rows]
    assert ids == [[None], *[[1]] * 17], "one number, through low scores too; no ghost is shown"
    assert rows[7]["detections"][0]["score"] == pytest.approx(0.2)
    last = rows[-1]["counts"]
    assert last["door"] == {"in_count": 1, "out_count": 0}
    assert (rows[0]["counts"]["top"]["count"], last["top"]["count"], last["top"]["out_count"]) == (1, 0, 1)
    assert summary.counts == {str(video): last}
    assert len(summary.times_ms["track"]) == 18
    plain = Images()
    run(open_source(str(video)), Walkers(), [plain])  # type: ignore[arg-type]
    assert plain.results[0].tracks is None
    assert (plain.painted[3] != images.painted[3]).any(), "the line and the number are painted"


def test_every_file_has_numbers_of_its_own(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, count=9)
    images = Images()
    analyzer = analyzer_factory([Analysis(0.4, [parse_line("0,24,64,24", default_name="l")])])
    summary = run(open_source(str(tmp_path)), Walkers(), [images], RunOptions(analyzer=analyzer))  # type: ignore[arg-type]
    firsts = [result for result in images.results if result.frame.source.endswith("b.avi")]
    assert firsts[0].tracks is not None
    assert firsts[0].tracks.ids.tolist() == [-1]
    assert list(summary.counts) == [str(tmp_path / "a.avi"), str(tmp_path / "b.avi")]


def test_images_cannot_be_followed(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    (frame,) = open_source(str(tmp_path / "a.png"))
    with pytest.raises(SourceError, match=r"a\.png: is an image; tracking people needs a camera or a video"):
        StreamAnalyzer(frame, Analysis(0.4))


def test_blurred_runs_hand_on_no_raw_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", noise)
    images, quiet = Images(), Images(wants_annotated=False)
    walkers = Walkers(frame=3)
    run(open_source(str(tmp_path / "a.png")), walkers, [quiet], RunOptions(blur=Blur()))  # type: ignore[arg-type]
    inside = quiet.results[0].frame.pixels_bgr[8:16, 11:19]
    assert (inside == noise[8:16, 11:19]).all(axis=2).mean() < 0.1, "without any image asked for, too"
    assert (quiet.results[0].frame.pixels_bgr[30:, 40:] == noise[30:, 40:]).all()
    run(open_source(str(tmp_path / "a.png")), Walkers(frame=3), [images], RunOptions(blur=Blur()))  # type: ignore[arg-type]
    assert (images.painted[0][9:15, 12:18] == noise[9:15, 12:18]).all(axis=2).mean() < 0.1


def test_boxes_with_scores_too_low_to_be_shown_are_pixelated_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", noise)
    images = Images()
    options = RunOptions(blur=Blur(), shown_conf=0.4)
    run(open_source(str(tmp_path / "a.png")), Walkers(frame=5), [images], options)  # type: ignore[arg-type]
    assert images.results[0].detections.score.tolist() == [pytest.approx(0.8)]
    ghost = images.painted[0][8:18, 42:48] == noise[8:18, 42:48]
    assert ghost.all(axis=2).mean() < 0.1


def test_people_beyond_the_limit_of_shown_boxes_are_pixelated_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", noise)
    images = Images()
    options = RunOptions(blur=Blur(most_shown=1), shown_conf=0.1)
    summary = run(open_source(str(tmp_path / "a.png")), Walkers(frame=5), [images], options)  # type: ignore[arg-type]
    assert images.results[0].detections.score.tolist() == [pytest.approx(0.8)]
    assert summary.detections == 1
    ghost = images.painted[0][8:18, 42:48] == noise[8:18, 42:48]
    assert ghost.all(axis=2).mean() < 0.1


def test_so_many_are_followed_as_are_to_be_shown() -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), "camera 0", "camera", 10.0, datetime.now(UTC), 0.0)
    found, _ = Walkers(frame=5).timed(frame.pixels_bgr)
    for most, scores in ((1, [0.8]), (None, [0.8, 0.15])):
        following = StreamAnalyzer(frame, Analysis(0.1, max_det=most))
        shown, tracks = following.analyze(frame, found)
        assert shown.score.tolist() == pytest.approx(scores)
        assert len(tracks.ids) == len(scores)


def test_counts_continue_through_another_size_of_frames() -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), "camera 0", "camera", 10.0, datetime.now(UTC), 0.0)
    following = StreamAnalyzer(frame, Analysis(0.4, [parse_line("door=0,50%,100%,50%", default_name="")]))
    walkers = Walkers()
    for number in range(18):
        found, _ = walkers.timed(frame.pixels_bgr)
        _, tracks = following.analyze(replace(frame, captured_s=number / 10), found)
    assert tracks.counts == {"door": {"in_count": 1, "out_count": 0}}
    small = replace(frame, pixels_bgr=np.zeros((24, 32, 3), np.uint8), captured_s=2.0)
    _, tracks = following.analyze(small, Walkers().timed(frame.pixels_bgr)[0])
    assert tracks.counts == {"door": {"in_count": 1, "out_count": 0}}


@pytest.mark.parametrize(("text", "warnings"), [("door=0,10,20,10", 1), ("door=0,50%,100%,50%", 0)])
def test_a_line_in_px_that_stays_in_frames_of_another_size_is_reported_once(
    text: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), "camera 0", "camera", 10.0, datetime.now(UTC), 0.0)
    following = StreamAnalyzer(frame, Analysis(0.4, [parse_line(text, default_name="")]))
    found, _ = Walkers().timed(frame.pixels_bgr)
    for number, size_hw in enumerate(((48, 64), (24, 32), (48, 64), (24, 32))):
        following.analyze(replace(frame, pixels_bgr=np.zeros((*size_hw, 3), np.uint8), captured_s=number / 10), found)
    said = [record.getMessage() for record in caplog.records]
    assert (
        said
        == ["camera 0: its frames are now 32x24 px, and door stays at its px; give lines and zones in percent"]
        * warnings
    )
