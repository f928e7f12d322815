"""Convert the network of an exported file to float16, for GPUs; pixels, decoding and NMS stay in float32."""

import logging
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import onnx

from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.errors import ExportError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.export.graph import NETWORK_SCOPE
from mmpnet.export.onnx_runtime_tools import ONNXModel, convert_float_to_float16
from mmpnet.export.verification.file_parity import Reference
from mmpnet.export.verification.graph_parity import synthetic_images
from mmpnet.export.writer import FileChecks, save_model, write_model
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import SELF_TEST_SEEDS
from mmpnet.system.progress import Progress, no_progress

COMPARED_IMAGES = 6
COMPARED_SCORES = 10
MAX_SCORE_DIFFERENCE = 0.02
"""float16 has 11 bits: logits of up to 16 differ by 0.01, and scores by a quarter of that."""
SELF_TEST_TOLERANCES = (0.03, 0.85)


def make_half(
    path: Path,
    reference: Reference,
    *,
    verify: Dataset | None = None,
    self_test_seeds: int = SELF_TEST_SEEDS,
    progress: Progress = no_progress,
) -> ModelMetadata:
    """Replace a float32 file of mmp-export by its float16 version.

    path: the file.
    reference: the checkpoint, with which the written file is compared.
    verify: labeled images on which the file must be as accurate as the checkpoint.
    self_test_seeds: number of synthetic frames among which that of the self-test is chosen.

    Raises: ExportError if the graph cannot be converted, or its scores differ too much; the file is then unchanged.
    """
    metadata = read_model_file(path).metadata
    if metadata is None:
        raise ExportError(f"{path}: has no metadata of mmpnet; expected a file that mmp-export wrote")
    model = onnx.load(path)
    in_float = [node.name for node in model.graph.node if NETWORK_SCOPE not in node.name]
    logging.disable(logging.WARNING)  # The converter warns about every weight that it rounds to zero.
    try:
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=in_float)
        half.graph.ClearField("value_info")
        _drop_repeated_casts(half)
        ONNXModel(half).topological_sort()
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:
        raise ExportError(f"{path}: cannot be converted to float16 ({' '.join(str(error).split())[:160]})") from error
    finally:
        logging.disable(logging.NOTSET)
    described = msgspec.structs.replace(metadata, precision="float16")
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "half.onnx"
        save_model(half, described, candidate)
        worst = float(np.abs(_scores(candidate, metadata) - _scores(path, metadata)).max())
    if not worst <= MAX_SCORE_DIFFERENCE:
        raise ExportError(
            f"{path}: float16 was not kept: scores differ by {worst:.2g}, at most {MAX_SCORE_DIFFERENCE:g} is "
            "tolerated; nothing was written"
        )
    checks = FileChecks(
        reference=reference,
        bound=None,
        verify=verify,
        self_test_tolerances=SELF_TEST_TOLERANCES,
        self_test_seeds=self_test_seeds,
        progress=progress,
    )
    return write_model(half, described, path, checks)


def _drop_repeated_casts(model: onnx.ModelProto) -> None:
    """Remove repeated casts: the converter casts a tensor once for each consumer and gives all results one name."""
    known: set[str] = set()
    for node in list(model.graph.node):
        if known.intersection(node.output):
            model.graph.node.remove(node)
        known.update(node.output)


def _scores(path: Path, metadata: ModelMetadata) -> FloatArray:
    """The best scores of a few synthetic images, best first: (images, scores)."""
    detector = Detector(path, thresholds=None if metadata.frozen else EVALUATION_THRESHOLDS, provider="cpu")
    rows = np.zeros((COMPARED_IMAGES, COMPARED_SCORES), np.float32)
    for row, image in zip(rows, synthetic_images(metadata.letterbox, count=COMPARED_IMAGES), strict=True):
        score = detector(image).score[:COMPARED_SCORES]
        row[: len(score)] = score
    return rows
