"""What this machine can do, found out by doing it: wheels, sessions with the model's self-test, display, cameras."""

import importlib
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import distributions
from typing import TYPE_CHECKING

import msgspec

from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS
from mmpnet.runtime.sinks.window import why_no_window
from mmpnet.runtime.sources.cameras import CameraReport, probe_cameras
from mmpnet.system.machine import cpu_name, instruction_sets, usable_cores
from mmpnet.system.privacy import what_is_sent

if TYPE_CHECKING:
    from mmpnet.cli.doctor.sessions import SessionReport

RIVAL_WHEELS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Wheels that write the same module: where two are installed, each has overwritten files of the other."""
_ALSO_VERSIONED = ("mmpnet", "numpy", "msgspec", "typer", "rich", "torch")
_SLOW_SHARE = 0.8
"""A camera below this share of the rate it states is worth a word."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Processor, what of it this process may use, versions of what is installed, and what is sent unasked."""

    cpu: str
    instruction_sets: tuple[str, ...]
    usable_cores: float
    system: str
    python: str
    packages: dict[str, str]
    sent_unasked: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it: `faults` keep something from working, `advice` would make it better.

    cameras: None where they were not looked at. no_window: why no window can be opened; None where one can.
    """

    healthy: bool
    machine: Machine
    sessions: "tuple[SessionReport, ...]"
    no_window: str | None
    cameras: tuple[CameraReport, ...] | None
    faults: tuple[str, ...]
    advice: tuple[str, ...]


def examine(models: Sequence[str] = EMBEDDED_MODELS, *, look_at_cameras: bool = True) -> Report:
    """Try everything. What does not work is in the report.

    Raises: ContractError if a model is named that this build does not have.
    """
    packages = installed([name for rivals in RIVAL_WHEELS.values() for name in rivals] + [*_ALSO_VERSIONED])
    faults = [fault for module in RIVAL_WHEELS if (fault := _rivalry(module, packages))]
    sessions: tuple[SessionReport, ...] = ()
    try:
        # Where two wheels have overwritten each other, this import is what fails.
        sessions = tuple(importlib.import_module("mmpnet.cli.doctor.sessions").try_sessions(models))
    except ImportError as error:
        faults.append(f"onnxruntime cannot be imported ({error}); pip install --force-reinstall 'mmpnet[cpu]'")
    faults += [f"{one.model} on {one.provider}: {one.fault}" for one in sessions if one.fault]
    no_window = why_no_window()
    cameras = tuple(probe_cameras()) if look_at_cameras else None
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
        cameras=cameras,
        faults=tuple(faults),
        advice=(*_model_advice(sessions), *_window_advice(no_window), *_camera_advice(cameras)),
    )


def installed(names: Iterable[str]) -> dict[str, str]:
    """Version of each of these distributions that is installed."""
    found = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in distributions()}
    return {name: found[name] for name in names if name in found}


def _rivalry(module: str, packages: dict[str, str]) -> str | None:
    wheels = [name for name in RIVAL_WHEELS[module] if name in packages]
    if len(wheels) < 2:
        return None
    keep = "mmpnet[gpu]" if "onnxruntime-gpu" in wheels else "mmpnet[cpu]"
    return (
        f"{' and '.join(wheels)} are installed, and overwrite each other's {module}; "
        f"pip uninstall {' '.join(wheels)}, then pip install '{keep}'"
    )


def _model_advice(sessions: "Sequence[SessionReport]") -> Iterator[str]:
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


def _camera_advice(cameras: Sequence[CameraReport] | None) -> Iterator[str]:
    if cameras is None:
        return
    if not cameras:
        yield "no camera; connect one, or give mmp-run a --source"
    for camera in cameras:
        if camera.fault is not None:
            yield f"{camera.name}: {camera.fault}"
        elif camera.measured_fps is not None and camera.measured_fps < _SLOW_SHARE * camera.stated_fps:
            yield (
                f"{camera.name}: states {camera.stated_fps:g} frames a second and gives {camera.measured_fps:g}; "
                "more light, or a smaller image"
            )
