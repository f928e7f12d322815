"""Open what is exported: a checkpoint, or a float32 file that was exported before."""

from dataclasses import dataclass, replace
from pathlib import Path

from mmpnet.contract.errors import CheckpointError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, sha256_of
from mmpnet.train.network.onnx_checkpoint import read_onnx_checkpoint
from mmpnet.train.network.onnx_weights import metadata_of


@dataclass(frozen=True, slots=True)
class Source:
    """The weights to export."""

    checkpoint: Checkpoint
    sha256: str
    """Hash of the checkpoint's file, also where an exported file is read: it states the one it was made from."""
    stated: ModelMetadata | None = None
    """What the exported file states about itself; None for a checkpoint."""

    def completed(self, options: ExportOptions) -> ExportOptions:
        """The options, with the thresholds and licenses of the exported file in place of those that are not given."""
        if self.stated is None:
            return options
        thresholds, licenses = self.stated.thresholds, self.stated.licences
        return replace(
            options,
            conf=thresholds.conf if options.conf is None else options.conf,
            iou=thresholds.iou if options.iou is None else options.iou,
            max_det=thresholds.max_det if options.max_det is None else options.max_det,
            weights_license=options.weights_license or licenses.weights,
            data_license=options.data_license or licenses.data,
        )


def open_source(model: Path) -> Source:
    """Read last.pth or best.pth of mmp-train, a float32 file of mmp-export, or an embedded model by name.

    Raises: CheckpointError if it is missing, damaged, or another kind of file.
    """
    path = model_path(model)
    if not is_file(path):
        raise CheckpointError(
            f"{path}: no such file; expected last.pth or best.pth of mmp-train, a float32 .onnx file of mmp-export, or "
            "person-320"
        )
    if path.suffix.lower() != ".onnx":
        return Source(load_checkpoint(path), sha256_of(path))
    stated = metadata_of(path)
    return Source(read_onnx_checkpoint(path), stated.checkpoint_sha256, stated)
