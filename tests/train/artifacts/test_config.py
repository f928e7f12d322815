"""The options of a run: bounds, sections, and the flat form of older checkpoints."""

from pathlib import Path

import msgspec
import pytest
import torch

from mmpnet.contract.errors import CheckpointError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import RECIPE, TrainConfig, config_of
from mmpnet.train.artifacts.options import DistillationOptions, LoadingOptions, ModelOptions
from mmpnet.train.choices import FINE_TUNING, with_fine_tuning

FLAT = {
    "data": ["/data"],
    "val": ["/data/val.json"],
    "imgsz": [192, 320],
    "lr": 2e-3,
    "sizes_px": [16.0, 40.0],
    "group_weights": [["street", 2.0]],
    "teacher": None,
    "compile": False,
    "workers": 1,
}
"""Some of what a checkpoint of schema 1 holds as options; its other options had their defaults."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, r"lr must be above 0 and at most 1e\+06, got 0\.0"),
        ({"backbone_lr": float("nan")}, "backbone-lr must be above 0"),
        ({"ema_decay": 1.0}, "ema-decay must be at least 0 and below 1, got 1"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"stride": 4}, "stride must be 8 or 16, got 4"),
        ({"sizes_px": (16.0, 1e30)}, r"sizes must be in \[1, 10000\], got 16\.0, 1e\+30"),
        ({"sizes_px": ()}, "sizes must be .* got none"),
        ({"mosaic_grids": (1,)}, r"mosaic-grid must be in \[2, 8\], got 1"),
        ({"neg_ratio": float("inf")}, "neg-ratio must be in"),
        ({"device": 3}, r"device must be valid \(Expected `str`, got `int`\), got 3"),
        ({"freeze": 3, "weights": "none"}, "freeze .* weights is none"),
        ({"unlabelled": ("a",)}, "unlabeled images: no teacher is given; give --teacher"),
        ({"batch": 1, "input_hw": (32, 32)}, "more than one value"),
        ({"multi_scale": 0.25, "input_hw": (64, 64)}, "less than the 32 px between"),
        ({"input_hw": (100, 100)}, "multiples of the stride"),
        ({"epoch": 3}, "there is no option 'epoch'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_flag(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(options)


def test_a_section_checks_itself_however_it_is_made() -> None:
    with pytest.raises(ValueError, match="channels must be in"):
        ModelOptions(channels=0)
    with pytest.raises(ValueError, match="channels must be in"):
        msgspec.structs.replace(RECIPE.model, channels=0)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"channels": 0}, ModelOptions)


def test_options_without_their_sections_make_the_same_configuration() -> None:
    config = config_of({"epochs": 3, "input_hw": (192, 320), "teachers": ("t.onnx",)})
    assert config_of(config.options()) == config
    assert config_of({}) == RECIPE == TrainConfig()
    assert msgspec.convert(msgspec.to_builtins(config), TrainConfig) == config


def test_a_checkpoint_of_the_first_schema_is_read(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    torch.save({**content, "schema": 1, "train": FLAT}, tmp_path / "old.pth")
    expected = {"train": ("/data",), "val": ("/data/val.json",), "input_hw": (192, 320), "lr": 2e-3, "workers": 1}
    expected |= {"sizes_px": (16.0, 40.0), "group_weights": (("street", 2.0),)}
    assert load_checkpoint(tmp_path / "old.pth").train == config_of(expected)


@pytest.mark.parametrize("teacher", [None, "t.onnx"])
def test_the_one_teacher_of_older_schemas_is_the_only_teacher(
    tiny_checkpoint: Path, tmp_path: Path, teacher: str | None
) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    sections = {**content["train"], "distillation": {"teacher": teacher, "teacher_least_score": 0.2, "unlabelled": []}}
    torch.save({**content, "schema": 2, "train": sections}, tmp_path / "second.pth")
    torch.save({**content, "schema": 1, "train": {**FLAT, "teacher": teacher}}, tmp_path / "first.pth")
    teachers = () if teacher is None else (teacher,)
    second = load_checkpoint(tmp_path / "second.pth").train.distillation
    assert second == DistillationOptions(teachers=teachers, teacher_least_score=0.2)
    assert load_checkpoint(tmp_path / "first.pth").train.distillation == DistillationOptions(teachers=teachers)


@pytest.mark.parametrize("schema", [0, 4, None])
def test_another_schema_is_one_line(tiny_checkpoint: Path, tmp_path: Path, schema: object) -> None:
    torch.save({**torch.load(tiny_checkpoint, weights_only=True), "schema": schema}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=rf"other\.pth: checkpoint schema {schema}, expected 1 to 3"):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("flat", [{**FLAT, "unheard_of": 1}, {**FLAT, "lr": "fast"}, {**FLAT, "stride": 3}, 3])
def test_what_is_no_first_schema_is_one_line(tiny_checkpoint: Path, tmp_path: Path, flat: object) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    torch.save({**content, "schema": 1, "train": flat}, tmp_path / "old.pth")
    with pytest.raises(CheckpointError, match=r"old\.pth: TrainConfig does not fit") as caught:
        load_checkpoint(tmp_path / "old.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("share", "epochs", "with_mosaics"),
    [(0.67, 3, 2), (0.85, 60, 51), (0.85, 3, 2), (0.85, 1, 0), (0.29, 100, 29), (0.7, 10, 7), (1.0, 3, 3), (0.0, 3, 0)],
)
def test_below_a_share_of_1_the_last_epochs_have_no_mosaics(share: float, epochs: int, with_mosaics: int) -> None:
    loading = LoadingOptions(mosaic=0.5, mosaic_until=share)
    found = [loading.mosaic_in(epoch, epochs) for epoch in range(epochs)]
    assert found == [0.5] * with_mosaics + [0.0] * (epochs - with_mosaics)


def test_training_from_the_shipped_model_has_the_defaults_of_fine_tuning_unless_others_are_given() -> None:
    options = {**RECIPE.options(), "weights": "default", "epochs": 7}
    tuned = with_fine_tuning(options, {"weights", "epochs"})
    assert tuned == {**options, **FINE_TUNING, "epochs": 7}
    assert config_of(tuned).optim.lr < RECIPE.optim.lr
    others = {**options, "weights": "imagenet"}
    assert with_fine_tuning(others, {"epochs"}) == others
