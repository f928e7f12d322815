"""OpenVINO opens exported files and computes the same scores as ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.open import open_dataset
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.quantization.search import calibration_images
from mmpnet.runtime.inference.embedded import model_path
from support.exported import open_graph


def scores_of_both(model: bytes, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores of a random image with OpenVINO and with ONNX Runtime, best first."""
    images = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    core = openvino.Core()
    # On a CPU with AVX512-BF16, OpenVINO would compute in bfloat16.
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    found = core.compile_model(core.read_model(model, b""), "CPU", settings)({"images": images})
    (expected,) = open_graph(model).run(["scores"], {"images": images})
    return np.asarray(found["scores"]), expected


@pytest.mark.parametrize(("name", "tolerance"), [("person-320", 1e-4), ("person-320-int8", 0.02)])
def test_the_shipped_files(name: str, tolerance: float) -> None:
    found, expected = scores_of_both(model_path(name).read_bytes(), 320)
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("rearranged", [False, True])
def test_an_int8_file(tiny_onnx: Path, dataset_folder: Path, tmp_path: Path, rearranged: bool) -> None:
    images = calibration_images(open_dataset(dataset_folder, "train"), Letterbox((64, 64)))
    model = Quantizer(onnx.load(tiny_onnx), images, QuantizationOptions(), tmp_path).quantized()
    model = rearrange(model) if rearranged else model
    found, expected = scores_of_both(model.SerializeToString(), 64)
    assert np.abs(found - expected).mean() < 0.02
