"""Read a file of mmp-export as a checkpoint, so that its weights can be exported in another way."""

from pathlib import Path

from mmpnet.contract.errors import CheckpointError, first_line
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.train.artifacts.checkpoint import Checkpoint, Provenance
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig
from mmpnet.train.network.onnx_weights import metadata_of, read_onnx_weights, shape_of


def read_onnx_checkpoint(path: Path) -> Checkpoint:
    """The network of a float32 file of mmp-export, with what the file states about its training.

    Kernels that the file stores in 16 bits stay rounded. The options of the training are not known: `train` has the
    defaults, and no data.

    Raises: CheckpointError if the file is missing, or not float32 of mmp-export.
    """
    metadata, shape = metadata_of(path), shape_of(path)
    model = ModelConfig(
        sizes_px=metadata.anchors.sizes_px,
        aspect_ratios=metadata.anchors.aspect_ratios,
        stride=metadata.anchors.stride,
        class_names=metadata.class_names,
        input_hw=metadata.input.size_hw,
        pad_value=metadata.input.pad_value,
        channels=shape.channels,
        width_mult=shape.width_mult,
        separate_towers=shape.architecture.separate_towers,
        tower_depth=shape.architecture.tower_depth,
        kernel_size=shape.architecture.kernel_size,
    )
    weights = read_onnx_weights(path, model.build())
    checkpoint = Checkpoint(model, TrainConfig(), _provenance(metadata), weights, progress=None)
    try:
        checkpoint.network()
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its network is not known ({first_line(error, most=120)}); export it from its checkpoint"
        ) from error
    return checkpoint


def _provenance(metadata: ModelMetadata) -> Provenance:
    training, evaluation = metadata.training, metadata.evaluation
    return Provenance(
        mmpnet_version=training.mmpnet_version,
        git_commit=training.git_commit,
        train_name=training.train_name,
        train_sha256=training.train_sha256,
        train_images=training.train_images,
        val_name=evaluation.dataset if evaluation else None,
        val_sha256=evaluation.dataset_sha256 if evaluation else None,
        val_images=evaluation.n_images if evaluation else 0,
        epochs_done=training.epochs,
        seed=training.seed,
        evaluation={"AP": evaluation.AP, "AP50": evaluation.AP50} if evaluation else None,
    )
