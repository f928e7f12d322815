"""mmp-run: data on stdout, messages on stderr, one line and an exit code for a mistake."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from mmpnet.cli.run.command import app
from mmpnet.console.threshold_options import checked_thresholds
from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.images import read_image, write_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.web.sink import ServeSink
from support.frames import make_noise, read_video, write_video

MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")


@pytest.fixture(autouse=True)
def headless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test opens a window, and lines are not wrapped."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    write_image(path, make_noise(0, (51, 77)))
    return path


def mmp_run(*arguments: object) -> Result:
    """Run the command in this process, on one thread."""
    return CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--threads", "1"])


def plain(text: str) -> str:
    """Text without colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def objects(text: str) -> list[dict[str, object]]:
    """NDJSON -> objects; fails on anything else."""
    return [json.loads(line) for line in text.splitlines()]


def assert_one_error_line(stderr: str, exit_code: int, fault: str) -> None:
    lines = plain(stderr).splitlines()
    assert [line for line in lines if line.startswith("error:")] == lines[-1:]
    assert re.search(fault, lines[-1]), lines[-1]
    assert "Traceback" not in stderr
    assert exit_code == 1


def test_an_image_is_saved_and_reported_and_stdout_is_pure_ndjson(
    tmp_path: Path, tiny_onnx: Path, image: Path, detector: Detector
) -> None:
    out = tmp_path / "out.png"
    done = mmp_run(tiny_onnx, "--source", image, "--save", out, "--json", "-")
    assert done.exit_code == 0, done.stderr
    (line,) = objects(done.stdout)
    expected = detector(make_noise(0, (51, 77)))
    assert (line["source"], line["width"], line["height"]) == (str(image), 77, 51)
    assert line["detections"] == [
        {"xyxy": [round(v, 2) for v in xyxy], "score": round(score, 4), "class_id": 1, "name": "person"}
        for xyxy, score in zip(expected.xyxy.tolist(), expected.score.tolist(), strict=True)
    ]
    assert read_image(out).shape == (51, 77, 3)
    assert (read_image(out) != make_noise(0, (51, 77))).any()
    stderr = plain(done.stderr)
    assert "tiny.onnx 64x64 on cpu" in stderr
    assert f"{len(expected)} detections in 1 frame, " in stderr
    assert f"saved {out}" in stderr


def test_without_a_display_it_says_so_once(tiny_onnx: Path, image: Path) -> None:
    assert plain(mmp_run(tiny_onnx, "--source", image).stderr).count("no window: there is no display") == 1
    assert "window" not in plain(mmp_run(tiny_onnx, "--source", image, "--no-show").stderr)


def test_stdout_stays_empty_unless_requested(tmp_path: Path, tiny_onnx: Path, image: Path) -> None:
    done = mmp_run(tiny_onnx, "--source", image, "--json", tmp_path / "out.ndjson")
    assert (done.exit_code, done.stdout) == (0, "")
    assert len(objects((tmp_path / "out.ndjson").read_text())) == 1


def test_thresholds_override_those_of_the_file(tiny_onnx: Path, image: Path, detector: Detector) -> None:
    def count(*options: object) -> int:
        done = mmp_run(tiny_onnx, "--source", image, "--json", "-", "--no-show", *options)
        detections = objects(done.stdout)[0]["detections"]
        assert isinstance(detections, list)
        return len(detections)

    default = len(detector(read_image(image)))
    assert count() == default > 3
    assert count("--conf", 1) == 0
    assert count("--max-det", 3) == 3
    assert count("--iou", 0) < default


def test_a_video_is_saved_with_every_frame(tmp_path: Path, tiny_onnx: Path) -> None:
    video, out = write_video(tmp_path / "in.avi", count=6), tmp_path / "out.mp4"
    done = mmp_run(tiny_onnx, "--source", video, "--save", out, "--json", "-", "--no-show")
    assert done.exit_code == 0, done.stderr
    assert [line["frame"] for line in objects(done.stdout)] == list(range(6))
    assert len(read_video(out)) == 6


def test_a_folder_is_saved_as_a_folder(tmp_path: Path, tiny_onnx: Path, dataset_folder: Path) -> None:
    pattern, out = dataset_folder / "images" / "val_00[12].png", tmp_path / "out"
    done = mmp_run(tiny_onnx, "--source", pattern, "--save", out, "--no-show")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["val_001.png", "val_002.png"]


@pytest.mark.parametrize(("option", "meant"), [("--sourc", "--source"), ("--thread", "--threads")])
def test_an_unknown_option_suggests_the_right_one(tiny_onnx: Path, option: str, meant: str) -> None:
    done = CliRunner().invoke(app, [str(tiny_onnx), option, "1"])
    assert done.exit_code == 2
    assert re.search(rf"No such option: {option}\b.*{meant}\b", plain(done.stderr))
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([], "give --camera INDEX or --source"),
        (["--source", "a.png", "--blur", "--save-crops", "crops"], "choose one"),
        (["--camera", "0", "--fourcc", "MJPEG"], "expected four characters"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(tiny_onnx: Path, options: Sequence[str], fault: str) -> None:
    done = mmp_run(tiny_onnx, *options)
    assert done.exit_code == 2
    assert fault in " ".join(plain(done.stderr).replace("│", " ").split())


def test_an_age_limit_is_refused_for_files(tiny_onnx: Path, image: Path) -> None:
    done = mmp_run(tiny_onnx, "--source", image, "--max-age-ms", 50)
    assert done.exit_code == 2
    assert "is for cameras and streams" in " ".join(plain(done.stderr).replace("│", " ").split())


@pytest.mark.parametrize(
    "options",
    [["--camera", "-1"], ["--conf", "1.1"], ["--conf", "nan"], ["--max-det", "0"], ["--provider", "tpu"]],
)
def test_a_value_out_of_range_is_a_usage_error(tiny_onnx: Path, options: Sequence[str]) -> None:
    done = mmp_run(tiny_onnx, "--source", "a.png", *options)
    assert done.exit_code == 2
    assert f"'{options[0]}'" in plain(done.stderr)


def test_camera_0_is_a_camera(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoFrames:
        """A camera at index 0 whose cable is pulled after two frames."""

        def __init__(self, index: int) -> None:
            assert index == 0
            self._left = 2

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def get(self, _: int) -> float:
            return 30.0

        def set(self, _: int, value: float) -> bool:
            del value
            return False

        def grab(self) -> bool:
            time.sleep(0.2)  # long enough for the previous frame to be processed
            self._left -= 1
            return self._left >= 0

        def retrieve(self) -> tuple[bool, UInt8Array]:
            return True, np.zeros((30, 40, 3), np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", TwoFrames)
    done = mmp_run(tiny_onnx, "--camera", 0, "--json", "-", "--no-reconnect")
    lines = objects(done.stdout)
    assert [line["source"] for line in lines if "frame" in line] == ["camera 0", "camera 0"]
    assert [line["event"] for line in lines if "event" in line] == ["connecting", "live", "closed", "summary"]
    assert_one_error_line(done.stderr, done.exit_code, "camera 0: no frame after 2")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model": "gone.onnx"}, r"gone\.onnx: no such model file"),
        ({"model": "words.onnx"}, r"words\.onnx: .*cannot load it"),
        ({"model": "gone"}, "gone: no such model file"),
        ({"model": "empty"}, "empty: the folder has 0 entries, but no image or video"),
        ({"--source": "gone.png"}, r"gone\.png: no such file"),
        ({"--source": "words.mp4"}, r"words\.mp4"),
        ({"--source": "words.jpg"}, r"words\.jpg: is not an image"),
        ({"--source": "words.txt"}, r"words\.txt"),
        ({"--source": "empty"}, "no image or video"),
        ({"--provider": "tensorrt"}, r"provider tensorrt was requested.*cpu"),
        ({"--save": "out.mp4"}, r"--save out\.mp4"),
        ({"--save": "words.jpg/out.png"}, r"words\.jpg"),
        ({"--json": "gone/out.ndjson"}, r"gone/out\.ndjson: NDJSON cannot be written"),
        ({"--source": "a" * 300}, "aaa"),
        ({"model": "a" * 300}, "aaa"),
    ],
)
def test_a_mistake_is_one_error_line_and_exit_code_1(
    tmp_path: Path,
    tiny_onnx: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in (".onnx", ".mp4", ".jpg", ".txt"):
        Path(f"words{suffix}").write_text("just some words\n" * 50)
    Path("empty").mkdir()
    given = {"model": str(tiny_onnx), "--source": image.name, **changes}
    done = mmp_run(given.pop("model"), *(word for pair in given.items() for word in pair))
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert_one_error_line(done.stderr, done.exit_code, fault)
    assert done.stdout == ""


def test_an_existing_ndjson_file_survives_a_bad_source(tmp_path: Path, tiny_onnx: Path) -> None:
    kept, broken = tmp_path / "out.ndjson", tmp_path / "broken.jpg"
    kept.write_text("yesterday\n")
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    done = mmp_run(tiny_onnx, "--source", broken, "--json", kept)
    assert_one_error_line(done.stderr, done.exit_code, r"broken\.jpg")
    assert kept.read_text() == "yesterday\n"


def test_results_before_a_damaged_file_are_kept(tmp_path: Path, tiny_onnx: Path, image: Path) -> None:
    (tmp_path / "z.png").write_bytes(image.read_bytes()[:60])
    done = mmp_run(tiny_onnx, "--source", tmp_path, "--json", "-")
    lines = objects(done.stdout)
    assert [line["source"] for line in lines if "frame" in line] == [str(image)]
    [notice] = [line for line in lines if line.get("event") == "notice"]
    assert "z.png: the image is cut short" in str(notice["reason"])
    assert done.exit_code == 1
    errors = [line for line in plain(done.stderr).splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "1 of 2 files cannot be read completely" in errors[0]


def test_an_interrupt_while_packages_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "slow_to_load.py").write_text("raise KeyboardInterrupt\n")
    code = "from mmpnet.console.command import launch; launch('slow_to_load', extra='cpu')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_an_interrupt_is_one_line_and_exit_code_130(
    tiny_onnx: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmpnet.cli.run.runner.run", interrupt)
    done = mmp_run(tiny_onnx, "--source", image)
    assert done.exit_code == 130
    assert plain(done.stderr).splitlines()[-1] == "stopped"


def test_help_and_version_need_no_model() -> None:
    for option in ("-h", "--help"):
        done = CliRunner().invoke(app, [option])
        assert done.exit_code == 0
        assert "--camera" in plain(done.stdout)
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.split()[0]) == (0, "mmpnet")


def test_the_command_starts_on_opencv_4_too() -> None:
    """OpenCV 4 has cv2.setLogLevel but no cv2.utils.logging; OpenCV 5 is the other way round."""
    as_opencv_4 = "import cv2; cv2.utils.__dict__.pop('logging', None); cv2.setLogLevel = lambda _: 0; "
    start = "from mmpnet.cli.run.command import main; main()"
    command = [sys.executable, "-c", as_opencv_4 + start, "--camera", "0", "--print-config"]
    quiet = os.environ | {"OPENCV_FFMPEG_LOGLEVEL": "-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    assert "source = " in done.stdout


def test_the_installed_command_leaves_nothing_but_its_own_lines(tmp_path: Path, tiny_onnx: Path) -> None:
    """Run in a child process, so that direct output of OpenCV and FFmpeg is captured too."""
    video = tmp_path / "words.mp4"
    video.write_text("just some words\n" * 20)
    done = subprocess.run([*MMP_RUN, str(tiny_onnx), "--source", str(video)], capture_output=True, text=True)
    assert done.stdout == ""
    assert_one_error_line(done.stderr, done.returncode, r"words\.mp4: OpenCV cannot open it")
    assert len(done.stderr.splitlines()) == 3, "the missing window, the model, the error"


def test_a_camera_that_is_not_there_leaves_one_error_line(tiny_onnx: Path) -> None:
    done = subprocess.run([*MMP_RUN, str(tiny_onnx), "--camera", "63"], capture_output=True, text=True)
    assert_one_error_line(done.stderr, done.returncode, "camera 63: cannot be opened")
    assert len(done.stderr.splitlines()) == 4, "the missing window, the model, the attempt, the error"


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(tiny_onnx: Path, dataset_folder: Path) -> None:
    """As in `mmp-run --json - | head -n 1`: there is no traceback, not even at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [*MMP_RUN, str(tiny_onnx), "--source", str(dataset_folder / "images"), "--json", "-", "--no-show"]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    assert " in 1 frame, " in done.stderr


def test_a_threshold_that_is_not_a_number_is_a_bad_argument() -> None:
    """Older versions of typer accept NaN in their ranges."""
    for conf, iou in ((float("nan"), 0.5), (0.5, float("nan"))):
        with pytest.raises(typer.BadParameter, match="must be in"):
            checked_thresholds(conf, iou, 10)


@pytest.mark.parametrize("later", [False, True])
def test_no_source_is_ever_overwritten(tmp_path: Path, tiny_onnx: Path, later: bool) -> None:
    """Neither the file of the current frame nor one that is still to be read is overwritten."""
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "a.png", np.full((40, 40, 3), 99, np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    source = str(tmp_path / "*" / "a.png") if later else str(tmp_path / "x" / "a.png")
    out = str(tmp_path / "y") if later else source
    result = CliRunner().invoke(app, [str(tiny_onnx), "--source", source, "--save", out, "--no-show"])
    assert result.exit_code == 1
    assert "is also a source" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_one_dead_stream_stops_no_other_source(tiny_onnx: Path, tmp_path: Path) -> None:
    video, dead = write_video(tmp_path / "in.avi", count=6), "http://127.0.0.1:9/dead.mjpg"
    done = mmp_run(tiny_onnx, "--source", dead, "--source", video, "--no-reconnect", "--json", "-", "--no-show")
    lines = objects(done.stdout)
    assert [line["source"] for line in lines if "frame" in line] == [str(video)] * 6
    assert [line["event"] for line in lines if line.get("source") == dead] == ["connecting", "closed"]
    assert_one_error_line(done.stderr, done.exit_code, f"{re.escape(dead)}: cannot be opened")
    assert "6 frames" in plain(done.stderr), "what was found is summed up all the same"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--serve", "0.0.0.0:0"], "token"),
        (["--serve", "nonsense"], "nonsense"),
        (["--serve", "127.0.0.1:99999"], "99999"),
        (["--line", "1,2,3"], None),
        (["--zone", "a=1,2,3,4"], None),
    ],
)
def test_bad_pages_and_places_are_one_line(
    tiny_onnx: Path, image: Path, options: Sequence[str], fault: str | None
) -> None:
    done = mmp_run(tiny_onnx, "--source", image, "--no-show", *options)
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    if fault is None:
        assert done.exit_code == 2
        assert options[1] in plain(done.stderr)
    else:
        assert_one_error_line(done.stderr, done.exit_code, fault)


def test_a_line_outside_the_frame_is_one_line(tiny_onnx: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.avi", count=3)
    done = mmp_run(tiny_onnx, "--source", video, "--no-show", "--line", "door=0,0,900,900")
    assert_one_error_line(done.stderr, done.exit_code, "door")


def test_a_run_is_served_while_it_lasts(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    write = ServeSink.write

    def asking(self: ServeSink, *arguments: object) -> bool:
        goes_on = write(self, *arguments)  # type: ignore[arg-type]
        with urllib.request.urlopen(f"{self.url}status?token=secret", timeout=10) as answer:
            seen.append(json.load(answer))
        return goes_on

    monkeypatch.setattr(ServeSink, "write", asking)
    monkeypatch.setenv("MMPNET_TOKEN", "secret")
    video = write_video(tmp_path / "in.avi", count=3)
    done = mmp_run(tiny_onnx, "--source", video, "--serve", "127.0.0.1:0", "--no-show")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"serving http://127\.0\.0\.1:\d+/", plain(done.stderr))
    assert len(seen) == 3
    assert str(video) in json.dumps(seen[-1])
