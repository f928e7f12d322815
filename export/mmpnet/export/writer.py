"""From checkpoint to model file: graph, proof that it says the same, self-test; renamed into place when all hold."""

import dataclasses
from pathlib import Path

import msgspec
import onnx
import onnxruntime
import torch

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import DatasetError, ExportError, OutputError
from mmpnet.contract.metadata import ModelMetadata, metadata_to_properties
from mmpnet.contract.preprocess import Letterbox
from mmpnet.contract.records import ProofRecord
from mmpnet.export.accuracy import compare_accuracy
from mmpnet.export.compact import computing_with, round_kernels, store_half
from mmpnet.export.describe import ExportOptions, describe
from mmpnet.export.graph import export_graph
from mmpnet.export.heads import with_head
from mmpnet.export.verify import Parity, compare, synthetic_pictures
from mmpnet.runtime.datasets.recognise import open_dataset
from mmpnet.runtime.datasets.types import Dataset
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.paths import replacing
from mmpnet.runtime.self_test import record_self_test, run_self_test
from mmpnet.train.candidates import CandidateNet
from mmpnet.train.checkpoint import Checkpoint, load_checkpoint, sha256_of
from mmpnet.train.provenance import git_commit

SYNTHETIC_PICTURES = 4
REAL_PICTURES = 8
SELF_TEST_TOLERANCES = (0.01, 0.95)
"""Largest difference in score and smallest IoU between devices: float32 sums in another order move far less."""


def export_file(
    checkpoint_path: Path, out: Path, options: ExportOptions, *, verify: Dataset | None = None
) -> ModelMetadata:
    """Write one ONNX file, weights inside, that describes itself; returns what it says.

    verify: labelled pictures on which the file's accuracy must be the checkpoint's.

    Raises: CheckpointError for a bad checkpoint; ExportError if the input size does not fit, the export fails or the
    file does not reproduce the network; OutputError if it cannot be written.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    input_hw = options.input_hw or checkpoint.model.input_hw
    letterbox = Letterbox(input_hw=input_hw, pad_value=checkpoint.model.pad_value)
    try:
        candidates = CandidateNet(checkpoint.network(), checkpoint.model.anchors, input_hw).eval()
    except ValueError as error:
        raise ExportError(f"{checkpoint_path}: {error}; choose another --imgsz, such as 320 or 192x320") from error
    full = export_graph(candidates, batch=options.batch, opset=options.opset, kind=options.input_kind)
    if options.compact:
        round_kernels(full)
        candidates = computing_with(full, candidates, options.input_kind)
    pictures = synthetic_pictures(letterbox, count=SYNTHETIC_PICTURES) + _validation_pictures(checkpoint, letterbox)
    batch = 2 if options.batch == "dynamic" else options.batch
    parity = compare(candidates, full.SerializeToString(), pictures, batch=batch, kind=options.input_kind)
    parity.check()
    model = with_head(
        full,
        options.head,
        batch=options.batch,
        num_classes=candidates.network.num_classes,
        thresholds=options.thresholds,
        frozen=options.frozen,
    )
    if options.compact:
        store_half(model)
    metadata = msgspec.structs.replace(
        describe(checkpoint, candidates, model, options, _proof(parity, options)),
        checkpoint_sha256=sha256_of(checkpoint_path),
    )
    return write_model(model, metadata, out, checkpoint=checkpoint, verify=verify)


def write_model(
    model: onnx.ModelProto,
    metadata: ModelMetadata,
    out: Path,
    *,
    checkpoint: Checkpoint | None = None,
    verify: Dataset | None = None,
    tolerances: tuple[float, float] = SELF_TEST_TOLERANCES,
) -> ModelMetadata:
    """Put metadata, self-test and, with verify, both accuracies into the file, open it as a user would, and keep it.

    Raises: ExportError if the accuracies differ, OutputError if it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: {out.parent} is not a folder ({error.strerror}); choose another -o") from error
    with replacing(out) as partial:
        save_model(model, metadata, partial)
        # A fixed batch above one is for callers with their own code: Detector takes one frame at a time.
        if metadata.input.batch in (1, "dynamic"):
            metadata = _with_self_test(metadata, partial, tolerances)
            if verify is not None and checkpoint is not None and metadata.proof is not None:
                accuracy = compare_accuracy(checkpoint, partial, metadata, verify)
                metadata = msgspec.structs.replace(
                    metadata, proof=msgspec.structs.replace(metadata.proof, accuracy=accuracy)
                )
            save_model(model, metadata, partial)
            run_self_test(Detector(partial, provider="cpu"))
    return metadata


def _with_self_test(metadata: ModelMetadata, path: Path, tolerances: tuple[float, float]) -> ModelMetadata:
    detector = Detector(path, provider="cpu")

    def detect_at(conf: float) -> Detector:
        detector.thresholds = dataclasses.replace(metadata.thresholds, conf=conf)
        return detector

    record = record_self_test(
        detect_at,
        input_hw=metadata.input.size_hw,
        conf=metadata.default_conf if metadata.frozen else None,
        tolerances=tolerances,
    )
    return msgspec.structs.replace(metadata, self_test=record)


def _proof(parity: Parity, options: ExportOptions) -> ProofRecord:
    return ProofRecord(
        n_images=parity.n_images,
        max_grid_difference=parity.max_grid_difference,
        max_score_difference=parity.max_score_difference,
        max_box_difference_px=parity.max_box_difference_px,
        torch_version=str(torch.__version__),
        onnxruntime_version=onnxruntime.__version__,
        onnx_version=onnx.__version__,
        git_commit=git_commit(),
        command=options.command,
    )


def _validation_pictures(checkpoint: Checkpoint, letterbox: Letterbox) -> list[UInt8Array]:
    """The first pictures of the run's validation set, where it is still there."""
    if not checkpoint.train.val:
        return []
    try:
        pictures = open_dataset(Path(checkpoint.train.val[0]), "val", undivided=True).pictures[:REAL_PICTURES]
        return [letterbox.apply(picture.read())[0] for picture in pictures]
    except DatasetError:
        # A checkpoint may be exported where its data is not; the summary counts the pictures that were compared.
        return []


def save_model(model: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Write graph and metadata, as they are."""
    model.producer_name = metadata.producer
    model.producer_version = metadata.producer_version
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata_to_properties(metadata))
    path.write_bytes(model.SerializeToString())
