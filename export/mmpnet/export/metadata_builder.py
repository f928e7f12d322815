"""Build the metadata of an exported file, and those of its int8 version."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import msgspec
import onnx
import torch

from mmpnet.contract.boxes import VOTE_SCORE_POWER
from mmpnet.contract.heads import HEADS, Head
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.metadata import (
    AnchorDescription,
    InputDescription,
    ModelMetadata,
    NmsDescription,
    OutputDescription,
)
from mmpnet.contract.records import (
    EvaluationRecord,
    Licenses,
    MinimumRuntime,
    ProofRecord,
    QuantizationRecord,
    TrainingRecord,
)
from mmpnet.contract.thresholds import Thresholds
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL
from mmpnet.export.choices import DEFAULT_OPSET
from mmpnet.export.graph import INPUT_NAME, Batch
from mmpnet.export.heads import CONF, IOU, MAX_DET
from mmpnet.export.verification.graph_parity import Parity
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.artifacts.checkpoint import Checkpoint, Provenance
from mmpnet.train.artifacts.provenance import git_commit
from mmpnet.train.network.inference_net import CandidateNet

CODE_LICENSE = "Apache-2.0"
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the caller of an export may choose."""

    input_hw: tuple[int, int] | None = None
    """Height and width of the letterboxed input in px; None is the size of training."""
    batch: Batch = 1
    """Images per run, or "dynamic"."""
    opset: int = DEFAULT_OPSET
    conf: float | None = None
    """The score threshold that the file states as its default. None: that of the best F1 on the images to verify it on,
    or else that of the file that is exported again, or else that of `Thresholds`."""
    iou: float | None = None
    """None: that of the file that is exported again, or else that of `Thresholds`; so is the next one."""
    max_det: int | None = None
    weights_license: str | None = None
    """None: that of the file that is exported again, or else `not stated`; so is the next one."""
    data_license: str | None = None
    head: Head = "boxes"
    input_kind: InputKind = "uint8-nhwc"
    frozen: bool = False
    """Whether the thresholds of an NMS in the graph cannot be overridden."""
    compact: bool = False
    """Whether kernels are stored in 16 bits."""
    self_test_seeds: int = SELF_TEST_SEEDS
    """Number of synthetic frames among which that of the self-test is chosen."""
    command: str = "mmpnet.export.writer.export_file"
    """What the file states about how it was made."""

    @property
    def thresholds(self) -> Thresholds:
        """The given thresholds, and the defaults of `Thresholds` in place of those that are None.

        Raises: ValueError for impossible ones.
        """
        default = Thresholds()
        return Thresholds(
            conf=default.conf if self.conf is None else self.conf,
            iou=default.iou if self.iou is None else self.iou,
            max_det=default.max_det if self.max_det is None else self.max_det,
        )


def build_metadata(
    checkpoint: Checkpoint,
    candidates: CandidateNet,
    model: onnx.ModelProto,
    options: ExportOptions,
    *,
    checkpoint_sha256: str,
    parity: Parity,
) -> ModelMetadata:
    """Everything that is known of a graph before its file is opened; the self-test and the file's proof follow then.

    checkpoint_sha256: of the checkpoint's file. parity: of the graph with torch.
    """
    thresholds = options.thresholds
    return ModelMetadata(
        producer_version=version("mmpnet"),
        checkpoint_sha256=checkpoint_sha256,
        input=InputDescription.of(
            options.input_kind,
            name=INPUT_NAME,
            size_hw=candidates.input_hw,
            batch=options.batch,
            pad_value=checkpoint.model.pad_value,
        ),
        anchors=AnchorDescription.of(candidates.anchors),
        outputs=_outputs(candidates, options),
        class_names=checkpoint.model.class_names,
        default_conf=thresholds.conf,
        default_iou=thresholds.iou,
        default_max_det=thresholds.max_det,
        training=_training(checkpoint.provenance),
        # An accuracy at another input size is not that of this file.
        evaluation=_evaluation(checkpoint.provenance) if candidates.input_hw == checkpoint.model.input_hw else None,
        proof=_proof(parity, options),
        licences=Licenses(
            code=CODE_LICENSE,
            weights=options.weights_license or NOT_STATED,
            data=options.data_license or NOT_STATED,
        ),
        minimum_runtime=MinimumRuntime(
            opset=options.opset, ir_version=model.ir_version, onnxruntime=oldest_runtime(model)
        ),
        head=options.head,
        nms=_nms(options),
        vote_score_power=VOTE_SCORE_POWER,
    )


def build_int8_metadata(metadata: ModelMetadata, record: QuantizationRecord, model: onnx.ModelProto) -> ModelMetadata:
    """The metadata of a float32 file after quantization: those of int8 if it is kept, else with the record of why not.

    model: the int8 graph. The accuracy of the float32 file is not that of the int8 file, which is in the record.
    """
    if not record.kept:
        return msgspec.structs.replace(metadata, quantization=record)
    assert metadata.proof is not None, "build_metadata writes it"
    runtime = msgspec.structs.replace(metadata.minimum_runtime, onnxruntime=oldest_runtime(model))
    proof = msgspec.structs.replace(metadata.proof, accuracy=record.accuracy)
    return msgspec.structs.replace(
        metadata, precision="int8", quantization=record, minimum_runtime=runtime, proof=proof
    )


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


def _nms(options: ExportOptions) -> NmsDescription | None:
    """The inputs of the thresholds, if the head contains an NMS."""
    if not HEADS[options.head].suppresses:
        return None
    return NmsDescription(CONF, IOU, MAX_DET, overridable=not options.frozen)


def _outputs(candidates: CandidateNet, options: ExportOptions) -> tuple[OutputDescription, ...]:
    rows: int | Literal["batch"] = "batch" if options.batch == "dynamic" else options.batch
    top_k = candidates.top_k
    if options.head == "grid":
        channels = candidates.network.num_classes + 4
        shape = (rows, channels, *candidates.anchors.grid_shape(candidates.input_hw))
        return (OutputDescription(name="grid", meaning="grid", shape=shape, dtype="float32"),)
    if options.head == "nms":
        most = min(options.thresholds.max_det, top_k) if options.frozen else MAX_DET
        return (
            OutputDescription(
                name="detections",
                meaning="detections",
                shape=(rows, most, 6),
                dtype="float32",
                box_format="xyxy",
                unit="input px",
            ),
            OutputDescription(name="num_dets", meaning="num_dets", shape=(rows,), dtype="int64"),
        )
    return (
        OutputDescription(
            name="boxes",
            meaning="boxes",
            shape=(rows, top_k, 4),
            dtype="float32",
            box_format="xyxy",
            unit="input px",
        ),
        OutputDescription(name="scores", meaning="scores", shape=(rows, top_k), dtype="float32"),
        OutputDescription(name="class_ids", meaning="class_ids", shape=(rows, top_k), dtype="int64"),
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


_BY_OPSET = {
    11: "1.0",
    12: "1.3",
    13: "1.6",
    14: "1.8",
    15: "1.9",
    16: "1.11",
    17: "1.12",
    18: "1.14",
    19: "1.15",
    20: "1.17",
}
_BY_IR = {6: "1.0", 7: "1.3", 8: "1.10", 9: "1.15", 10: "1.18"}


def oldest_runtime(model: onnx.ModelProto) -> str:
    """The oldest ONNX Runtime that opens the model, such as `1.6`; `unknown` for an unlisted opset or IR version."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    versions = [_BY_OPSET.get(opset), _BY_IR.get(model.ir_version)]
    known = [version for version in versions if version is not None]
    if len(known) < len(versions):
        return "unknown"
    return max(known, key=lambda version: tuple(map(int, version.split("."))))
