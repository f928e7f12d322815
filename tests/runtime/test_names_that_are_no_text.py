"""Names that are not UTF-8 never reach OpenCV, which would crash, nor strict JSON parsers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.contract.text import is_well_formed, well_formed
from mmpnet.media.video_writer import VideoFile
from mmpnet.runtime.analytics.shapes import parse_line
from support.frames import write_video

ROOT = Path(__file__).parents[2]
BAD = os.fsdecode(b"b\xfcro")


def test_text_is_distinguished_from_binary_data() -> None:
    assert is_well_formed("Büro?")
    assert not is_well_formed(BAD)
    assert well_formed(BAD) == "b?ro"


@pytest.mark.parametrize("name", [b"b\xfcro.avi", b"b\xfcro.png"])
def test_a_folder_with_such_a_name_is_read_completely(name: bytes, tmp_path: Path, tiny_onnx: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.ndjson"
    folder.mkdir()
    write_video(folder / "good.avi", count=3)
    shutil.copy(folder / "good.avi", folder / os.fsdecode(name))
    arguments = [tiny_onnx, "--source", folder, "--json", out, "--no-show", "--line", f"{BAD}=50%,0,50%,100%"]
    arguments = arguments[:-2] if name.endswith(b".png") else arguments
    code = "from mmpnet.cli.run.command import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode in (1, 2), done.stderr
    if done.returncode == 2:
        return
    lines = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    assert sum("frame" in line for line in lines) == 3
    assert b"b?ro" in done.stderr


def test_a_video_of_such_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"b\?ro\.mkv: the name is not UTF-8, which OpenCV needs; choose another"):
        VideoFile(tmp_path / f"{BAD}.mkv", fps=10, frame_hw=(48, 64))


def test_the_name_of_a_line_becomes_text() -> None:
    assert parse_line(f"{BAD}=50%,0,50%,100%", default_name="line1").name == "b?ro"


def test_opencv_is_given_text_in_these_places_only() -> None:
    """Each of them passes its text through `well_formed`, `is_well_formed` or `openable`."""
    calls = re.compile(r"cv2\.(VideoCapture|VideoWriter|putText|getTextSize|imshow|namedWindow|imread|imwrite)\(")
    found = {
        path.name
        for root in ("runtime", "train", "export")
        for path in (ROOT / root).rglob("*.py")
        if calls.search(path.read_text())
    }
    assert found == {
        "cameras.py",  # by number
        "contact_sheet.py",
        "decoder_check.py",  # its own file
        "length.py",
        "reading.py",  # of the archive
        "splitting.py",  # of the archive
        "text_renderer.py",  # called by drawing.py
        "video_capture.py",
        "video_file.py",
        "video_writer.py",
        "window.py",
        "window_probe.py",
    }
