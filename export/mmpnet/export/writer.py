"""From checkpoint to model file: graph, proof that it says the same, metadata; renamed into place when all hold."""

from pathlib import Path

import msgspec
import onnx

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import DatasetError, ExportError, OutputError
from mmpnet.contract.metadata import ModelMetadata, metadata_to_properties
from mmpnet.contract.preprocess import Letterbox
from mmpnet.export.describe import ExportOptions, describe
from mmpnet.export.graph import export_graph
from mmpnet.export.verify import compare, synthetic_pictures
from mmpnet.runtime.datasets.recognise import open_dataset
from mmpnet.runtime.paths import replacing
from mmpnet.runtime.session import open_session
from mmpnet.train.candidates import CandidateNet
from mmpnet.train.checkpoint import Checkpoint, load_checkpoint, sha256_of

SYNTHETIC_PICTURES = 4
REAL_PICTURES = 8


def export_file(checkpoint_path: Path, out: Path, options: ExportOptions) -> ModelMetadata:
    """Write one ONNX file, weights inside, that describes itself; returns what it says.

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
    model = export_graph(candidates, batch=options.batch, opset=options.opset)
    pictures = synthetic_pictures(letterbox, count=SYNTHETIC_PICTURES) + _validation_pictures(checkpoint, letterbox)
    batch = 2 if options.batch == "dynamic" else options.batch
    parity = compare(candidates, model.SerializeToString(), pictures, batch=batch)
    parity.check()
    metadata = msgspec.structs.replace(
        describe(checkpoint, candidates, model, options, parity), checkpoint_sha256=sha256_of(checkpoint_path)
    )
    _write(model, metadata, out)
    return metadata


def _validation_pictures(checkpoint: Checkpoint, letterbox: Letterbox) -> list[UInt8Array]:
    """The first pictures of the run's validation set, where it is still there."""
    if not checkpoint.train.val:
        return []
    try:
        pictures = open_dataset(Path(checkpoint.train.val[0]), "val").pictures[:REAL_PICTURES]
        return [letterbox.apply(picture.read())[0] for picture in pictures]
    except DatasetError:
        # A checkpoint may be exported where its data is not; the summary counts the pictures that were compared.
        return []


def _write(model: onnx.ModelProto, metadata: ModelMetadata, out: Path) -> None:
    model.producer_name = metadata.producer
    model.producer_version = metadata.producer_version
    onnx.helper.set_model_props(model, metadata_to_properties(metadata))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: {out.parent} is not a folder ({error.strerror}); choose another -o") from error
    with replacing(out) as partial:
        partial.write_bytes(model.SerializeToString())
        open_session(partial, provider="cpu")
