"""Export a checkpoint as requested: to float32 first, and from there to float16 or int8."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mmpnet.contract.errors import ExportError, MmpnetError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata, Precision
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.plain_images import is_plain_folder, read_plain_images
from mmpnet.datasets.transform import mix
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.export.choices import DEFAULT_OPSET
from mmpnet.export.half import make_half
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import QuantizationOptions
from mmpnet.export.quantization.search import make_int8
from mmpnet.export.source import open_source
from mmpnet.export.verification.accuracy import measured
from mmpnet.export.verification.file_parity import reference_of
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.files import atomic_write
from mmpnet.system.progress import Notice, Progress, no_notice, no_progress
from mmpnet.train.artifacts.checkpoint import Checkpoint
from mmpnet.train.network.inference_net import TOP_K

LOWEST_CONF, HIGHEST_CONF = 0.05, 0.9
"""Bounds of a default threshold that few images choose: beyond them a camera shows noise, or nothing."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, to which file, and on which data to verify it and to calibrate int8.

    A score threshold that is not given is the one with the best F1 on the data to verify it on, if there are such data
    and the thresholds are not frozen.
    """

    model: Path
    target: Path
    options: ExportOptions
    precision: Precision
    quantization: QuantizationOptions
    verify: tuple[Path, ...]
    calib: tuple[Path, ...]


def export_checkpoint(
    request: ExportRequest, *, progress: Progress = no_progress, notice: Notice = no_notice
) -> ModelMetadata:
    """Write the requested file, and return its metadata; if any step fails, an older file of this name stays.

    Without a gain in int8 the file is in float32, and its metadata contain the reason.

    Raises: MmpnetError for a bad checkpoint or bad data, and if the file does not pass its checks or cannot be written.
    """
    verify = load_dataset(request.verify, "val", undivided=True) if request.verify else None
    calibration = calibration_data(request.calib) if request.calib else None
    for dataset in (verify, calibration):
        for note in () if dataset is None else dataset.notes:
            notice(f"note: {note}")
    validation = _val_splits(request.calib) if calibration is not None and verify is None else verify
    options = request.options
    source = open_source(request.model)
    if options.conf is None and verify is not None and not options.frozen:
        options = replace(options, conf=_best_conf(source.checkpoint, options, verify, progress, notice))
    with _renamed_at_the_end(request.target) as partial:
        metadata = export_file(request.model, partial, options, verify=verify, progress=progress)
        if request.precision == "float32":
            return metadata
        reference = reference_of(source.checkpoint, metadata.letterbox)
        if request.precision == "float16":
            return make_half(partial, reference, verify=verify, progress=progress)
        assert calibration is not None, "checked with the options"
        assert validation is not None, "checked with the options"
        how = request.quantization
        return make_int8(partial, calibration, validation, reference, how, progress=progress, notice=notice)


def check_request(request: ExportRequest) -> None:
    """Raises: ValueError for options that do not go together."""
    if request.target.resolve() == model_path(request.model).resolve():
        raise ValueError(f"{request.target}: is the file to export; give another name with -o")
    options, precision = request.options, request.precision
    batch, opset, max_det = options.batch, options.opset, options.thresholds.max_det
    if options.frozen and options.head != "nms":
        raise ValueError("--frozen goes with --nms, because no other head has thresholds in the graph; add --nms")
    if max_det > TOP_K:
        raise ValueError(f"--max-det {max_det}: the graph returns at most {TOP_K} boxes; give {TOP_K} or less")
    if request.verify and batch not in (1, "dynamic"):
        raise ValueError(
            f"--verify with --batch {batch}: a file for several images at once cannot be measured; give --batch 1"
        )
    if opset < DEFAULT_OPSET and (options.head == "nms" or precision == "int8"):
        raise ValueError(f"--opset {opset}: --nms and --int8 need {DEFAULT_OPSET} or more")
    if precision == "float16" and batch not in (1, "dynamic"):
        raise ValueError(
            f"--half with --batch {batch}: its scores cannot be compared with those of float32; give --batch 1"
        )
    if (precision == "int8") != bool(request.calib):
        raise ValueError("--int8 and --calib IMAGES go together; give both")
    if precision == "int8" and (options.head, options.input_kind, batch) != ("boxes", "uint8-nhwc", 1):
        raise ValueError("--int8 needs --head boxes, --input uint8-nhwc and --batch 1")


def _best_conf(
    checkpoint: Checkpoint, options: ExportOptions, verify: Dataset, progress: Progress, notice: Notice
) -> float:
    """The score threshold that has the best F1 of the checkpoint on the data."""
    input_hw = options.input_hw or checkpoint.model.input_hw
    reference = reference_of(checkpoint, Letterbox(input_hw, checkpoint.model.pad_value))
    detect = reference.detector(input_hw, EVALUATION_THRESHOLDS)
    found = measured(detect, verify, checkpoint.model.class_names, "the checkpoint, for its threshold", progress)
    conf = min(max(round(found.best_f1_conf, 3), LOWEST_CONF), HIGHEST_CONF)
    notice(f"default score threshold {conf:g}: best F1 {found.best_f1:.3f} on {verify.name}; --conf states another")
    return conf


@contextmanager
def _renamed_at_the_end(target: Path) -> Iterator[Path]:
    """A partial file for several steps, renamed to `target` at the end; errors name the file that the user knows."""
    with atomic_write(target, parents=True) as partial:
        try:
            yield partial
        except MmpnetError as error:
            raise type(error)(str(error).replace(str(partial), str(target))) from error


def calibration_data(calib: Sequence[Path]) -> Dataset:
    """The images that calibrate int8; their labels only show that they contain what is to be detected."""
    plain = [path for path in calib if is_plain_folder(path)]
    labeled = [path for path in calib if path not in plain]
    read = [load_dataset(labeled, "train", undivided=True)] if labeled else []
    return mix([*read, *map(read_plain_images, plain)])


def _val_splits(calib: Sequence[Path]) -> Dataset:
    """The val splits of the calibration data, on which int8 is measured.

    Raises: ExportError if it has none.
    """
    divided = [path for path in calib if not is_plain_folder(path) and has_split(path, "val")]
    if not divided:
        raise ExportError(f"{calib[0]}: has no val split to measure int8 on; give labeled images with --verify")
    return load_dataset(divided, "val")
