"""The models of the wheel and the one beside it: present, correctly described, and able to find the person in the
sample image."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.boxes import pairwise_iou
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.runtime.inference.self_test import run_self_test

ROOT = Path(__file__).parents[3]
LARGER = ROOT / "runtime" / "models" / "person-320x416-int8.onnx"
"""In the repository only, so that the wheel stays small."""
PERSON_XYXY = np.array([[25, 15, 375, 512]], np.float32)
"""Drawn by hand on docs/images/astronaut.jpg, accurate to about ten pixels."""


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(provider="cpu", threads=1)


@pytest.fixture(scope="module", params=[*EMBEDDED_MODELS, LARGER], ids=lambda model: Path(model).stem)
def each(request: pytest.FixtureRequest) -> Detector:
    return Detector(request.param, provider="cpu", threads=1)


def test_it_finds_the_astronaut_and_boxes_her_best(each: Detector) -> None:
    found = each(read_image(ROOT / "docs" / "images" / "astronaut.jpg"))
    assert len(found) >= 1
    assert float(pairwise_iou(found.xyxy[:1], PERSON_XYXY)[0, 0]) > 0.6


def test_it_detects_nobody_in_an_empty_frame(each: Detector) -> None:
    assert len(each(np.full((480, 640, 3), 90, np.uint8))) == 0


def test_it_says_what_it_is(each: Detector) -> None:
    metadata = each.metadata
    assert metadata.class_names == ("background", "person")
    assert metadata.training.git_commit is not None
    assert metadata.proof is not None
    assert metadata.self_test is not None
    # For a file that was exported at another size than the training size, only the file itself was measured.
    measured = metadata.evaluation or metadata.proof.accuracy
    assert measured is not None
    assert measured.n_images > 500
    assert "not stated" not in (metadata.licences.weights, metadata.licences.data)


def test_the_model_card_says_the_same(detector: Detector) -> None:
    """The model card quotes mmp-val's JSON; the quote, the text above it and the file must agree."""
    card = (ROOT / "docs" / "MODEL_CARD.md").read_text()
    block = re.search(r"```json\n(\{.*?\})\n```", card, re.DOTALL)
    assert block is not None
    numbers = json.loads(block[1])
    evaluation = detector.metadata.evaluation
    assert evaluation is not None
    assert numbers["AP"] == pytest.approx(evaluation.AP, abs=1e-3)
    assert numbers["AP50"] == pytest.approx(evaluation.AP50, abs=1e-3)
    assert numbers["n_images"] == evaluation.n_images
    assert detector.metadata.checkpoint_sha256[:12] in card
    readme = (ROOT / "README.md").read_text()
    row = next(line for line in readme.splitlines() if line.startswith("| **person-320** |"))
    assert f"{numbers['AP50']:.3f} / {numbers['AP']:.3f}" in row


def test_the_int8_model_is_the_same_network(detector: Detector) -> None:
    int8 = Detector("person-320-int8", provider="cpu", threads=1)
    assert int8.metadata.checkpoint_sha256 == detector.metadata.checkpoint_sha256


@pytest.mark.parametrize("model", ["person-224-int8", LARGER], ids=lambda model: Path(model).stem)
def test_the_card_names_the_accuracy_of_the_other_sizes(model: str | Path, detector: Detector) -> None:
    card = (ROOT / "docs" / "MODEL_CARD.md").read_text()
    metadata = Detector(model, provider="cpu", threads=1).metadata
    assert metadata.checkpoint_sha256 == detector.metadata.checkpoint_sha256
    assert metadata.quantization is not None
    found = metadata.quantization.accuracy.file
    assert f"AP {found.AP:.4f} and AP50 {found.AP50:.4f}" in card


@pytest.mark.parametrize(
    "name", [*(n for n in EMBEDDED_MODELS if n.endswith("int8")), LARGER], ids=lambda model: Path(model).stem
)
def test_int8_models_were_worth_it(name: str | Path) -> None:
    int8 = Detector(name, provider="cpu", threads=1)
    record = int8.metadata.quantization
    assert record is not None
    assert record.kept
    assert record.allowed_loss == 0.01
    reference, found = record.accuracy.reference.AP, record.accuracy.file.AP
    assert reference - found <= record.allowed_loss * reference
    assert record.latency.int8_ms < record.latency.float_ms
    assert int8.path.stat().st_size < 3_000_000


def test_they_pass_their_own_test_here(each: Detector) -> None:
    assert run_self_test(each).n_expected >= 1


def test_other_names_are_paths() -> None:
    assert model_path("person-640") == Path("person-640")
    assert model_path(Path("a") / "person-320.onnx") == Path("a/person-320.onnx")
    assert model_path() == model_path("person-320")
