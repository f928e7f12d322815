"""Write a model file: export the graph, compare it with the checkpoint, add the self-test, and rename it into place."""

import dataclasses
from pathlib import Path

import msgspec
import onnx
import torch

from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import ModelMetadata, metadata_to_properties
from mmpnet.contract.records import ProofRecord
from mmpnet.contract.seal import seal
from mmpnet.datasets.types import Dataset
from mmpnet.export.compact import round_kernels, store_half
from mmpnet.export.graph import export_graph
from mmpnet.export.heads import with_head
from mmpnet.export.metadata_builder import ExportOptions, describe
from mmpnet.export.verification.accuracy import compare_accuracy
from mmpnet.export.verification.file_parity import EXACT, ROUNDED, Bound, Reference, check, reference_of
from mmpnet.export.verification.graph_parity import Parity, compare
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS, record_self_test, run_self_test
from mmpnet.system.files import atomic_write
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.system.progress import Progress, no_progress
from mmpnet.train.artifacts.checkpoint import load_checkpoint, sha256_of
from mmpnet.train.artifacts.provenance import git_commit
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

    checkpoint_path: last.pth or best.pth of a training run.
    out: the file to write; a file that exists is replaced only after all checks have passed.
    verify: labeled images on which the file must be as accurate as the checkpoint.

    Raises: CheckpointError for a bad checkpoint; ExportError if the input size does not fit, the export fails or the
    file does not reproduce the network; OutputError if the file cannot be written.
    """
    checkpoint = load_checkpoint(checkpoint_path)
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
    metadata = msgspec.structs.replace(
        describe(checkpoint, candidates, model, options, _proof(parity, options)),
        checkpoint_sha256=sha256_of(checkpoint_path),
    )
    bound = ROUNDED if options.compact else EXACT
    return write_model(
        model,
        metadata,
        out,
        reference=reference,
        bound=bound,
        verify=verify,
        seeds=options.self_test_seeds,
        progress=progress,
    )


def write_model(
    model: onnx.ModelProto,
    metadata: ModelMetadata,
    out: Path,
    *,
    reference: Reference,
    bound: Bound | None,
    verify: Dataset | None = None,
    tolerances: tuple[float, float] = SELF_TEST_TOLERANCES,
    seeds: int = SELF_TEST_SEEDS,
    progress: Progress = no_progress,
) -> ModelMetadata:
    """Write a graph with its metadata, and run its self-test; returns the metadata with the results of all checks.

    The self-test, the comparison after NMS and, with verify, the accuracies of file and checkpoint are added to the
    metadata.

    bound: largest differences after NMS; None if the caller has compared the model itself.
    tolerances: of the self-test: largest difference in score, smallest IoU.
    seeds: number of synthetic frames among which that of the self-test is chosen.

    Raises: ExportError if the detections of the file are not those of the checkpoint, OutputError if the file cannot be
    written.
    """
    with atomic_write(out, parents=True) as partial:
        save_model(model, metadata, partial)
        # Detector takes one frame at a time; a fixed batch above one is for callers with their own code.
        if metadata.input.batch in (1, "dynamic"):
            metadata = _with_self_test(metadata, partial, tolerances, seeds)
            metadata = _with_proof(metadata, partial, reference, bound, verify, progress)
            save_model(model, metadata, partial)
            run_self_test(Detector(partial, provider="cpu"))
    return metadata


def _with_proof(
    metadata: ModelMetadata,
    path: Path,
    reference: Reference,
    bound: Bound | None,
    verify: Dataset | None,
    progress: Progress,
) -> ModelMetadata:
    assert metadata.proof is not None, "export_file writes the first part of it"
    proof = metadata.proof
    if metadata.head_spec.decodes:
        after_nms = reference.beside(path, metadata)
        if bound is not None:
            check(after_nms, bound)
        proof = msgspec.structs.replace(proof, after_nms=after_nms)
    if verify is not None:
        accuracy = compare_accuracy(reference, path, metadata, verify, progress=progress)
        proof = msgspec.structs.replace(proof, accuracy=accuracy)
    return msgspec.structs.replace(metadata, proof=proof)


def _with_self_test(metadata: ModelMetadata, path: Path, tolerances: tuple[float, float], seeds: int) -> ModelMetadata:
    detector = Detector(path, provider="cpu")

    def detect_at(conf: float) -> Detector:
        return detector.with_thresholds(dataclasses.replace(metadata.thresholds, conf=conf))

    record = record_self_test(
        detect_at,
        input_hw=metadata.input.size_hw,
        conf=metadata.default_conf if metadata.frozen else None,
        tolerances=tolerances,
        seeds=seeds,
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


def save_model(model: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Write graph, metadata, and the SHA-256 of both."""
    model.producer_name = metadata.producer
    model.producer_version = metadata.producer_version
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata_to_properties(metadata))
    path.write_bytes(seal(model.SerializeToString()))
