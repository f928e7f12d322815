"""What the exported file will say of itself."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import onnx
import onnxruntime
import torch

from mmpnet.contract.detections import Thresholds
from mmpnet.contract.metadata import (
    AnchorDescription,
    EvaluationRecord,
    InputDescription,
    Licences,
    MinimumRuntime,
    ModelMetadata,
    OutputDescription,
    ParityRecord,
    TrainingRecord,
)
from mmpnet.export.graph import INPUT_NAME, OUTPUT_NAMES, Batch
from mmpnet.export.verify import Parity
from mmpnet.runtime.evaluate import EVALUATION_PROTOCOL
from mmpnet.train.candidates import CandidateNet
from mmpnet.train.checkpoint import Checkpoint, Provenance

CODE_LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the caller may choose; input_hw None is the size of training."""

    input_hw: tuple[int, int] | None
    batch: Batch
    opset: int
    thresholds: Thresholds
    weights_licence: str = "not stated"
    data_licence: str = "not stated"


def describe(
    checkpoint: Checkpoint,
    candidates: CandidateNet,
    model: onnx.ModelProto,
    options: ExportOptions,
    parity: Parity,
) -> ModelMetadata:
    """Metadata of a verified graph; the checkpoint's own hash is filled in by the caller, who knows its file."""
    thresholds = options.thresholds
    return ModelMetadata(
        producer_version=version("mmpnet"),
        checkpoint_sha256="",
        input=InputDescription(
            name=INPUT_NAME,
            size_hw=candidates.input_hw,
            batch=options.batch,
            pad_value=checkpoint.model.pad_value,
        ),
        anchors=AnchorDescription.of(candidates.anchors),
        outputs=_outputs(options.batch, candidates.top_k),
        class_names=checkpoint.model.class_names,
        default_conf=thresholds.conf,
        default_iou=thresholds.iou,
        default_max_det=thresholds.max_det,
        training=_training(checkpoint.provenance),
        # What was measured at another input size says nothing about this file.
        evaluation=_evaluation(checkpoint.provenance) if candidates.input_hw == checkpoint.model.input_hw else None,
        parity=ParityRecord(
            n_images=parity.n_images,
            max_score_difference=parity.max_score_difference,
            max_box_difference_px=parity.max_box_difference_px,
            torch_version=str(torch.__version__),
            onnxruntime_version=onnxruntime.__version__,
        ),
        licences=Licences(code=CODE_LICENCE, weights=options.weights_licence, data=options.data_licence),
        minimum_runtime=MinimumRuntime(opset=options.opset, ir_version=model.ir_version),
    )


def _outputs(batch: int | Literal["dynamic"], top_k: int) -> tuple[OutputDescription, ...]:
    rows: int | str = "batch" if batch == "dynamic" else batch
    boxes, scores, class_ids = OUTPUT_NAMES
    return (
        OutputDescription(
            name=boxes,
            meaning="boxes",
            shape=(rows, top_k, 4),
            dtype="float32",
            box_format="xyxy",
            unit="input px",
        ),
        OutputDescription(name=scores, meaning="scores", shape=(rows, top_k), dtype="float32"),
        OutputDescription(name=class_ids, meaning="class_ids", shape=(rows, top_k), dtype="int64"),
    )


def _training(provenance: Provenance) -> TrainingRecord:
    return TrainingRecord(
        train_name=provenance.train_name,
        train_sha256=provenance.train_sha256,
        train_images=provenance.train_images,
        epochs=provenance.epochs_done,
        seed=provenance.seed,
        git_commit=provenance.git_commit,
        mmpnet_version=provenance.mmpnet_version,
    )


def _evaluation(provenance: Provenance) -> EvaluationRecord | None:
    if provenance.evaluation is None or provenance.val_name is None or provenance.val_sha256 is None:
        return None
    return EvaluationRecord(
        protocol=EVALUATION_PROTOCOL,
        dataset=provenance.val_name,
        dataset_sha256=provenance.val_sha256,
        n_images=provenance.val_images,
        AP=provenance.evaluation.get("AP"),
        AP50=provenance.evaluation.get("AP50"),
    )
