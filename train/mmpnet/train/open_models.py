"""Open the models that are to be measured: exported files and other detectors without torch, checkpoints with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import MissingExtraError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.evaluation.evaluate import Detect
from mmpnet.evaluation.peers.detector import PeerDetector, family_of
from mmpnet.evaluation.peers.family import signature_of
from mmpnet.evaluation.protocol import protocol
from mmpnet.evaluation.report.inputs import Subject, exported_subject
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.inference.session import open_session

SUFFIXES = (".pth", ".onnx")


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A function from frame to Detections, the class names of its ids, its facts for a report, and its protocol."""

    name: str
    detect: Detect
    class_names: Sequence[str]
    subject: Subject
    protocol: str


@dataclass(frozen=True, slots=True)
class OpeningOptions:
    """thresholds are those to measure with; stated: whether the command line has one. None means auto, or 0 threads."""

    thresholds: Thresholds
    stated: bool
    device: str | None
    provider: Provider | None
    threads: int | None


def check_options(models: Sequence[Path], options: OpeningOptions) -> None:
    """Raises: ValueError for a file of another kind, or an option that has no effect on any of the models."""
    suffixes = {path.suffix.lower() for path in models}
    for path in models:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path}: expected a checkpoint .pth or an exported .onnx")
    given = {"--device": options.device, "--provider": options.provider, "--threads": options.threads}
    for flag, value in given.items():
        if value is not None and (".pth" if flag == "--device" else ".onnx") not in suffixes:
            raise ValueError(f"{flag} has no effect on a {suffixes.pop()} file; leave it out")


def open_model(
    path: Path, wanted: Sequence[str], options: OpeningOptions, *, say: Callable[[str], object]
) -> OpenedModel:
    """Open a checkpoint, an exported file, or another detector's ONNX file for the classes `wanted`.

    Raises: ContractError, CheckpointError, DeviceError for a file or device that cannot be used; MissingExtraError for
    a checkpoint without torch.
    """
    if path.suffix.lower() == ".pth":
        return _checkpoint(path, options)
    session = open_session(path, provider=options.provider or "auto", threads=options.threads or 0)
    if "mmpnet" not in session.get_modelmeta().custom_metadata_map and _is_peer(session):
        return _peer(session, path, wanted, options)
    detector = Detector(path, provider=options.provider or "auto", threads=options.threads or 0)
    thresholds = options.thresholds
    if detector.metadata.frozen and not options.stated:
        thresholds = detector.thresholds
        say(f"{path.name}: its thresholds are frozen, so this is {protocol(thresholds)}")
    detector = detector.with_thresholds(thresholds)
    subject = exported_subject(path, detector.metadata)
    return OpenedModel(path.name, detector, detector.class_names, subject, protocol(thresholds))


def _is_peer(session: Any) -> bool:
    signature = signature_of(session)
    return signature is not None and family_of(signature) is not None


def _peer(session: Any, path: Path, wanted: Sequence[str], options: OpeningOptions) -> OpenedModel:
    detector = PeerDetector(session, name=str(path), wanted=wanted, thresholds=options.thresholds)
    height, width = detector.input_hw
    facts = (
        ("model", f"{path.name}, {detector.family.name}, {height}x{width} px"),
        ("classes", ", ".join(detector.class_names[1:])),
    )
    return OpenedModel(
        path.name, detector, detector.class_names, Subject(path.name, facts), protocol(options.thresholds)
    )


def _checkpoint(path: Path, options: OpeningOptions) -> OpenedModel:
    try:
        # Only a checkpoint needs torch: an exported file is evaluated on the device that runs it.
        from mmpnet.train.artifacts.checkpoint import load_checkpoint
        from mmpnet.train.engine.device import resolve_device
        from mmpnet.train.network.torch_detector import torch_detector
        from mmpnet.train.run.html_report import checkpoint_subject
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: a checkpoint needs torch (missing: {error.name}); pip install 'mmpnet[train]', "
            "or evaluate the exported .onnx"
        ) from error
    where = resolve_device(options.device or "auto")
    checkpoint = load_checkpoint(path)
    network = checkpoint.network().to(where)
    detect = torch_detector(network, checkpoint.model, thresholds=options.thresholds, device=where)
    subject = checkpoint_subject(path, checkpoint)
    return OpenedModel(path.name, detect, checkpoint.model.class_names, subject, protocol(options.thresholds))
