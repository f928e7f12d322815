"""Impossible options are reported before the model is loaded: every run here names a model that does not exist."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mmpnet.cli.run.command import app
from mmpnet.contract.heads import Head
from mmpnet.contract.thresholds import Thresholds
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.media.images import read_image, write_image
from mmpnet.media.pixelate import blur_detections
from mmpnet.runtime.inference.detector import Detector
from support.exported import ExportCache
from support.frames import make_noise, write_video

IMAGE, VIDEO, FOLDER = ("--source", "a.png"), ("--source", "a.avi"), ("--source", "images")
CAMERA, STREAM = ("--camera", "63"), ("--source", "http://127.0.0.1:9/")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with sources and obstacles."""
    for folder in ("images", "out", "named.mp4"):
        (tmp_path / folder).mkdir()
    for name in ("a.png", "images/b.png", "images/c.png"):
        write_image(tmp_path / name, make_noise(0, (51, 77)))
    write_video(tmp_path / "a.avi", count=3)
    (tmp_path / "notes").write_text("no folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def mmp_run(*arguments: object, model: object = "gone.onnx") -> Result:
    return CliRunner().invoke(app, [str(model), *(str(argument) for argument in arguments)])


def words(result: Result) -> str:
    """The text of stderr, without colors and borders."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", result.stderr).replace("│", " ").split())


@pytest.mark.parametrize("source", [IMAGE, VIDEO, FOLDER])
@pytest.mark.parametrize(
    "option",
    [
        ("--width", 640),
        ("--height", 480),
        ("--fps", 30),
        ("--fourcc", "MJPG"),
        ("--reconnect",),
        ("--no-reconnect",),
        ("--stale-after", 5),
        ("--first-frame", 5),
        ("--max-age-ms", 50),
    ],
)
def test_what_no_file_knows_is_refused_for_files(source: Sequence[str], option: Sequence[object]) -> None:
    done = mmp_run(*source, *option)
    flag = str(option[0]).replace("--no-", "--")
    assert f"{flag} is for cameras and streams; f" in words(done)
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ((*FOLDER, "--vid-stride", "1"), "--vid-stride is for videos, cameras and streams"),
        ((*IMAGE, "--vid-stride", "2"), "--vid-stride is for videos, cameras and streams"),
        ((*CAMERA, "--loop"), "--loop is for files"),
        ((*STREAM, *CAMERA, "--loop"), "--loop is for files"),
        ((*VIDEO, "--token", "secret"), "add --serve"),
        (("--self-test", "--save", "o.png"), "leave --save out"),
        (("--self-test", "--json", "-", "--serve", "127.0.0.1:0"), "leave --json, --serve out"),
        (("--self-test", *CAMERA, *VIDEO), "leave --camera, --source out"),
        ((*IMAGE, "--loop", "--save", "o.png"), "would write endlessly; give --limit"),
        ((*FOLDER, "--loop", "--save", "out"), "would write endlessly; give --limit"),
        ((*VIDEO, *IMAGE, "--loop", "--save", "out"), "would write endlessly; give --limit"),
        ((*VIDEO, "--save", "o.mkv", "--json", "./out/../o.mkv"), "--save and --json name the same file"),
        ((*IMAGE, "--track"), "--track needs a camera or a video; a.png is an image"),
        ((*VIDEO, *IMAGE, "--line", "0,0,9,9"), "--line needs a camera or a video; a.png is an image"),
        ((*CAMERA, *FOLDER, "--zone", "0,0,9,0,9,9"), "--zone needs a camera or a video"),
    ],
)
def test_what_would_have_no_effect_or_no_end_is_a_usage_error(options: Sequence[str], fault: str) -> None:
    done = mmp_run(*options)
    assert fault in words(done)
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        (*VIDEO, *CAMERA, "--width", "640", "--max-age-ms", "50", "--loop", "--vid-stride", "2"),
        (*VIDEO, "--serve", "127.0.0.1:0", "--stale-after", "3", "--token", "secret"),
        (*VIDEO, "--loop", "--save", "o.mkv", "--json", "o.ndjson"),
        (*IMAGE, "--loop", "--limit", "3", "--save", "o.png"),
        (*VIDEO, *IMAGE, "--vid-stride", "2", "--save", "new/deep"),
        (*VIDEO, "--save", "named.mp4"),
        (*VIDEO, "--json", os.devnull, "--save-crops", "new/crops"),
        ("--self-test", "--threads", "1", "--provider", "cpu"),
    ],
)
def test_what_has_an_effect_is_accepted(options: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPNET_TOKEN", "set for all runs of this machine")
    done = mmp_run(*options)
    assert "gone.onnx: no such model file" in words(done), "the model is what is missing"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ((*VIDEO, "--save", "new/"), "--save new: a.avi is a video; expected one of .avi .mkv .mov .mp4"),
        ((*IMAGE, "--save", "o.mp4"), "--save o.mp4: a.png is an image; expected one of .bmp"),
        ((*CAMERA, "--save", "o.jpg"), "--save o.jpg: camera 63 is a camera; expected one of .avi"),
        ((*VIDEO, *IMAGE, "--save", "o.mkv"), "--save o.mkv: is a file name, but several files need a folder"),
        ((*VIDEO, "--save", "notes/deep/o.mkv"), "--save notes/deep/o.mkv: notes is not a folder"),
        ((*VIDEO, "--save", "a.avi"), "--save a.avi: is also a source"),
        ((*VIDEO, *IMAGE, "--save", "."), "--save .: its a.avi is also a source"),
        ((*VIDEO, "--save-crops", "notes"), "--save-crops notes: notes is not a folder"),
        ((*VIDEO, "--json", "gone/o.ndjson"), "gone/o.ndjson: NDJSON cannot be written (No such file or directory)"),
        ((*VIDEO, "--json", "out"), "out: NDJSON cannot be written (Is a directory)"),
        ((*VIDEO, "--json", ""), "--json: the name is empty; give a file, or - for stdout"),
        ((*VIDEO, "--json", "a.avi"), "--json a.avi: is also a source"),
    ],
)
def test_outputs_without_a_place_are_reported_before_the_run(options: Sequence[str], fault: str) -> None:
    done = mmp_run(*options)
    assert fault in words(done)
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--save", "out/o.mkv"), "--save out/o.mkv: the folder out is not writable"),
        (("--save", "out/new/deep/o.mkv"), "the folder out is not writable"),
        (("--save", "out"), "--save out: the folder out is not writable"),
        (("--save-crops", "out"), "--save-crops out: the folder out is not writable"),
        (("--json", "out/o.ndjson"), "out/o.ndjson: NDJSON cannot be written (Permission denied)"),
    ],
)
def test_a_folder_without_write_permission_is_reported_before_the_run(
    monkeypatch: pytest.MonkeyPatch, options: Sequence[str], fault: str
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "out" or not mode & os.W_OK)  # root may do all
    done = mmp_run(*VIDEO, *options)
    assert fault in words(done)
    assert done.exit_code == 1


def test_a_folder_that_is_there_is_taken_for_a_single_source(tiny_onnx: Path, place: Path) -> None:
    for source in (VIDEO, IMAGE):
        done = mmp_run(*source, "--save", "out", "--no-show", "--threads", 1, model=tiny_onnx)
        assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a.avi", "a.png"]


def test_a_run_without_output_suggests_options(tiny_onnx: Path) -> None:
    advice = "no window: there is no display; use --save, --json or --serve to see results"
    assert advice in words(mmp_run(*VIDEO, model=tiny_onnx))
    said = words(mmp_run(*VIDEO, "--json", "o.ndjson", model=tiny_onnx))
    assert "no window: there is no display" in said
    assert "to see results" not in said


@pytest.mark.parametrize("head", ["boxes", "nms"])
def test_hiding_does_not_end_at_the_most_boxes_to_show(
    exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions, place: Path, head: Head
) -> None:
    model = exported(tiny_checkpoint, dataclasses.replace(export_options, head=head))
    for name, most in (("all.png", 99), ("one.png", 1)):
        options = ["--source", "a.png", "--blur", "--conf", "1", "--max-det", most, "--save", name, "--threads", "1"]
        assert mmp_run(*options, model=model).exit_code == 0
    detector = Detector(model, provider="cpu", threads=1)
    found = Thresholds(conf=0.1, iou=detector.thresholds.iou, max_det=400)
    everybody = detector.with_thresholds(found)(make_noise(0, (51, 77)))
    assert len(everybody) > 3
    hidden = make_noise(0, (51, 77)).copy()
    blur_detections(hidden, everybody)
    np.testing.assert_array_equal(read_image(place / "one.png"), hidden)
    np.testing.assert_array_equal(read_image(place / "all.png"), hidden)
    done = mmp_run("--source", "a.png", "--blur", "--conf", 0.1, "--max-det", 1, "--json", "-", model=model)
    assert done.stdout.count('"score"') == 1


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("option", [("--blur",), ("--track",), ("--line", "0,0,9,9")])
def test_frozen_thresholds_are_reported_by_the_options_given(
    exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions, option: Sequence[str]
) -> None:
    frozen = exported(tiny_checkpoint, dataclasses.replace(export_options, head="nms", frozen=True))
    done = mmp_run(*VIDEO, *option, model=frozen)
    assert done.exit_code == 1
    assert option[0] in words(done)
    assert "leave them out, or export it without --frozen" in words(done)
    assert "--max-det" not in words(done)
