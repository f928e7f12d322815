"""Search for an int8 version of a file, and keep it only if it is as accurate as float32 and faster on this machine."""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from mmpnet.bench.interleaved import take_turns, timed_ms
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import Accuracy, AccuracyRecord, LatencyRecord, QuantizationRecord
from mmpnet.contract.text import counted
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.bootstrap import LEAST_IMAGES, Bootstrap, Interval, interval, resampled
from mmpnet.evaluation.image_matches import Values
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.export.choices import ALLOWED_LOSS
from mmpnet.export.metadata_builder import build_int8_metadata
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer, layer_errors
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.verification.accuracy import measured
from mmpnet.export.verification.file_parity import Reference
from mmpnet.export.writer import FileChecks, save_model, write_model
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS
from mmpnet.system.machine import cpu_name
from mmpnet.system.progress import Notice, Progress, no_notice, no_progress

DEFAULTS = QuantizationOptions()
CALIBRATION_IMAGES = 200
ERROR_IMAGES = 4
LEAST_REFERENCE_AP = 0.01
FLOAT_LAYERS_TRIED = (0, 1, 2, 4, 8)
TIMED_ROUNDS = 40
SELF_TEST_TOLERANCES = (0.05, 0.8)
"""Largest difference in score and smallest IoU between devices; the rounding of integer kernels changes less."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Accuracy of a file, and its AP in each resample of the images (R,); None with too few images."""

    accuracy: Accuracy
    ap_samples: Values | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One int8 version: the layers that stay in float, accuracy and latency with those of the float file, and the
    interval of the difference in AP."""

    model: onnx.ModelProto
    float_layers: tuple[str, ...]
    accuracy: AccuracyRecord
    latency: LatencyRecord
    interval: Interval | None

    def fault(self, options: QuantizationOptions) -> str | None:
        """Why this version is not kept; None if it is."""
        if options.always:
            return None
        reference, found = self.accuracy.reference.AP, self.accuracy.file.AP
        if not found >= (1 - options.allowed_loss) * reference:
            least = f"less than {1 - options.allowed_loss:.0%} of float32's {reference:.4f}"
            return f"AP {found:.4f} is {least}{self._how_sure(options)}"
        if not self.latency.int8_ms < self.latency.float_ms:
            return f"{self.latency.int8_ms:.2f} ms is not less than float32's {self.latency.float_ms:.2f} ms"
        return None

    def _how_sure(self, options: QuantizationOptions) -> str:
        """Whether the images settle it: the end of the sentence about a loss that is too large."""
        doubt, around = self._doubt(options), self.interval
        if not doubt or around is None:
            return doubt and f"; {doubt}"
        loss = math.ceil(-100 * (self.accuracy.file.AP / self.accuracy.reference.AP - 1)) / 100
        return f", but {doubt}; or accept it with --int8-loss {loss:g} or --int8 always"

    def _doubt(self, options: QuantizationOptions) -> str:
        """Why the images do not settle whether the loss is at most the allowed one; empty if they do."""
        n_images, around = self.accuracy.n_images, self.interval
        if around is None:
            return f"{counted(n_images, 'image')} are too few to settle it: at least {LEAST_IMAGES} need a box"
        allowed = -options.allowed_loss * self.accuracy.reference.AP
        if not around.low <= allowed <= around.high:
            return ""
        away = max(abs(allowed - (self.accuracy.file.AP - self.accuracy.reference.AP)), 1e-4)
        needed = math.ceil(n_images * ((around.high - around.low) / 2 / away) ** 2)
        return (
            f"the 95 % interval of the difference is {around.low:+.4f} to {around.high:+.4f}: {n_images} images do not "
            f"settle it, about {needed} would"
        )

    def verdict(self, options: QuantizationOptions) -> str:
        """Why this version is kept, or why not."""
        if options.always:
            return "kept in any case, as requested"
        accepted = "" if options.allowed_loss <= ALLOWED_LOSS else f" within the accepted {options.allowed_loss:.0%}"
        if fault := self.fault(options):
            return fault
        kept = f"as accurate as float32{accepted}, and faster"
        doubt = self._doubt(options)
        return f"{kept}, but {doubt}" if doubt else kept


def make_int8(
    path: Path,
    calibration: Dataset,
    validation: Dataset,
    reference: Reference,
    options: QuantizationOptions = DEFAULTS,
    *,
    self_test_seeds: int = SELF_TEST_SEEDS,
    progress: Progress = no_progress,
    notice: Notice = no_notice,
) -> ModelMetadata:
    """Replace a float32 file of mmp-export by its int8 version, or leave it in float32 and record the reason in it.

    If int8 costs too much accuracy, the layers with the largest errors stay in float, a few more in each trial.

    path: the file.
    calibration: images from which the ranges of the activations are taken.
    validation: labeled images on which both versions are measured.
    reference: the checkpoint, with which the written file is compared.
    self_test_seeds: number of synthetic frames among which that of the self-test is chosen.
    progress, notice: receive the steps of the work, and the result of each trial.

    Raises: ExportError if the file cannot be quantized, or there are no calibration images, or none of them has a box.
    """
    metadata = read_model_file(path).metadata
    if metadata is None or metadata.head != "boxes" or metadata.input.kind != "uint8-nhwc" or metadata.input.batch != 1:
        raise ExportError(f"{path}: int8 needs a file with --head boxes, --input uint8-nhwc and --batch 1")
    images = calibration_images(calibration, metadata.letterbox)
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Quantizer(onnx.load(path), images, options, Path(folder), progress=progress)
        best = _search(quantizer, path, metadata, validation, Path(folder), options, progress, notice)
    record = QuantizationRecord(
        kept=best.fault(options) is None,
        verdict=best.verdict(options),
        activations=options.activations,
        weights="int8",
        per_channel=options.per_channel,
        calibrator=options.calibrator,
        dataset=calibration.name,
        dataset_sha256=calibration.sha256,
        n_images=len(images),
        float_layers=best.float_layers,
        accuracy=best.accuracy,
        latency=best.latency,
        allowed_loss=None if options.always else options.allowed_loss,
        ap_interval=None if best.interval is None else (best.interval.low, best.interval.high),
    )
    written = build_int8_metadata(metadata, record, best.model)
    if not record.kept:
        checks = FileChecks(reference, bound=None, self_test_seeds=self_test_seeds)
        return write_model(onnx.load(path), written, path, checks)
    checks = FileChecks(
        reference, bound=None, self_test_tolerances=SELF_TEST_TOLERANCES, self_test_seeds=self_test_seeds
    )
    return write_model(best.model, written, path, checks)


def calibration_images(dataset: Dataset, letterbox: Letterbox) -> list[UInt8Array]:
    """Up to 200 evenly spaced images of a data set, letterboxed: (H, W, 3), uint8 BGR.

    Raises: ExportError if there are none, or they have labels but no box: the ranges would not cover what is to be
    detected.
    """
    step = max(len(dataset.images) // CALIBRATION_IMAGES, 1)
    chosen = dataset.images[::step][:CALIBRATION_IMAGES]
    is_labeled = len(dataset.class_names) > 1
    if not chosen or (is_labeled and not any(len(image.boxes_xyxy) for image in chosen)):
        found = (
            f"has no box in the {counted(len(chosen), 'image')} that would calibrate int8"
            if chosen
            else "has no images"
        )
        raise ExportError(
            f"{dataset.name}: {found}; give --calib images like those of the camera, with what is to be detected"
        )
    return [letterbox.apply(image.read())[0] for image in chosen]


def _search(
    quantizer: Quantizer,
    path: Path,
    metadata: ModelMetadata,
    validation: Dataset,
    folder: Path,
    options: QuantizationOptions,
    progress: Progress,
    notice: Notice,
) -> Trial:
    """The first version without a fault, or the most accurate one.

    Raises: ExportError if the accuracy of float32 is too low for a comparison.
    """
    in_float = _measured(path, validation, "float32", progress)
    reference = in_float.accuracy
    if reference.AP < LEAST_REFERENCE_AP:
        raise ExportError(
            f"{path}: has AP {reference.AP:.4f} on {validation.name}, but int8 can only be compared with it from "
            f"{LEAST_REFERENCE_AP:g}; train it further, or give --verify images of what it has learned"
        )
    trials: list[Trial] = []
    ranking: Sequence[str] = ()
    for count in FLOAT_LAYERS_TRIED:
        if count and not ranking:
            ranking = [name for name, _ in layer_errors(quantizer, ERROR_IMAGES, progress=progress)]
        model = rearrange(quantizer.quantized(ranking[:count]))
        candidate = folder / "candidate.onnx"
        save_model(model, metadata, candidate)
        in_int8 = _measured(candidate, validation, f"int8, {counted(count, 'layer')} in float", progress)
        accuracy = AccuracyRecord(
            protocol=EVALUATION_PROTOCOL,
            dataset=validation.name,
            dataset_sha256=validation.sha256,
            n_images=len(validation.images),
            reference=reference,
            file=in_int8.accuracy,
        )
        latency = interleaved_latency(candidate, path, progress=progress)
        trial = Trial(model, tuple(ranking[:count]), accuracy, latency, _difference(in_int8, in_float))
        notice(f"int8 with {counted(count, 'layer')} in float: {trial.verdict(options)}")
        if trial.fault(options) is None:
            return trial
        trials.append(trial)
    return max(trials, key=lambda trial: trial.accuracy.file.AP)


def _measured(path: Path, validation: Dataset, who: str, progress: Progress) -> Measurement:
    detector = Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu")
    found = measured(detector, validation, detector.class_names, who, progress)
    samples = resampled(found.matches, Bootstrap())
    return Measurement(Accuracy(found.ap("AP"), found.ap("AP50")), None if samples is None else samples["AP"])


def _difference(one: Measurement, other: Measurement) -> Interval | None:
    """The interval of the difference in AP, on the same resamples of the images."""
    if one.ap_samples is None or other.ap_samples is None:
        return None
    return interval(one.ap_samples - other.ap_samples)


def interleaved_latency(
    int8: Path, reference: Path, *, rounds: int = TIMED_ROUNDS, progress: Progress = no_progress
) -> LatencyRecord:
    """Median inference times of two files in ms, on one thread; they take turns, so that a busy machine slows both."""
    detectors = [Detector(path, provider="cpu", threads=1) for path in (int8, reference)]
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (*detectors[0].metadata.input.size_hw, 3), dtype=np.uint8)
    turns = [timed_ms(partial(detector, frame)) for detector in detectors]
    times_ms = take_turns(turns, rounds=rounds, progress=lambda order: progress(order, "latency"))
    int8_ms, float_ms = (round(statistics.median(spent), 3) for spent in times_ms)
    return LatencyRecord(int8_ms=int8_ms, float_ms=float_ms, threads=1, cpu=cpu_name())
