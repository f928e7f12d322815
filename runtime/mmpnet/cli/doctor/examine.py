"""Examine this machine: packages, sessions with their self-test, display, cameras."""

import importlib
import json
import platform
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from mmpnet.cli.doctor.session_processes import SessionReport, try_sessions
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS
from mmpnet.system.libraries import RIVAL_WHEELS, installed, probe, rivalry
from mmpnet.system.machine import cpu_name, instruction_sets, usable_cores
from mmpnet.system.privacy import what_is_sent

if TYPE_CHECKING:
    from mmpnet.runtime.sources.cameras import CameraReport

_ALSO_VERSIONED = ("mmpnet", "numpy", "msgspec", "typer", "rich", "torch")
_NEEDED = {
    "numpy": "numpy.__version__",
    "cv2": "cv2.__version__, cv2.imdecode",
    "onnxruntime": "__import__('json').dumps(onnxruntime.get_available_providers())",
}
"""Compiled libraries, and an expression for each whose evaluation shows that it loads."""
_SLOW_SHARE = 0.8
"""A camera is reported if it gives less than this fraction of its stated frame rate."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The processor, the cores that this process may use, installed versions, and data that is sent without asking."""

    cpu: str
    instruction_sets: tuple[str, ...]
    usable_cores: float
    system: str
    python: str
    packages: dict[str, str]
    sent_unasked: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report: `faults` prevent something from working, `advice` are improvements.

    cameras: None if they were not examined. no_window: the reason why no window opens; None if one does.
    video_fault: the kind of video that OpenCV does not decode; None if it passes its self-test.
    """

    healthy: bool
    machine: Machine
    sessions: tuple[SessionReport, ...]
    no_window: str | None
    video_fault: str | None
    cameras: "tuple[CameraReport, ...] | None"
    faults: tuple[str, ...]
    advice: tuple[str, ...]


def examine(models: Sequence[str] = EMBEDDED_MODELS, *, look_at_cameras: bool = True) -> Report:
    """Test everything; the report contains what does not work.

    Each library is first imported in a child process, so that a crash becomes a line of the report.

    Raises: ContractError for a model name that this build does not have.
    """
    packages = installed([name for rivals in RIVAL_WHEELS.values() for name in rivals] + [*_ALSO_VERSIONED])
    numpy, opencv, runtime = (probe(module, expression) for module, expression in _NEEDED.items())
    faults = [fault for module in RIVAL_WHEELS if (fault := rivalry(module, packages))]
    faults += [one.fault for one in (numpy, opencv, runtime) if one.fault is not None]
    loads = numpy.fault is None and opencv.fault is None
    sessions: tuple[SessionReport, ...] = ()
    if loads and runtime.fault is None:
        sessions = tuple(try_sessions(models, providers=json.loads(runtime.answer)))
    faults += [f"{one.model} on {one.provider}: {one.fault}" for one in sessions if one.fault]
    no_window = _why_no_window() if loads else "OpenCV cannot be loaded"
    video_fault = _video_fault() if loads else "OpenCV cannot be loaded"
    cameras = _cameras() if loads and look_at_cameras else None
    return Report(
        healthy=not faults,
        machine=Machine(
            cpu=cpu_name(),
            instruction_sets=instruction_sets(),
            usable_cores=usable_cores(),
            system=platform.platform(),
            python=platform.python_version(),
            packages=packages,
            sent_unasked=what_is_sent(),
        ),
        sessions=sessions,
        no_window=no_window,
        video_fault=video_fault,
        cameras=cameras,
        faults=tuple(faults),
        advice=(
            *_model_advice(sessions),
            *([video_fault] if loads and video_fault is not None else []),
            *_window_advice(no_window if loads else None),
            *_camera_advice(cameras),
        ),
    )


def _why_no_window() -> str | None:
    # This imports OpenCV, which is known to load.
    return importlib.import_module("mmpnet.media.window_probe").why_no_window()  # type: ignore[no-any-return]


def _video_fault() -> str | None:
    importlib.import_module("mmpnet.runtime.sources.video_capture").silence_opencv()
    fault: str | None = importlib.import_module("mmpnet.media.decoder_check").decoder_fault()
    if fault is not None and importlib.import_module("mmpnet.media.second_decoder").second_decoder_works():
        return f"in files, PyAV decodes what OpenCV does not; for streams: {fault}"
    return fault


def _cameras() -> "tuple[CameraReport, ...]":
    importlib.import_module("mmpnet.runtime.sources.video_capture").silence_opencv()
    return tuple(importlib.import_module("mmpnet.runtime.sources.cameras").probe_cameras())


def _model_advice(sessions: Sequence[SessionReport]) -> Iterator[str]:
    timed = [(one.infer_ms, one) for one in sessions if one.infer_ms is not None]
    if len(timed) > 1:
        (best_ms, best), (worst_ms, worst) = (pick(timed, key=lambda pair: pair[0]) for pick in (min, max))
        yield (
            f"fastest here: mmp-run {best.model} --provider {best.provider}, {best_ms:g} ms; "
            f"slowest: {worst.model} on {worst.provider}, {worst_ms:g} ms"
        )


def _window_advice(no_window: str | None) -> Iterator[str]:
    if no_window is not None:
        yield f"no window: {no_window}; mmp-run works with --save FILE or --json FILE"


def _camera_advice(cameras: "Sequence[CameraReport] | None") -> Iterator[str]:
    if cameras is None:
        return
    if not cameras:
        yield "no camera found; connect one, or give mmp-run a --source"
    for camera in cameras:
        if camera.fault is not None:
            yield f"{camera.name}: {camera.fault}"
        elif camera.measured_fps is not None and camera.measured_fps < _SLOW_SHARE * camera.stated_fps:
            yield (
                f"{camera.name}: states {camera.stated_fps:g} frames per second and gives {camera.measured_fps:g}; "
                "try more light, or a smaller image"
            )
