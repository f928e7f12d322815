"""Make an int8 file, and keep it only if it is as accurate as float32 and faster on this machine."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from rich.progress import track

from mmpnet.console.command import console
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import Accuracy, AccuracyRecord, LatencyRecord, QuantizationRecord
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.export.metadata_builder import oldest_runtime
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer, layer_errors
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.verification.accuracy import measured
from mmpnet.export.verification.file_parity import Reference
from mmpnet.export.writer import save_model, write_model
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS
from mmpnet.system.machine import cpu_name

DEFAULTS = QuantizationOptions()
CALIBRATION_PICTURES = 200
ERROR_PICTURES = 4
LEAST_AP_RATIO = 0.99
LEAST_REFERENCE_AP = 0.01
FLOAT_LAYERS_TRIED = (0, 1, 2, 4, 8)
TIMED_ROUNDS = 40
SELF_TEST_TOLERANCES = (0.05, 0.8)
"""Largest difference in score and smallest IoU between devices: integer kernels may round differently, but not so
far."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One int8 version: the layers left in float, its accuracy, and its speed beside the float file's."""

    model: onnx.ModelProto
    float_layers: tuple[str, ...]
    accuracy: AccuracyRecord
    latency: LatencyRecord

    def fault(self) -> str | None:
        """Why it is not worth keeping; None if it is."""
        reference, found = self.accuracy.reference.AP, self.accuracy.file.AP
        if not found >= LEAST_AP_RATIO * reference:
            return f"AP {found:.4f} is less than {LEAST_AP_RATIO:.0%} of float32's {reference:.4f}"
        if not self.latency.int8_ms < self.latency.float_ms:
            return f"{self.latency.int8_ms:.2f} ms is not less than float32's {self.latency.float_ms:.2f} ms"
        return None


def make_int8(
    path: Path,
    calibration: Dataset,
    judge: Dataset,
    reference: Reference,
    options: QuantizationOptions = DEFAULTS,
    *,
    self_test_seeds: int = SELF_TEST_SEEDS,
) -> ModelMetadata:
    """Turn a float32 file of mmp-export into int8 in its place, or leave it float32 and record in it why.

    calibration: pictures that fix the ranges; judge: labelled pictures on which both versions are measured; reference:
    the checkpoint, which the proof compares the written file with. Where all int8 costs too much accuracy, the layers
    with the largest errors are left in float, a few more each time.

    Raises: ExportError if the file cannot be quantised, or the calibration pictures are none or show nothing.
    """
    metadata = read_model_file(path).metadata
    if metadata is None or metadata.head != "boxes" or metadata.input.kind != "uint8-nhwc" or metadata.input.batch != 1:
        raise ExportError(f"{path}: int8 needs a file with --head boxes, --input uint8-nhwc and --batch 1")
    pictures = calibration_pictures(calibration, metadata.letterbox)
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Quantizer(onnx.load(path), pictures, options, Path(folder))
        best = _search(quantizer, path, metadata, judge, Path(folder))
    fault = best.fault()
    record = QuantizationRecord(
        kept=fault is None,
        verdict=fault or "as accurate as float32, and faster",
        activations=options.activations,
        weights="int8",
        per_channel=options.per_channel,
        calibrator=options.calibrator,
        dataset=calibration.name,
        dataset_sha256=calibration.sha256,
        n_images=len(pictures),
        float_layers=best.float_layers,
        accuracy=best.accuracy,
        latency=best.latency,
    )
    if fault is not None:
        undone = msgspec.structs.replace(metadata, quantization=record)
        return write_model(onnx.load(path), undone, path, reference=reference, bound=None, seeds=self_test_seeds)
    runtime = msgspec.structs.replace(metadata.minimum_runtime, onnxruntime=oldest_runtime(best.model))
    # What was measured of the float32 file is not this one's.
    proof = None if metadata.proof is None else msgspec.structs.replace(metadata.proof, accuracy=best.accuracy)
    int8 = msgspec.structs.replace(
        metadata, precision="int8", quantization=record, minimum_runtime=runtime, proof=proof
    )
    return write_model(
        best.model,
        int8,
        path,
        reference=reference,
        bound=None,
        tolerances=SELF_TEST_TOLERANCES,
        seeds=self_test_seeds,
    )


def calibration_pictures(dataset: Dataset, letterbox: Letterbox) -> list[UInt8Array]:
    """Up to 200 pictures from all over the data set, letterboxed as the runtime does it.

    Raises: ExportError if there are none, or none of them has a box: ranges would not cover what is to be found.
    """
    step = max(len(dataset.images) // CALIBRATION_PICTURES, 1)
    chosen = dataset.images[::step][:CALIBRATION_PICTURES]
    if not any(len(picture.boxes_xyxy) for picture in chosen):
        found = "is empty" if not chosen else "shows nothing that is to be found: no box in the pictures looked at"
        raise ExportError(f"{dataset.name}: {found}; give --calib pictures as the camera will see them")
    return [letterbox.apply(picture.read())[0] for picture in chosen]


def _search(quantizer: Quantizer, path: Path, metadata: ModelMetadata, judge: Dataset, folder: Path) -> Trial:
    """The first version without a fault, or the most accurate one.

    Raises: ExportError if float32 finds so little that nothing can be judged by it.
    """
    reference = _accuracy(path, judge, "float32")
    if reference.AP < LEAST_REFERENCE_AP:
        raise ExportError(
            f"{path}: has AP {reference.AP:.4f} on {judge.name}, too little to judge int8 by; {LEAST_REFERENCE_AP:g} "
            "is needed: train it further, or give --verify pictures of what it has learned"
        )
    trials: list[Trial] = []
    ranking: Sequence[str] = ()
    for count in FLOAT_LAYERS_TRIED:
        if count and not ranking:
            ranking = [name for name, _ in layer_errors(quantizer, ERROR_PICTURES)]
        model = rearrange(quantizer.quantized(ranking[:count]))
        candidate = folder / "candidate.onnx"
        save_model(model, metadata, candidate)
        accuracy = AccuracyRecord(
            protocol=EVALUATION_PROTOCOL,
            dataset=judge.name,
            dataset_sha256=judge.sha256,
            n_images=len(judge.images),
            reference=reference,
            file=_accuracy(candidate, judge, f"int8, {count} layers in float"),
        )
        trial = Trial(model, tuple(ranking[:count]), accuracy, interleaved_latency(candidate, path))
        fault = trial.fault()
        console().print(f"int8 with {count} layers in float: {fault or 'worth it'}")
        if fault is None:
            return trial
        trials.append(trial)
    return max(trials, key=lambda trial: trial.accuracy.file.AP)


def _accuracy(path: Path, judge: Dataset, who: str) -> Accuracy:
    detector = Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu")
    found = measured(detector, judge, detector.class_names, who)
    return Accuracy(found.ap("AP"), found.ap("AP50"))


def interleaved_latency(int8: Path, reference: Path, *, rounds: int = TIMED_ROUNDS) -> LatencyRecord:
    """Median inference times of two files on one thread, run in turns, so that a busy machine troubles both alike."""
    detectors = [Detector(path, provider="cpu", threads=1) for path in (int8, reference)]
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (*detectors[0].metadata.input.size_hw, 3), dtype=np.uint8)
    times: list[list[float]] = [[], []]
    for _ in track(range(rounds), description="speed", console=console(), transient=True):
        for detector, spent in zip(detectors, times, strict=True):
            detector(frame)
            started = time.perf_counter()
            detector(frame)
            spent.append((time.perf_counter() - started) * 1e3)
    int8_ms, float_ms = (round(statistics.median(spent), 3) for spent in times)
    return LatencyRecord(int8_ms=int8_ms, float_ms=float_ms, threads=1, cpu=cpu_name())
