"""mmp-doctor finds every fault that it knows; the tests produce each of them."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from mmpnet.cli.doctor import examine as doctor
from mmpnet.cli.doctor.command import app
from mmpnet.cli.doctor.examine import examine
from mmpnet.runtime.sources import cameras
from mmpnet.runtime.sources.cameras import CameraReport, present_cameras, probe_cameras
from mmpnet.system import machine
from mmpnet.system.machine import instruction_sets, usable_cores
from support.onnx_files import save_unsealed

DEADLY = """
import os, signal
is_file = os.path.isfile
def deadly(path):
    if str(path).endswith("{name}"):
        os.kill(os.getpid(), signal.SIGILL)
    return is_file(path)
os.path.isfile = deadly
"""
"""A start-up file for Python that crashes the process of a model, as an unsupported instruction does."""


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Linux machine without display and cameras; returns the folder that replaces /dev."""
    devices = tmp_path / "dev"
    devices.mkdir()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cameras, "_DEVICES", devices)
    monkeypatch.delenv("DISPLAY", raising=False)
    return devices


class FakeCamera:
    """A camera that delivers `frames` frames, one every `gap_s`."""

    def __init__(self, *, opens: bool = True, frames: int = 1000, gap_s: float = 0.01, fps: float = 30.0) -> None:
        self._opens = opens
        self._left = frames
        self._gap_s = gap_s
        self._fps = fps
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._opens

    def read(self) -> tuple[bool, Any]:
        time.sleep(self._gap_s)
        self._left -= 1
        return self._left >= 0, np.zeros((48, 64, 3), np.uint8)

    def get(self, what: int) -> float:
        sides = {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}
        return sides.get(what, self._fps)

    def release(self) -> None:
        self.released = True


def with_camera(monkeypatch: pytest.MonkeyPatch, devices: Path, camera: FakeCamera) -> None:
    (devices / "video0").touch()
    monkeypatch.setattr(cv2, "VideoCapture", lambda _index: camera)


def test_a_good_model_passes_and_is_timed(tiny_onnx: Path) -> None:
    report = examine([str(tiny_onnx)])
    assert report.healthy
    assert [(one.model, one.provider, one.fault) for one in report.sessions] == [(str(tiny_onnx), "cpu", None)]
    assert report.sessions[0].infer_ms is not None
    assert report.sessions[0].infer_ms > 0
    assert report.machine.packages["numpy"] == np.__version__
    assert any("no window: there is no display" in line for line in report.advice)
    assert any("no camera" in line for line in report.advice)


def test_a_model_that_computes_something_else_is_a_fault(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    save_unsealed(model, tmp_path / "broken.onnx")
    report = examine([str(tiny_onnx), str(tmp_path / "broken.onnx")])
    assert not report.healthy
    assert [one.fault is None for one in report.sessions] == [True, False]
    (fault,) = report.faults
    assert fault.startswith(f"{tmp_path / 'broken.onnx'} on cpu: self-test failed")


def test_the_fastest_is_named(tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "same.onnx").write_bytes(tiny_onnx.read_bytes())
    report = examine([str(tiny_onnx), str(tmp_path / "same.onnx")])
    best = min(report.sessions, key=lambda one: one.infer_ms or 0.0)
    assert any(line.startswith(f"fastest here: mmp-run {best.model} --provider cpu") for line in report.advice)


def test_two_wheels_of_one_module_are_a_fault(monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path) -> None:
    both = dict.fromkeys(("opencv-python", "opencv-python-headless"), "1.0")
    monkeypatch.setattr(doctor, "installed", lambda _names: both)
    report = examine([str(tiny_onnx)])
    assert not report.healthy
    (fault,) = report.faults
    assert "opencv-python and opencv-python-headless are both installed" in fault


def test_a_broken_onnxruntime_is_a_fault_and_the_rest_is_still_checked(
    monkeypatch: pytest.MonkeyPatch, bare_machine: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnxruntime.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with_camera(monkeypatch, bare_machine, FakeCamera(opens=False))
    report = examine()
    assert report.sessions == ()
    assert "ONNX Runtime cannot be loaded: libonnxruntime.so.1 is missing" in report.faults[0]
    assert report.cameras is not None
    assert len(report.cameras) == 1


def test_a_session_that_ends_python_is_a_fault_and_the_next_model_is_tried(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = tmp_path / "deadly.onnx"
    deadly.write_bytes(tiny_onnx.read_bytes())
    (tmp_path / "sitecustomize.py").write_text(DEADLY.format(name=deadly.name))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = examine([str(tiny_onnx), str(deadly), str(tiny_onnx)], look_at_cameras=False)
    assert [one.fault is None for one in report.sessions] == [True, False, True]
    assert report.faults == (
        f"{deadly} on cpu: Python was ended by SIGILL (an instruction that this processor does not have)",
    )


def test_a_camera_is_watched(monkeypatch: pytest.MonkeyPatch, bare_machine: Path) -> None:
    camera = FakeCamera(gap_s=0.02, fps=50.0)
    with_camera(monkeypatch, bare_machine, camera)
    (found,) = probe_cameras(look_s=0.2)
    assert (found.index, found.width, found.height, found.stated_fps, found.fault) == (0, 64, 48, 50.0, None)
    assert found.first_frame_ms is not None
    assert found.first_frame_ms >= 20
    assert found.measured_fps is not None
    assert 0 < found.measured_fps <= 51
    assert camera.released


@pytest.mark.parametrize(
    ("camera", "fault"),
    [
        (FakeCamera(opens=False), "cannot be opened; another program may use it"),
        (FakeCamera(frames=0), "opens, but gives no frame"),
    ],
)
def test_a_camera_that_does_not_work_says_how(
    monkeypatch: pytest.MonkeyPatch, bare_machine: Path, camera: FakeCamera, fault: str
) -> None:
    with_camera(monkeypatch, bare_machine, camera)
    (found,) = probe_cameras(look_s=0.05)
    assert found.fault is not None
    assert found.fault.startswith(fault)
    assert camera.released


def test_a_camera_without_rights_is_not_opened(monkeypatch: pytest.MonkeyPatch, bare_machine: Path) -> None:
    with_camera(monkeypatch, bare_machine, FakeCamera())
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = probe_cameras(look_s=0.05)
    assert found.fault is not None
    assert "no permission to use it" in found.fault


def test_one_frame_has_no_rate(monkeypatch: pytest.MonkeyPatch, bare_machine: Path) -> None:
    with_camera(monkeypatch, bare_machine, FakeCamera(frames=1))
    (found,) = probe_cameras(look_s=0.05)
    assert found.measured_fps is None
    assert found.fault is None


def test_devices_are_in_order_of_their_numbers(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("video10", "video2", "video", "videotape"):
        (bare_machine / name).touch()
    assert [index for index, _ in present_cameras()] == [2, 10]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [index for index, _ in present_cameras()] == [0, 1, 2, 3]


def test_a_slow_camera_and_a_faulty_one_get_advice(monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path) -> None:
    seen = [
        CameraReport(index=0, name="/dev/video0", stated_fps=30.0, measured_fps=14.9),
        CameraReport(index=1, name="/dev/video1", stated_fps=30.0, measured_fps=29.7),
        CameraReport(index=2, name="/dev/video2", fault="opens, but gives no frame"),
    ]
    monkeypatch.setattr(cameras, "probe_cameras", lambda: seen)
    report = examine([str(tiny_onnx)])
    assert report.healthy
    of_cameras = [line for line in report.advice if line.startswith("/dev/")]
    assert of_cameras[0].startswith("/dev/video0: states 30 frames per second and gives 14.9")
    assert of_cameras[1:] == ["/dev/video2: opens, but gives no frame"]


def test_the_processors_instructions_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPU_INFO", info)
    assert instruction_sets() == ()
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nflags\t: fpu\n")
    assert instruction_sets() == ("AVX2", "AVX-512", "AVX-512 VNNI")
    info.write_text("Features\t: fp asimd asimddp\n")
    assert instruction_sets() == ("NEON", "NEON dot product")


def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CPU_QUOTA", tmp_path / "cpu.max")
    cores = usable_cores()
    assert cores >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores() == cores
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores() == 0.5


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_people_get_a_table_and_what_to_do(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, bare_machine: Path
) -> None:
    with_camera(monkeypatch, bare_machine, FakeCamera(frames=2))
    code, stdout, _ = run(tiny_onnx)
    assert code == 0
    assert "self-test passed" in stdout
    assert "64x48, states 30 frames per second, gives" in stdout
    assert "advice: no window" in stdout


def test_scripts_get_one_document(tiny_onnx: Path) -> None:
    code, stdout, _ = run(tiny_onnx, "--no-cameras", "--json")
    document = json.loads(stdout)
    assert code == 0
    assert document["healthy"]
    assert document["cameras"] is None
    assert document["sessions"][0]["provider"] == "cpu"


def test_a_fault_is_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    code, stdout, _ = run(tmp_path / "text.onnx", "--no-cameras")
    assert code == 1
    assert "does not work:" in stdout
    assert "expected an ONNX file that mmp-export wrote" in stdout
