"""Detector: an exported model file as a function from frame to Detections. Never touches torch."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import ContractError
from mmpnet.contract.metadata import ModelMetadata, metadata_from_properties
from mmpnet.runtime.embedded import model_path
from mmpnet.runtime.heads import head_reader, output_names, threshold_feed
from mmpnet.runtime.session import Provider, open_session, provider_in_use


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds spent on one frame, by stage."""

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


class Detector:
    """Finds objects in BGR frames with a model file that mmp-export wrote.

    `path` is a file, or the name of a model that ships with the package: person-320, the default, person-320-int8, or
    person-224-int8 for weak devices.
    Thresholds default to the file's own.

    Raises: ContractError for a bad file, DeviceError for a provider that is not honoured.
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
        self._session = open_session(self.path, provider=provider, threads=threads, spin=spin)
        self.provider = provider_in_use(self._session)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata: ModelMetadata = metadata_from_properties(properties, source=str(self.path))
        self._check_signature()
        self.class_names = self.metadata.class_names
        self._letterbox = self.metadata.letterbox
        self._pixels = np.zeros((1, *self.metadata.input.size_hw, 3), np.uint8)
        self._planes: FloatArray | None = None
        if self.metadata.input.kind == "float-nchw":
            self._planes = np.zeros((1, 3, *self.metadata.input.size_hw), np.float32)
        self._images = self._pixels if self._planes is None else self._planes
        self._fetch = output_names(self.metadata)
        self.thresholds = thresholds or self.metadata.thresholds

    @property
    def thresholds(self) -> Thresholds:
        """What is applied to every frame. Setting it raises ContractError where others are frozen into the graph."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        fed = threshold_feed(self.metadata, thresholds, source=str(self.path))
        self._feed = {self.metadata.input.name: self._images, **fed}
        self._read = head_reader(self.metadata, thresholds)
        self._thresholds = thresholds

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        """Objects in one frame (H, W, 3) uint8 BGR."""
        return self.timed(frame_bgr)[0]

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
        """Objects in one frame, and what each stage took."""
        started = time.perf_counter()
        _, placement = self._letterbox.apply(frame_bgr, out=self._pixels[0])
        if self._planes is not None:
            np.multiply(self._pixels[0, :, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=self._planes[0])
        prepared = time.perf_counter()
        outputs = self._session.run(self._fetch, self._feed)
        inferred = time.perf_counter()
        detections = self._read(outputs, placement)
        done = time.perf_counter()
        times = StageTimes(
            preprocess_ms=(prepared - started) * 1e3,
            infer_ms=(inferred - prepared) * 1e3,
            postprocess_ms=(done - inferred) * 1e3,
        )
        return detections, times

    def warm_up(self) -> None:
        """Run the network once, so that the first frame's time is like every other's."""
        self._session.run(self._fetch, self._feed)

    def _check_signature(self) -> None:
        """The graph must be what its metadata says, or every number after it would be wrong in silence."""
        described = self.metadata.input
        inputs = self._session.get_inputs()
        if [(i.name, i.type) for i in inputs] != [(described.name, described.type)]:
            found = ", ".join(f"{i.name} {i.type}" for i in inputs)
            raise ContractError(
                f"{self.path}: inputs are {found}, its metadata says {described.name} {described.dtype}"
            )
        expected = {described.name: list(described.shape)}
        expected |= {output.name: list(output.shape) for output in self.metadata.outputs}
        actual = {value.name: list(value.shape) for value in (*inputs, *self._session.get_outputs())}
        for name, shape in expected.items():
            if actual.get(name) != shape:
                raise ContractError(
                    f"{self.path}: {name} is {actual.get(name, 'absent')} in the graph, {shape} in its metadata; "
                    "export it again with mmp-export"
                )
        if described.batch not in (1, "dynamic"):
            raise ContractError(
                f"{self.path}: has a fixed batch of {described.batch}; export it with --batch 1 or dynamic"
            )
