"""The configuration of a network and of a training run, as checkpoints store it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import CheckpointError
from mmpnet.contract.letterbox import PAD_VALUE, Letterbox
from mmpnet.contract.option_fields import option_fields
from mmpnet.train.artifacts.options import (
    SECTIONS,
    DataOptions,
    DistillationOptions,
    LoadingOptions,
    LossOptions,
    ModelOptions,
    OptimOptions,
    RunOptions,
    ScheduleOptions,
)
from mmpnet.train.backbone import BackboneName
from mmpnet.train.loading.sampling import SCALE_STEP_PX, input_sizes
from mmpnet.train.model import Architecture, MmpNet

_COARSEST_STRIDE = 32
SCHEMA = 3
"""Version of the options in a checkpoint: schema 1 has no sections, schemas 1 and 2 have at most one teacher."""
_RENAMED = {"data": "train", "imgsz": "input_hw"}
"""Names of options in checkpoints of schema 1."""
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
    kernel_size: int = 3
    backbone: BackboneName = "mobilenet_v2"

    @property
    def anchors(self) -> AnchorSpec:
        return AnchorSpec(sizes_px=self.sizes_px, aspect_ratios=self.aspect_ratios, stride=self.stride)

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox(input_hw=self.input_hw, pad_value=self.pad_value)

    def build(self) -> MmpNet:
        """Return a network of this shape with random weights."""
        return MmpNet(
            len(self.sizes_px),
            len(self.aspect_ratios),
            num_classes=len(self.class_names),
            box_regression=self.box_regression,
            stride=self.stride,
            channels=self.channels,
            width_mult=self.width_mult,
            architecture=Architecture(self.backbone, self.separate_towers, self.tower_depth, self.kernel_size),
        )


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run's options; the defaults are the recipe.

    Raises: ValueError if options of different sections do not go together.
    """

    data: DataOptions = DataOptions()
    model: ModelOptions = ModelOptions()
    loading: LoadingOptions = LoadingOptions()
    loss: LossOptions = LossOptions()
    optim: OptimOptions = OptimOptions()
    schedule: ScheduleOptions = ScheduleOptions()
    distillation: DistillationOptions = DistillationOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        spread, shorter_px = self.loading.multi_scale, min(self.model.input_hw)
        if spread and len(self.input_sizes()) == 1:
            raise ValueError(
                f"multi-scale {spread} of {shorter_px} px is less than the {SCALE_STEP_PX} px between two input "
                "sizes; raise it, or leave it out"
            )
        if not self.can_normalize(self.loading.batch):
            raise ValueError("batch norm needs more than one value: raise batch or imgsz, or lower multi-scale")
        self.anchors.grid_hw(self.model.input_hw)

    @property
    def anchors(self) -> AnchorSpec:
        return AnchorSpec(self.model.sizes_px, self.model.aspect_ratios, self.model.stride)

    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in px that batches may have."""
        return input_sizes(self.model.input_hw, self.loading.multi_scale)

    def can_normalize(self, batch: int) -> bool:
        """Return whether a batch of this many images gives a batch norm more than one value at each input size."""
        coarsest = [math.prod(-(-side // _COARSEST_STRIDE) for side in size_hw) for size_hw in self.input_sizes()]
        return batch * min(coarsest) > 1

    def model_config(self, class_names: tuple[str, ...]) -> ModelConfig:
        """Return the network that this run trains, for a data set's classes."""
        model = self.model
        return ModelConfig(
            sizes_px=model.sizes_px,
            aspect_ratios=model.aspect_ratios,
            stride=model.stride,
            class_names=class_names,
            input_hw=model.input_hw,
            channels=model.channels,
            width_mult=model.width_mult,
            separate_towers=model.separate_towers,
            tower_depth=model.tower_depth,
            kernel_size=model.kernel_size,
        )

    def options(self) -> dict[str, Any]:
        """Return every option by its field's name, without the sections."""
        sections = [getattr(self, name) for name in SECTIONS]
        return {name: value for one in sections for name, value in msgspec.structs.asdict(one).items()}


def config_of(options: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration with these options, by their fields' names; the others have their defaults.

    Raises: ValueError if an option is unknown or out of its bounds, or options do not go together.
    """
    sections = in_sections(options)
    if unknown := sections.keys() - SECTIONS.keys():
        raise ValueError(f"there is no option {min(unknown)!r}")
    checked: dict[str, Any] = {name: section(**sections[name]) for name, section in SECTIONS.items()}
    return TrainConfig(**checked)


def in_sections(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by name, each in its section's dict; names that no section has stay where they are."""
    home = {field.name: name for name, section in SECTIONS.items() for field in option_fields(section)}
    sections: dict[str, Any] = {name: {} for name in SECTIONS}
    for name, value in options.items():
        place = sections[home[name]] if name in home else sections
        place[name] = value
    return sections


def options_of_schema(value: Any, schema: int) -> Any:
    """Return the options that a checkpoint of this schema holds, in the form of the present schema; what is not a dict
    is returned as it is, so that `from_plain` reports it."""
    if not isinstance(value, dict) or schema == SCHEMA:
        return value
    if schema == 1:
        options = {_RENAMED.get(str(name), str(name)): option for name, option in value.items()}
        return in_sections(_with_teachers(options))
    distillation = value.get("distillation")
    return {**value, "distillation": _with_teachers(distillation)} if isinstance(distillation, dict) else value


def _with_teachers(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with `teacher`, a path or None, as options with `teachers`, a list."""
    if "teacher" not in options:
        return options
    others = {name: option for name, option in options.items() if name != "teacher"}
    return {**others, "teachers": [] if options["teacher"] is None else [options["teacher"]]}


def from_plain(value: Any, kind: type[_T], *, path: Path) -> _T:
    """Convert plain dicts and lists, as a checkpoint holds them, to a config.

    Raises: CheckpointError naming the file and the field that does not fit.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {kind.__name__} does not fit this version of mmpnet: {error}") from error


RECIPE = TrainConfig()
"""The default options, for callers that need one of them without a run."""
