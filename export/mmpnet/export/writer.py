"""Write a model file: export the graph, compare it with the checkpoint, add the self-test, and rename it into place."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata, metadata_to_properties
from mmpnet.contract.records import ProofRecord, SelfTestRecord
from mmpnet.contract.seal import seal
from mmpnet.datasets.types import Dataset
from mmpnet.export.compact import round_kernels, store_half
from mmpnet.export.graph import export_graph
from mmpnet.export.heads import with_head
from mmpnet.export.metadata_builder import ExportOptions, build_metadata
from mmpnet.export.source import open_source
from mmpnet.export.verification.accuracy import compare_accuracy
from mmpnet.export.verification.file_parity import EXACT, ROUNDED, Bound, Reference, check, reference_of
from mmpnet.export.verification.graph_parity import compare
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS, record_self_test, run_self_test
from mmpnet.system.files import atomic_write
from mmpnet.system.progress import Progress, no_progress
from mmpnet.train.network.inference_net import CandidateNet

SELF_TEST_TOLERANCES = (0.01, 0.95)
"""Largest difference in score and smallest IoU between devices; float32 sums in another order change far less."""


def export_file(
    checkpoint_path: Path,
    out: Path,
    options: ExportOptions,
    *,
    verify: Dataset | None = None,
    progress: Progress = no_progress,
) -> ModelMetadata:
    """Export a checkpoint to one ONNX file with weights and metadata; returns the metadata.

    checkpoint_path: last.pth or best.pth of a training run, or a float32 file that was exported before.
    out: the file to write; a file that exists is replaced only after all checks have passed.
    verify: labeled images on which the file must be as accurate as the checkpoint.

    Raises: CheckpointError for a bad checkpoint; ExportError if the input size does not fit, the export fails or the
    file does not reproduce the network; OutputError if the file cannot be written.
    """
    source = open_source(checkpoint_path)
    checkpoint, options = source.checkpoint, source.completed(options)
    input_hw = options.input_hw or checkpoint.model.input_hw
    letterbox = Letterbox(input_hw=input_hw, pad_value=checkpoint.model.pad_value)
    reference = reference_of(checkpoint, letterbox)
    try:
        candidates = CandidateNet(reference.network, checkpoint.model.anchors, input_hw).eval()
    except ValueError as error:
        raise ExportError(f"{checkpoint_path}: {error}; choose another --imgsz, such as 320 or 192x320") from error
    full = export_graph(candidates, batch=options.batch, opset=options.opset, kind=options.input_kind)
    batch = 2 if options.batch == "dynamic" else options.batch
    parity = compare(candidates, full.SerializeToString(), reference.images, batch=batch, kind=options.input_kind)
    parity.check()
    if options.compact:
        round_kernels(full)
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
    metadata = build_metadata(checkpoint, candidates, model, options, checkpoint_sha256=source.sha256, parity=parity)
    checks = FileChecks(
        reference=reference,
        bound=ROUNDED if options.compact else EXACT,
        verify=verify,
        self_test_seeds=options.self_test_seeds,
        progress=progress,
    )
    return write_model(model, metadata, out, checks)


@dataclass(frozen=True, slots=True)
class FileChecks:
    """The checks that a file must pass before it is kept."""

    reference: Reference
    """The checkpoint, with which the detections of the file are compared after NMS."""
    bound: Bound | None
    """The largest differences after NMS; None if the caller has compared the model itself."""
    verify: Dataset | None = None
    """Labeled images on which the file must be as accurate as the checkpoint."""
    self_test_tolerances: tuple[float, float] = SELF_TEST_TOLERANCES
    """Largest difference in score, and smallest IoU."""
    self_test_seeds: int = SELF_TEST_SEEDS
    """Number of synthetic frames among which that of the self-test is chosen."""
    progress: Progress = no_progress


def write_model(model: onnx.ModelProto, metadata: ModelMetadata, out: Path, checks: FileChecks) -> ModelMetadata:
    """Write a graph with its metadata, check the file, and return the metadata with the results of the checks.

    Raises: ExportError if the detections of the file are not those of the checkpoint, OutputError if the file cannot be
    written.
    """
    with atomic_write(out, parents=True) as partial:
        save_model(model, metadata, partial)
        # Detector takes one frame at a time; a fixed batch above one is for callers with their own code.
        if metadata.input.batch in (1, "dynamic"):
            metadata = msgspec.structs.replace(
                metadata,
                self_test=_self_test(partial, metadata, checks),
                proof=_proof_of_file(partial, metadata, checks),
            )
            save_model(model, metadata, partial)
            run_self_test(Detector(partial, provider="cpu"))
    return metadata


def _self_test(path: Path, metadata: ModelMetadata, checks: FileChecks) -> SelfTestRecord:
    detector = Detector(path, provider="cpu")

    def detect_at(conf: float) -> Detector:
        return detector.with_thresholds(dataclasses.replace(metadata.thresholds, conf=conf))

    return record_self_test(
        detect_at,
        input_hw=metadata.input.size_hw,
        conf=metadata.default_conf if metadata.frozen else None,
        tolerances=checks.self_test_tolerances,
        seeds=checks.self_test_seeds,
    )


def _proof_of_file(path: Path, metadata: ModelMetadata, checks: FileChecks) -> ProofRecord:
    assert metadata.proof is not None, "build_metadata writes the part about the graph"
    proof = metadata.proof
    if metadata.head_spec.decodes:
        after_nms = checks.reference.beside(path, metadata)
        if checks.bound is not None:
            check(after_nms, checks.bound)
        proof = msgspec.structs.replace(proof, after_nms=after_nms)
    if checks.verify is not None:
        accuracy = compare_accuracy(checks.reference, path, metadata, checks.verify, progress=checks.progress)
        proof = msgspec.structs.replace(proof, accuracy=accuracy)
    return proof


def save_model(model: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Write graph, metadata, and the SHA-256 of both."""
    model.producer_name = metadata.producer
    model.producer_version = metadata.producer_version
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata_to_properties(metadata))
    path.write_bytes(seal(model.SerializeToString()))
