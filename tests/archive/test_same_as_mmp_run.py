"""Results equal those of mmp-run on one machine, frame by frame, however a video is split."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from mmpnet.archive import worker as worker_module
from mmpnet.archive.recordings import Recording, find_recordings
from mmpnet.archive.run import Watcher
from mmpnet.archive.splitting import split_video
from mmpnet.archive.tasks import Task, VideoPart
from mmpnet.cli.run.command import app
from support.archive_videos import FPS, KEY_FRAMES_EVERY, write_h264
from support.archives import PART_S, Archive, in_this_process, rows_of


def mmp_run(model: Path, source: Path, *options: object) -> list[dict[str, Any]]:
    arguments = [model, "--source", source, "--json", "-", "--no-show", "--provider", "cpu", "--threads", 1, *options]
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.stdout, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if "event" not in line]


def assert_equal(rows: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> None:
    """Rows of the archive, against the lines of mmp-run, which are rounded."""
    assert [row["frame"] for row in rows] == [line["source_frame"] for line in lines]
    assert [round(row["time_s"], 3) for row in rows] == [line["source_time_s"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert (row["width"], row["height"]) == (line["width"], line["height"])
        assert [as_line(found) for found in row["detections"]] == [
            {"track_id": None, **found} for found in line["detections"]
        ]


def as_line(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "track_id": found["track_id"],
        "xyxy": [round(found[side], 2) for side in ("x1", "y1", "x2", "y2")],
        "score": round(found["score"], 4),
        "class_id": found["class_id"],
        "name": found["name"],
    }


@pytest.mark.parametrize("options", [{}, {"track": False}, {"every": 7}], ids=str)
def test_a_split_video_and_a_short_one(
    archive: Archive, recordings_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings = msgspec.structs.replace(archive.settings, **options)
    seen: list[Task] = []
    work = in_this_process(tmp_path / "out", settings, done=seen.append)
    manifest = archive.run(tmp_path / "out", recordings_folder, settings=settings, execute=work)
    assert [type(task).__name__ for task in seen] == ["SplitVideo", *["VideoPart"] * 4, "WholeVideo", "JoinVideo"]
    rows = rows_of(tmp_path / "out")
    assert manifest.frames == len(rows)
    assert manifest.detections == sum(len(row["detections"]) for row in rows) > 50
    flags = [*(["--track"] if settings.track else []), "--vid-stride", settings.every]
    for video in ("door/2026-11-29_07-30-00.mp4", "yard/clip.mkv"):
        of_video = [row for row in rows if row["source"] == str(recordings_folder / video)]
        assert_equal(of_video, mmp_run(archive.model, recordings_folder / video, *flags))
    tracks = {found["track_id"] for row in rows for found in row["detections"]} - {None}
    assert bool(tracks) == settings.track


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_with_gaps_in_every_container(archive: Archive, tmp_path: Path, suffix: str) -> None:
    late = {} if suffix == ".avi" else {33: 4, 70: 25, 71: 1}
    video = write_h264(tmp_path / "in" / f"v{suffix}", frames=100, late=late)
    seen: list[Task] = []
    work = in_this_process(tmp_path / "out", archive.settings, done=seen.append)
    archive.run(tmp_path / "out", video, execute=work)
    assert len(seen) > 3 or suffix == ".avi"
    assert_equal(rows_of(tmp_path / "out"), mmp_run(archive.model, video, "--track"))


def test_a_damaged_video_gives_the_frames_that_mmp_run_gives(archive: Archive, tmp_path: Path) -> None:
    video = write_h264(tmp_path / "in" / "v.mkv", frames=100)
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    video.write_bytes(content)
    archive.run(tmp_path / "out", video)
    rows, lines = rows_of(tmp_path / "out"), mmp_run(archive.model, video, "--track")
    assert 20 < len(rows) < 100
    assert [row["frame"] for row in rows] == [line["source_frame"] for line in lines]
    assert [round(row["time_s"], 3) for row in rows] == [line["source_time_s"] for line in lines]
    # FFmpeg fills a damaged frame from the frames before it, which differ where decoding begins elsewhere.
    assert_equal(rows[:40], lines[:40])


@pytest.mark.parametrize("change", [{"frames": 39}, {"frames": 41}, {"start_ms": 4001.0}], ids=str)
def test_a_video_whose_parts_are_not_as_promised_is_read_as_a_whole(
    archive: Archive, recordings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    def wrong(video: Recording, part_s: float) -> tuple[VideoPart, ...]:
        first, second, *rest = split_video(video, part_s)
        return first, replace(second, **change), *rest

    monkeypatch.setattr(worker_module, "split_video", wrong)
    told: list[str] = []
    archive.run(tmp_path, recordings_folder / "door", watcher=Watcher(notice=told.append))
    assert [line for line in told if "read again as a whole" in line]
    assert_equal(rows_of(tmp_path), mmp_run(archive.model, recordings_folder / "door", "--track"))


def test_a_part_with_a_frame_that_may_not_be_decoded_is_read_as_a_whole(
    archive: Archive, recordings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpnet.archive.reading.decoder_fault", lambda: "OpenCV 0 is bad")
    monkeypatch.setattr("mmpnet.archive.reading.repeats", lambda _first, _second: True)
    told: list[str] = []
    archive.run(tmp_path, recordings_folder / "door", watcher=Watcher(notice=told.append))
    assert [line for line in told if "read again as a whole" in line]
    assert_equal(rows_of(tmp_path), mmp_run(archive.model, recordings_folder / "door", "--track"))


def test_parts_begin_at_key_frames_and_cover_the_video(recordings_folder: Path) -> None:
    (video,) = find_recordings([str(recordings_folder / "door")])
    parts = split_video(video, PART_S)
    assert [part.first_frame % KEY_FRAMES_EVERY for part in parts] == [0] * 4
    assert sum(part.frames for part in parts) == 150
    assert [part.first_frame for part in parts] == [0, 40, 80, 120]
    assert [part.start_ms for part in parts] == [1000 * part.first_frame / FPS for part in parts]


def test_images_have_no_tracks(archive: Archive, dataset_folder: Path, tmp_path: Path) -> None:
    manifest = archive.run(tmp_path / "out", dataset_folder / "images")
    rows = rows_of(tmp_path / "out")
    assert manifest.images == len(rows) == 22
    assert manifest.videos == 0
    lines = mmp_run(archive.model, dataset_folder / "images")
    assert [line["source"] for line in lines] == [row["source"] for row in rows]
    for row, line in zip(rows, lines, strict=True):
        assert [as_line(found) for found in row["detections"]] == [
            {"track_id": None, **found} for found in line["detections"]
        ]
    assert all(found["track_id"] is None for row in rows for found in row["detections"])
