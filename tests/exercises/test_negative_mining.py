"""The negative-mining experiment at tiny settings: what each variant learns from, and resuming after a stop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import anchor_logits
import mining_variant
import negative_mining
from anchor_logits import ANCHORS, INPUT_HW, anchor_detector, load_images, mirror
from mining_variant import Trainee, one_step
from mmpnet.contract.boxes import pairwise_iou
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.train.assignment import assign_by_iou
from mmpnet.train.mining import get_random_sampling_mask, hard_negatives
from mmpnet.train.model import MmpNet

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the width, to be fast."""

    def build(*counts: int, **options: object) -> MmpNet:
        return MmpNet(*counts, **options, width_mult=0.25, channels=8)  # type: ignore[arg-type]

    monkeypatch.setattr(mining_variant, "MmpNet", build)


def run(dataset_folder: Path, tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    common = ["--data", str(dataset_folder), "--weights", "none", "--device", "cpu", "--batch", "4", "--limit", "8"]
    folders = ["--run", str(tmp_path / "run"), "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(negative_mining.app, [*common, *folders, *arguments], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_the_network_is_the_exercise_s() -> None:
    trainee = mining_variant.start_trainee("random", 2, "none", CPU, seed=0)
    output = trainee.network.eval()(torch.zeros(1, 3, *INPUT_HW))
    assert output.shape == (1, 2, ANCHORS.num_sizes, ANCHORS.num_aspect_ratios, 28, 28)
    (group,) = trainee.optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert len(group["params"]) == len(list(trainee.network.parameters()))


def test_images_in_memory_are_the_letterboxed_ones_with_labels_by_iou(dataset_folder: Path) -> None:
    images = read_coco(dataset_folder / "train.json").images[:5]
    cached = load_images(images)
    letterbox = Letterbox(input_hw=INPUT_HW)
    for row, image in enumerate(images):
        pixels, transform = letterbox.apply(image.read())
        np.testing.assert_array_equal(cached.images_bgr[row].numpy(), pixels)
        matched = assign_by_iou(transform.to_input(image.boxes_xyxy), ANCHORS.boxes_xyxy(INPUT_HW))
        np.testing.assert_array_equal(cached.labels[row].flatten().numpy() > 0, matched >= 0)
    assert (cached.labels > 0).any()


def test_a_mirrored_grid_is_the_grid_of_mirrored_boxes() -> None:
    anchors_xyxy = ANCHORS.boxes_xyxy(INPUT_HW)
    boxes = np.array([[30, 40, 71, 150], [101, 60, 160, 203.5]], np.float32)
    mirrored_boxes = boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32) + np.array([224, 0, 224, 0])
    shape = ANCHORS.grid_shape(INPUT_HW)
    grids = [
        torch.from_numpy((assign_by_iou(b.astype(np.float32), anchors_xyxy) >= 0).reshape(1, *shape))
        for b in (boxes, mirrored_boxes)
    ]
    assert not torch.equal(grids[0], grids[1])
    images = torch.arange(224 * 224 * 3).view(1, 224, 224, 3)
    flipped, grid = mirror(images, grids[0], torch.tensor([True]))
    assert torch.equal(grid, grids[1])
    assert torch.equal(flipped[0, :, 0], images[0, :, -1])
    kept, same = mirror(images, grids[0], torch.tensor([False]))
    assert torch.equal(kept, images)
    assert torch.equal(same, grids[0])


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own(dataset_folder: Path) -> None:
    cached = load_images(read_coco(dataset_folder / "train.json").images[:10])
    ids = torch.arange(10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(cached.images_bgr.shape)
    marked = anchor_logits.ImagesInMemory(ids, cached.labels)

    def order(epoch: int, batch: int = 5) -> list[int]:
        return [
            int(image[0, 0, 0]) for images, _ in marked.batches(batch=batch, seed=0, epoch=epoch) for image in images
        ]

    assert sorted(order(0)) == list(range(10))
    assert order(0) == order(0) != order(1)
    assert len(order(0, batch=4)) == 8 == 4 * marked.batches_per_epoch(4)
    assert len(order(0, batch=16)) == 10


class _Linear(nn.Module):
    """A network whose only weights are its logits, so that gradients show which anchors contribute."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.num_classes = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        del images
        return self.logits


@pytest.mark.parametrize("variant", negative_mining.VARIANTS)
def test_each_variant_learns_from_its_own_anchors(variant: str) -> None:
    torch.manual_seed(0)
    labels = (torch.rand(2, 1, 3, 8, 8) < 0.06).long()
    network = _Linear(torch.randn(2, 2, 1, 3, 8, 8))
    before = network.logits.detach().clone()
    trainee = Trainee(variant, network, network, torch.optim.SGD(network.parameters(), 1.0), [])  # type: ignore[arg-type]
    loss = one_step(trainee, torch.zeros(2, 3, 8, 8), labels, torch.Generator().manual_seed(7))
    moved = ((network.logits.detach() - before) != 0).any(dim=1)
    cross_entropy = nn.functional.cross_entropy(before, labels, reduction="none")
    expected = {
        "none": torch.ones_like(labels),
        "hard": hard_negatives(cross_entropy, labels, 2.0),
        "random": get_random_sampling_mask(labels, 2.0, generator=torch.Generator().manual_seed(7)),
    }[variant].bool()
    assert torch.equal(moved, expected)
    assert loss == pytest.approx(float(cross_entropy[expected].mean()))


def test_the_detector_gives_anchors_above_one_half_after_nms() -> None:
    grid = ANCHORS.grid_shape(INPUT_HW)
    logits = torch.zeros(1, 2, *grid)
    logits[:, 0] = 5
    flat = logits.view(1, 2, -1)
    near, far, faint = (
        int(np.ravel_multi_index(index, grid)) for index in ((2, 1, 9, 9), (3, 1, 20, 20), (1, 0, 3, 20))
    )
    for anchor, margin in ((near, 3.0), (near + 1, 1.0), (far, 0.1), (faint, -0.1)):
        flat[0, 1, anchor] = 5 + margin
    detect = anchor_detector(_Linear(logits), CPU)  # type: ignore[arg-type]
    found = detect(np.zeros((448, 448, 3), np.uint8))
    anchors_xyxy = ANCHORS.boxes_xyxy(INPUT_HW)
    assert pairwise_iou(anchors_xyxy[[near]], anchors_xyxy[[near + 1]])[0, 0] > 0.5
    np.testing.assert_allclose(found.xyxy, np.clip(anchors_xyxy[[near, far]] * 2, 0, 448), atol=1e-3)
    assert found.class_id.tolist() == [1, 1]
    assert (found.score >= 0.5).all()


def test_one_command_leaves_curves_plot_and_checkpoints(dataset_folder: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(dataset_folder, tmp_path, "--epochs", "1", "--json")
    assert code == 0, stderr
    document = json.loads(stdout)
    assert json.loads((tmp_path / "results" / "negative_mining.json").read_text()) == document
    assert set(document["curves"]) == {"random", "hard", "none"}
    assert all(len(curve) == 1 and 0 <= curve[0]["quasi_iou"] <= 1 for curve in document["curves"].values())
    # Background is easy from the start, so the first loss is higher if fewer background anchors contribute.
    losses = {variant: curve[0]["loss"] for variant, curve in document["curves"].items()}
    assert losses["none"] < losses["random"]
    assert document["published_quasi_iou"] == {"random": 0.01275, "none": 0.0}
    assert (tmp_path / "results" / "negative_mining.png").read_bytes().startswith(b"\x89PNG")
    assert str(dataset_folder) not in stdout


@pytest.mark.slow
def test_resumed_epochs_are_those_of_an_unbroken_run(dataset_folder: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder, arguments in ((whole, ["--epochs", "2"]), (broken, ["--epochs", "1"]), (broken, ["--epochs", "2"])):
        code, _, stderr = run(dataset_folder, folder, "--variants", "random,none", "--resume", *arguments)
        assert code == 0, stderr
    one, other = (torch.load(f / "run" / "random.pth", weights_only=True) for f in (whole, broken))
    assert all(torch.equal(one["network"][name], other["network"][name]) for name in one["network"])
    assert [point["loss"] for point in one["curve"]] == [point["loss"] for point in other["curve"]]


def test_all_variants_see_the_same_order_and_each_epoch_another(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    right = anchor_logits.ImagesInMemory.batches

    def watched(self: anchor_logits.ImagesInMemory, *, batch: int, seed: int, epoch: int) -> object:
        asked.append((seed, epoch))
        return right(self, batch=batch, seed=seed, epoch=epoch)

    monkeypatch.setattr(anchor_logits.ImagesInMemory, "batches", watched)
    assert run(dataset_folder, tmp_path, "--epochs", "2", "--variants", "random,none", "--seed", "9")[0] == 0
    assert asked == [(9, 0), (9, 0), (9, 1), (9, 1)]


def test_other_settings_and_foreign_files_are_not_resumed(dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ["--epochs", "1", "--variants", "none"]
    assert run(dataset_folder, tmp_path, *arguments)[0] == 0
    for more, message in (([], "--resume"), (["--resume", "--seed", "3"], "seed was 0, is 3")):
        code, _, stderr = run(dataset_folder, tmp_path, *arguments, *more)
        assert code == 1
        assert message in stderr
    (tmp_path / "run" / "none.pth").write_bytes(b"something else")
    code, _, stderr = run(dataset_folder, tmp_path, *arguments, "--resume")
    assert code == 1
    assert "not a checkpoint of this exercise" in stderr


@pytest.mark.parametrize("variants", ["some", "random,random", ""])
def test_unknown_variants_are_bad_arguments(dataset_folder: Path, tmp_path: Path, variants: str) -> None:
    code, _, stderr = run(dataset_folder, tmp_path, "--variants", variants)
    assert code == 2
    assert "--variants" in stderr
