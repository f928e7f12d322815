"""What a checkpoint says of its network, and what a run was asked to do: plain values, read back strictly."""

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import CheckpointError
from mmpnet.contract.letterbox import PAD_VALUE, Letterbox
from mmpnet.train.distillation.pseudo_labels import LEAST_SCORE
from mmpnet.train.loading.augment import AugmentationName
from mmpnet.train.loading.image_cache import Caching
from mmpnet.train.loading.loader import Assignment
from mmpnet.train.loading.sampling import SCALE_STEP_PX, input_sizes
from mmpnet.train.losses import BoxLoss, Negatives
from mmpnet.train.model import BACKBONE_BLOCKS, STRIDES, MmpNet

MAX_MULTI_SCALE = 0.5
LARGEST_RATE = 1e6
ANCHOR_SIZES_PX = (1.0, 1e4)
ANCHOR_RATIOS = (0.01, 100.0)
MAX_TOWER_DEPTH = 8
MAX_MOSAIC_GRID = 8
MAX_CHANNELS = 2048
"""Far more than pays; a slip of the keyboard should not ask the machine for terabytes."""

_T = TypeVar("_T")


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to build the network again: anchors, classes (index 0 is background), widths, input."""

    sizes_px: tuple[float, ...]
    aspect_ratios: tuple[float, ...]
    stride: int
    class_names: tuple[str, ...]
    input_hw: tuple[int, int]
    pad_value: int = PAD_VALUE
    channels: int = 96
    width_mult: float = 1.0
    box_regression: bool = True
    separate_towers: bool = False
    tower_depth: int = 1

    @property
    def anchors(self) -> AnchorSpec:
        return AnchorSpec(sizes_px=self.sizes_px, aspect_ratios=self.aspect_ratios, stride=self.stride)

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox(input_hw=self.input_hw, pad_value=self.pad_value)

    def build(self) -> MmpNet:
        """A network of this shape, weights not yet trained."""
        return MmpNet(
            len(self.sizes_px),
            len(self.aspect_ratios),
            num_classes=len(self.class_names),
            box_regression=self.box_regression,
            stride=self.stride,
            channels=self.channels,
            width_mult=self.width_mult,
            separate_towers=self.separate_towers,
            tower_depth=self.tower_depth,
        )


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run's settings; the defaults are the recipe. Learning rates are those after warm-up; both fall to zero along
    a cosine."""

    data: tuple[str, ...]
    val: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    weights: str = "imagenet"
    epochs: int = 60
    batch: int = 32
    imgsz: tuple[int, int] = (320, 320)
    lr: float = 1.5e-3
    backbone_lr: float = 4e-4
    weight_decay: float = 0.02
    warmup_steps: int = 100
    ema_decay: float = 0.998
    max_grad_norm: float = 10.0
    negatives: Negatives = "quality"
    neg_ratio: float = 3.0
    assignment: Assignment = "adaptive"
    box_loss: BoxLoss = "giou"
    box_weight: float = 2.0
    anchors: Literal["given", "auto"] = "given"
    sizes_px: tuple[float, ...] = (16.0, 32.0, 64.0, 128.0, 224.0)
    aspect_ratios: tuple[float, ...] = (0.8, 1.7, 3.2)
    stride: int = 8
    channels: int = 96
    width_mult: float = 1.0
    separate_towers: bool = False
    tower_depth: int = 1
    freeze: int = 0
    freeze_norms: bool = False
    augmentation: AugmentationName = "full"
    mosaic: float = 0.5
    mosaic_until: float = 0.85
    mosaic_grids: tuple[int, ...] = (2,)
    multi_scale: float = 0.0
    cache: Caching = "auto"
    teacher: str | None = None
    teacher_least_score: float = 0.1
    unlabelled: tuple[str, ...] = ()
    group_weights: tuple[tuple[str, float], ...] = ()
    eval_every: int = 1
    seed: int = 0
    device: str = "auto"
    amp: bool = True
    compile: bool = False
    workers: int = 1

    def validate(self) -> None:
        """Raises: ValueError naming the first setting that is out of range."""
        at_least_one = {"epochs": self.epochs, "batch": self.batch, "eval-every": self.eval_every}
        for name, value in at_least_one.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.max_grad_norm < float("inf"):
            raise ValueError(f"max-grad-norm must be above 0, got {self.max_grad_norm}")
        for name, number in {"lr": self.lr, "backbone-lr": self.backbone_lr}.items():
            if not 0 < number <= LARGEST_RATE:
                raise ValueError(f"{name} must be above 0 and at most {LARGEST_RATE:g}, got {number}")
        for name, values, (least, most) in (
            ("sizes", self.sizes_px, ANCHOR_SIZES_PX),
            ("ratios", self.aspect_ratios, ANCHOR_RATIOS),
        ):
            if not all(least <= value <= most for value in values):
                raise ValueError(f"{name} must be in [{least:g}, {most:g}], got {', '.join(f'{v:g}' for v in values)}")
        if not all(map(math.isfinite, (self.weight_decay, self.neg_ratio, self.box_weight))):
            raise ValueError("weight-decay, neg-ratio and box-weight must be finite")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"channels must be in [1, {MAX_CHANNELS}], got {self.channels}")
        if not 1 <= self.tower_depth <= MAX_TOWER_DEPTH:
            raise ValueError(f"tower-depth must be in [1, {MAX_TOWER_DEPTH}], got {self.tower_depth}")
        if not self.mosaic_grids or not all(2 <= side <= MAX_MOSAIC_GRID for side in self.mosaic_grids):
            raise ValueError(f"mosaic-grids must be in [2, {MAX_MOSAIC_GRID}], got {list(self.mosaic_grids)}")
        if not 0.1 <= self.width_mult <= 4:
            raise ValueError(f"width-mult must be in [0.1, 4], got {self.width_mult}")
        if self.stride not in STRIDES:
            raise ValueError(f"stride must be 8 or 16, got {self.stride}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema-decay must be in [0, 1), got {self.ema_decay}")
        if not 0 <= self.freeze <= BACKBONE_BLOCKS:
            raise ValueError(f"freeze must be between 0 and {BACKBONE_BLOCKS} backbone blocks, got {self.freeze}")
        if (self.freeze or self.freeze_norms) and self.weights == "none":
            raise ValueError(
                "freeze and freeze-norms keep the backbone as loaded, but weights is none; give --weights, or neither"
            )
        if min(self.weight_decay, self.warmup_steps, self.neg_ratio, self.box_weight, self.workers, self.seed) < 0:
            raise ValueError("weight-decay, warmup-steps, neg-ratio, box-weight, workers and seed must not be negative")
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {self.seed}")
        shares = {"mosaic": self.mosaic, "mosaic-until": self.mosaic_until, "multi-scale": self.multi_scale}
        for name, share in shares.items():
            if not 0 <= share <= 1 or (name == "multi-scale" and share > MAX_MULTI_SCALE):
                raise ValueError(
                    f"{name} must be in [0, {MAX_MULTI_SCALE if name == 'multi-scale' else 1}], got {share}"
                )
        if not LEAST_SCORE <= self.teacher_least_score <= 1:
            raise ValueError(f"teacher-least-score must be in [{LEAST_SCORE}, 1], got {self.teacher_least_score}")
        if self.unlabelled and self.teacher is None:
            raise ValueError("unlabelled pictures need a teacher; give --teacher FILE.onnx")
        if self.multi_scale and len(self.input_sizes()) == 1:
            raise ValueError(
                f"multi-scale {self.multi_scale} of {min(self.imgsz)} px is less than the {SCALE_STEP_PX} px between "
                "two input sizes; raise it, or leave it out"
            )
        if not self.can_normalise(self.batch):
            raise ValueError("batch norm needs more than one value: raise batch or imgsz, or lower multi-scale")
        anchors = AnchorSpec(sizes_px=self.sizes_px, aspect_ratios=self.aspect_ratios, stride=self.stride)
        anchors.grid_hw(self.imgsz)

    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        """The (height, width) in px that batches may have."""
        return input_sizes(self.imgsz, self.multi_scale)

    def can_normalise(self, batch: int) -> bool:
        """Whether so many pictures give a batch norm more than one value at each input size, on the coarsest map."""
        return all(batch * math.prod(-(-side // 32) for side in size_hw) > 1 for size_hw in self.input_sizes())

    def model(self, class_names: tuple[str, ...]) -> ModelConfig:
        """The network this run trains, for a data set's classes."""
        return ModelConfig(
            sizes_px=self.sizes_px,
            aspect_ratios=self.aspect_ratios,
            stride=self.stride,
            class_names=class_names,
            input_hw=self.imgsz,
            channels=self.channels,
            width_mult=self.width_mult,
            separate_towers=self.separate_towers,
            tower_depth=self.tower_depth,
        )


def from_plain(value: Any, kind: type[_T], *, path: Path) -> _T:
    """Plain dicts and lists, as a checkpoint holds them, back into a config.

    Raises: CheckpointError naming the file and the field that does not fit.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {kind.__name__} does not fit this version of mmpnet: {error}") from error


RECIPE = TrainConfig(data=())
"""The default settings, for whoever needs one of them without a run."""
