"""Training and runtime use the same pixels and give the same detections."""

from pathlib import Path

import numpy as np
import torch

from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.network.torch_detector import torch_detector


def test_exported_file_detects_what_the_checkpoint_detects(
    tiny_checkpoint: Path, tiny_onnx: Path, dataset_folder: Path
) -> None:
    thresholds = Thresholds(conf=0.05, iou=0.5, max_det=100)
    checkpoint = load_checkpoint(tiny_checkpoint)
    from_torch = torch_detector(
        checkpoint.network(), checkpoint.model, thresholds=thresholds, device=torch.device("cpu")
    )
    from_onnx = Detector(tiny_onnx, thresholds=thresholds, provider="cpu", threads=1)
    found = 0
    for image in read_coco(dataset_folder / "val.json").images:
        expected, actual = from_torch(image.read()), from_onnx(image.read())
        np.testing.assert_allclose(actual.score, expected.score, atol=1e-5)
        np.testing.assert_allclose(actual.xyxy, expected.xyxy, atol=1e-2)
        np.testing.assert_array_equal(actual.class_id, expected.class_id)
        found += len(expected)
    assert found > 20, "the network must find something for the comparison to mean anything"
