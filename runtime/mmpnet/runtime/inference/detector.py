"""Detector: run an exported model file as a function from frame to Detections. Needs no torch."""

import copy
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError
from mmpnet.contract.letterbox import LetterboxTransform
from mmpnet.contract.metadata import InputDescription, ModelMetadata, metadata_from_properties
from mmpnet.contract.thresholds import Thresholds
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.decode import (
    check_candidates,
    check_classes,
    head_reader,
    output_names,
    threshold_feed,
)
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.inference.session import open_session, provider_in_use, read_properties, run_session


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds spent on one frame, per stage."""

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


@dataclass(slots=True)
class _SharedSession:
    """The session of one file, shared by detectors with different thresholds; None after one of them is closed."""

    session: Any


class _Images(threading.local):
    """Input buffers of the network, reused for every frame; each thread has its own."""

    def __init__(self, described: InputDescription) -> None:
        self.pixels = np.zeros((1, *described.size_hw, 3), np.uint8)
        planes = described.kind == "float-nchw"
        self.planes = np.zeros((1, 3, *described.size_hw), np.float32) if planes else None

    @property
    def fed(self) -> NDArray[Any]:
        """The tensor for the model's input."""
        return self.pixels if self.planes is None else self.planes


class Detector:
    """Detects objects in BGR frames with a model file from mmp-export. Several threads may call it at the same time.

    `path` is a file, or the name of a model in this package: person-320 (the default), person-320-int8,
    person-192x320-int8 for frames of 16:9, or person-224-int8 for slow devices.
    The default thresholds are those of the file.

    Raises: ContractError for a bad file, DeviceError for a provider that is not available.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        thresholds: Thresholds | None = None,
        provider: Provider = "auto",
        threads: int = 0,
        spin: bool = True,
    ) -> None:
        self.path = model_path(path)
        session = open_session(self.path, provider=provider, threads=threads, spin=spin)
        self.provider = provider_in_use(session)
        properties = read_properties(session, source=str(self.path))
        self.metadata: ModelMetadata = metadata_from_properties(properties, source=str(self.path))
        self._check_signature(session)
        self._shared = _SharedSession(session)
        self.class_names = self.metadata.class_names
        self._letterbox = self.metadata.letterbox
        self._images = _Images(self.metadata.input)
        self._fetch = output_names(self.metadata)
        self._set_thresholds(thresholds or self.metadata.thresholds)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds applied to every frame."""
        return self._thresholds

    def with_thresholds(self, thresholds: Thresholds) -> "Detector":
        """A detector with other thresholds on the same session; closing either of them closes both.

        Raises: ContractError if other thresholds are fixed in the graph.
        """
        other = copy.copy(self)
        other._set_thresholds(thresholds)
        return other

    def _set_thresholds(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._threshold_feed = threshold_feed(self.metadata, thresholds, source=str(self.path))
        self._decode = head_reader(self.metadata, thresholds)

    def __call__(self, frame_bgr: UInt8Array | Path | str) -> Detections:
        """Detect objects in one frame (H, W, 3) uint8 BGR, or in an image file.

        Raises: SourceError for a file that is missing or not an image.
        """
        pixels_bgr = read_image(Path(frame_bgr)) if isinstance(frame_bgr, Path | str) else frame_bgr
        return self.timed(pixels_bgr)[0]

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
        """Detections in one frame, and the time of each stage."""
        images = self._images
        started = time.perf_counter()
        transform = self._prepare(frame_bgr, images.pixels[0], None if images.planes is None else images.planes[0])
        prepared = time.perf_counter()
        outputs = self._run({self.metadata.input.name: images.fed, **self._threshold_feed})
        inferred = time.perf_counter()
        detections = self._read(outputs, transform)
        done = time.perf_counter()
        times = StageTimes(
            preprocess_ms=(prepared - started) * 1e3,
            infer_ms=(inferred - prepared) * 1e3,
            postprocess_ms=(done - inferred) * 1e3,
        )
        return detections, times

    def batch(self, frames_bgr: Sequence[UInt8Array]) -> list[Detections]:
        """Detections in each of several frames of any size: in one inference if the file was exported with
        `--batch dynamic`, otherwise one by one."""
        described = self.metadata.input
        if described.batch != "dynamic" or not frames_bgr:
            return [self(frame_bgr) for frame_bgr in frames_bgr]
        pixels = np.empty((len(frames_bgr), *described.size_hw, 3), np.uint8)
        planes = None
        if described.kind == "float-nchw":
            planes = np.empty((len(frames_bgr), 3, *described.size_hw), np.float32)
        transforms = [
            self._prepare(frame_bgr, pixels[row], None if planes is None else planes[row])
            for row, frame_bgr in enumerate(frames_bgr)
        ]
        outputs = self._run({described.name: pixels if planes is None else planes, **self._threshold_feed})
        return [
            self._read([output[row : row + 1] for output in outputs], transform)
            for row, transform in enumerate(transforms)
        ]

    def warm_up(self) -> None:
        """Run the network once, so that the first frame is not slower than the others."""
        self._run({self.metadata.input.name: self._images.fed, **self._threshold_feed})

    def close(self) -> None:
        """Free the session; this detector and those that share it then raise ContractError."""
        self._shared.session = None

    def __enter__(self) -> "Detector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(
        self, frame_bgr: UInt8Array, pixels: UInt8Array, planes: NDArray[np.float32] | None
    ) -> LetterboxTransform:
        _, transform = self._letterbox.apply(frame_bgr, out=pixels)
        if planes is not None:
            np.multiply(pixels[:, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=planes)
        return transform

    def _run(self, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        session = self._shared.session  # another thread may close the detector now
        if session is None:
            raise ContractError(f"{self.path}: this detector has been closed; make a new one")
        return run_session(session, self._fetch, feed, source=str(self.path))

    def _read(self, outputs: Sequence[NDArray[Any]], transform: LetterboxTransform) -> Detections:
        check_candidates(outputs, source=str(self.path))
        try:
            found = self._decode(outputs, transform)
        except ValueError as error:  # for example, boxes that are not finite
            raise ContractError(
                f"{self.path}: gives invalid detections ({error}); export it again with mmp-export"
            ) from error
        check_classes(found, class_count=len(self.class_names), source=str(self.path))
        return found

    def _check_signature(self, session: Any) -> None:
        """Compare the graph with its metadata, as a mismatch would silently give wrong numbers."""
        described = self.metadata.input
        inputs = session.get_inputs()
        if [(i.name, i.type) for i in inputs] != [(described.name, described.type)]:
            found = ", ".join(f"{i.name} {i.type}" for i in inputs)
            raise ContractError(
                f"{self.path}: inputs are {found}, but its metadata states {described.name} {described.dtype}; "
                "export it again with mmp-export"
            )
        expected = {described.name: list(described.shape)}
        expected |= {output.name: list(output.shape) for output in self.metadata.outputs}
        actual = {value.name: list(value.shape) for value in (*inputs, *session.get_outputs())}
        for name, shape in expected.items():
            if actual.get(name) != shape:
                raise ContractError(
                    f"{self.path}: {name} is {actual.get(name, 'absent')} in the graph, but {shape} in its metadata; "
                    "export it again with mmp-export"
                )
        if described.batch not in (1, "dynamic"):
            raise ContractError(
                f"{self.path}: has a fixed batch of {described.batch}; export it with --batch 1 or dynamic"
            )
