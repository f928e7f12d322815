"""The options of a training run, in sections: the defaults are the recipe, mmp-train's flags are made from them."""

import math
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from mmpnet.contract.option_fields import check_options
from mmpnet.train.choices import (
    BACKBONE_BLOCKS,
    FINE_TUNING,
    LEAST_SCORE,
    MAX_WORKERS,
    TEACHER_LABELS_SUFFIX,
    Assignment,
    AugmentationName,
    BoxLoss,
    Caching,
    Negatives,
    Uncertain,
    default_workers,
)

_FINE_TUNING = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in FINE_TUNING.items())
_ROUNDING_ERROR = 1e-9
LARGEST_SEED = 2**63 - 1
LARGEST_RATE = 1e6
LARGEST = 1e9
"""Bound of weights and ratios that may be any finite number."""

AnchorSize: TypeAlias = Annotated[float, Meta(ge=1, le=1e4)]
AnchorRatio: TypeAlias = Annotated[float, Meta(ge=0.01, le=100)]
MosaicGrid: TypeAlias = Annotated[int, Meta(ge=2, le=8)]
TeacherSide: TypeAlias = Annotated[int, Meta(ge=32, le=4096)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options that belong together.

    Raises: ValueError naming the first option that is out of its bounds.
    """

    def __post_init__(self) -> None:
        check_options(self)


class DataOptions(Section, frozen=True, kw_only=True):
    """The images to learn from, and those to validate on."""

    train: Annotated[
        tuple[str, ...],
        Meta(
            description="Folder or file: COCO JSON, YOLO, VOC, ... as in the README; may be repeated to mix.",
            extra={"flag": "data", "path": True},
        ),
    ] = ()
    val: Annotated[
        tuple[str, ...],
        Meta(
            description="Validation data; may be repeated. Default: the val splits of --data, if there are any.",
            extra={"path": True},
        ),
    ] = ()
    classes: Annotated[
        tuple[str, ...],
        Meta(description="Learn only the class NAME; NAME=OLD,OLDER learns those as one class. May be repeated."),
    ] = ()
    group_weights: Annotated[
        tuple[tuple[str, float], ...],
        Meta(
            description="PATTERN=WEIGHT: draw images of a matching group or source more or less often.",
            extra={"flag": "group-weight"},
        ),
    ] = ()


class ModelOptions(Section, frozen=True, kw_only=True):
    """The network: its first weights, its input, its anchors, its widths, and which parts are trained.

    Raises: ValueError also if parts of a network are frozen that starts at random.
    """

    weights: Annotated[
        str,
        Meta(
            description="`imagenet` (torchvision's download), `default` (the model that ships; the defaults of other "
            f"options are then {_FINE_TUNING}), a mobilenet_v2 FILE, a checkpoint or ONNX file of ours, or `none`."
        ),
    ] = "imagenet"
    input_hw: Annotated[
        tuple[int, int], Meta(description="Input size in px: N or HEIGHTxWIDTH.", extra={"flag": "imgsz"})
    ] = (320, 320)
    anchors: Annotated[
        Literal["given", "auto"],
        Meta(description="`auto` fits as many sizes and ratios as are given to the boxes of the data."),
    ] = "given"
    sizes_px: Annotated[
        tuple[AnchorSize, ...],
        Meta(min_length=1, description="Anchor sizes sqrt(w*h) in input px.", extra={"flag": "sizes"}),
    ] = (16.0, 32.0, 64.0, 128.0, 224.0)
    aspect_ratios: Annotated[
        tuple[AnchorRatio, ...], Meta(min_length=1, description="Anchor aspect ratios h/w.", extra={"flag": "ratios"})
    ] = (0.8, 1.7, 3.2)
    stride: Annotated[Literal[8, 16], Meta(description="Stride of the label grid: 8 or 16.")] = 8
    channels: Annotated[int, Meta(ge=1, le=2048, description="Channels of the top-down path.")] = 96
    width_mult: Annotated[float, Meta(ge=0.1, le=4, description="Width of the backbone.")] = 1.0
    separate_towers: Annotated[bool, Meta(description="Use separate towers for class logits and box offsets.")] = False
    tower_depth: Annotated[
        int, Meta(ge=1, le=8, description="Depthwise-separable layers before the last one, in each tower.")
    ] = 1
    kernel_size: Annotated[
        Literal[3, 5, 7], Meta(description="Side of the depthwise kernels of the top-down path and the towers.")
    ] = 3
    freeze: Annotated[
        int,
        Meta(
            ge=0,
            le=BACKBONE_BLOCKS,
            description=f"Number of first backbone blocks, of {BACKBONE_BLOCKS}, to keep as loaded.",
        ),
    ] = 0
    freeze_norms: Annotated[
        bool, Meta(description="Keep the backbone's batch-norm statistics; useful for small batches.")
    ] = False

    def __post_init__(self) -> None:
        check_options(self)
        if (self.freeze or self.freeze_norms) and self.weights == "none":
            raise ValueError(
                "freeze and freeze-norms keep the backbone as loaded, but weights is none; give --weights, or neither"
            )


class LoadingOptions(Section, frozen=True, kw_only=True):
    """How images become batches."""

    batch: Annotated[int, Meta(ge=1, description="Images per step.")] = 32
    augmentation: Annotated[
        AugmentationName, Meta(description="How strongly images are changed; `light` never mirrors them.")
    ] = "full"
    mosaic: Annotated[float, Meta(ge=0, le=1, description="Share of samples made of several images.")] = 0.5
    mosaic_grids: Annotated[
        tuple[MosaicGrid, ...],
        Meta(
            min_length=1,
            description="Images along a side of a mosaic; may be repeated to draw one of several. Default: 2.",
            extra={"flag": "mosaic-grid"},
        ),
    ] = (2,)
    mosaic_until: Annotated[
        float, Meta(ge=0, le=1, description="Share of the epochs, counted from the first one, that have mosaics.")
    ] = 0.85
    multi_scale: Annotated[
        float, Meta(ge=0, le=0.5, description="Input sizes vary by this share, from batch to batch.")
    ] = 0.0
    cache: Annotated[Caching, Meta(description="Decode images once; `auto` does so if they fit into memory.")] = "auto"
    workers: Annotated[
        int,
        Meta(ge=0, description="Loader processes.", extra={"default": f"one per core, at most {MAX_WORKERS}"}),
    ] = msgspec.field(default_factory=default_workers)

    def mosaic_in(self, epoch: int, epochs: int) -> float:
        """Return the share of samples of a 0-based epoch that are mosaics.

        The number of epochs with mosaics is rounded down: below a share of 1, the last epoch has whole images, as a
        camera gives them.
        """
        with_mosaics = math.floor(self.mosaic_until * epochs + _ROUNDING_ERROR)
        return self.mosaic if epoch < with_mosaics else 0.0


class LossOptions(Section, frozen=True, kw_only=True):
    """The assignment of anchors to boxes, and the losses."""

    assignment: Annotated[Assignment, Meta(description="Which anchors learn a box.")] = "adaptive"
    negatives: Annotated[Negatives, Meta(description="How background anchors enter the loss.")] = "quality"
    neg_ratio: Annotated[float, Meta(ge=0, le=LARGEST, description="Negatives per positive, for hard and random.")] = (
        3.0
    )
    box_loss: Annotated[BoxLoss, Meta(description="Loss of the predicted boxes.")] = "giou"
    box_weight: Annotated[float, Meta(ge=0, le=LARGEST, description="Weight of the box loss.")] = 2.0


class OptimOptions(Section, frozen=True, kw_only=True):
    """The optimizer. Learning rates are those after warm-up; both fall to zero along a cosine."""

    lr: Annotated[float, Meta(gt=0, le=LARGEST_RATE, description="Learning rate of the head.")] = 1.5e-3
    backbone_lr: Annotated[float, Meta(gt=0, le=LARGEST_RATE, description="Learning rate of the backbone.")] = 4e-4
    weight_decay: Annotated[float, Meta(ge=0, le=LARGEST, description="Weight decay of convolution kernels.")] = 0.02
    max_grad_norm: Annotated[
        float, Meta(gt=0, le=LARGEST, description="Maximum gradient norm; longer gradients are clipped to it.")
    ] = 10.0
    ema_decay: Annotated[float, Meta(ge=0, lt=1, description="Decay of the averaged weights that are saved.")] = 0.998


class ScheduleOptions(Section, frozen=True, kw_only=True):
    """The number of epochs, the warm-up, and how often accuracy is measured."""

    epochs: Annotated[int, Meta(ge=1, description="Passes over the training images.")] = 60
    warmup_steps: Annotated[int, Meta(ge=0, description="Steps of linear warm-up.")] = 100
    eval_every: Annotated[int, Meta(ge=1, description="Epochs between evaluations.")] = 1


class DistillationOptions(Section, frozen=True, kw_only=True):
    """Teachers whose detections are learned too, and what becomes of boxes that a detector is not sure of.

    Raises: ValueError if unlabeled images, sizes or mirrored views are given without a teacher, or something else than
    teacher_least_score together with a run's teacher.json.
    """

    teachers: Annotated[
        tuple[str, ...],
        Meta(
            description="Detector as ONNX whose detections are learned too; may be repeated. Or a run's teacher.json.",
            extra={"flag": "teacher", "path": True},
        ),
    ] = ()
    teacher_sizes: Annotated[
        tuple[tuple[TeacherSide, TeacherSide], ...],
        Meta(
            description="Input size in px of teachers that take any size: N or HEIGHTxWIDTH. May be repeated.",
            extra={"flag": "teacher-size"},
        ),
    ] = ()
    teacher_flip: Annotated[bool, Meta(description="Each teacher also looks at the mirrored image.")] = False
    teacher_least_score: Annotated[
        float, Meta(ge=LEAST_SCORE, le=1, description="Detections of the teachers below this score are left out.")
    ] = 0.1
    unlabelled: Annotated[
        tuple[str, ...],
        Meta(
            description="Folder of images that only the teachers label; may be repeated.",
            extra={"flag": "unlabeled", "path": True},
        ),
    ] = ()
    uncertain: Annotated[
        Uncertain,
        Meta(
            description="Boxes that a detector drew, as a teacher or in a label file: `soft` learns their scores; "
            "`ignore` takes those below --sure-score for neither objects nor background."
        ),
    ] = "soft"
    sure_score: Annotated[
        float, Meta(ge=0, le=1, description="With --uncertain ignore: boxes with a lower score are ignored.")
    ] = 0.5

    feature_teacher: Annotated[
        str | None,
        Meta(
            description="Detector as ONNX whose feature maps the network learns to correlate with.",
            extra={"path": True},
        ),
    ] = None
    feature_weight: Annotated[float, Meta(gt=0, le=LARGEST, description="Weight of the loss of the feature maps.")] = (
        3.0
    )

    def __post_init__(self) -> None:
        check_options(self)
        needing = {
            "unlabeled images": self.unlabelled,
            "teacher-size": self.teacher_sizes,
            "teacher-flip": self.teacher_flip,
        }
        for name, given in needing.items():
            if given and not self.teachers:
                raise ValueError(f"{name}: no teacher is given; give --teacher FILE.onnx, or leave it out")
        labels = [path for path in self.teachers if path.endswith(TEACHER_LABELS_SUFFIX)]
        if labels and (len(self.teachers) > 1 or self.teacher_sizes or self.teacher_flip):
            raise ValueError(
                f"teacher {labels[0]}: the labels of an earlier run cannot be combined with other teachers, "
                "--teacher-size or --teacher-flip; give it alone, or give the detectors themselves"
            )


class RunOptions(Section, frozen=True, kw_only=True):
    """The seed, and how the machine is used."""

    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED, description="Seed of everything that is drawn at random.")] = 0
    device: Annotated[
        str, Meta(description="auto, cpu, cuda or cuda:N. --resume keeps the device of the run unless one is given.")
    ] = "auto"
    amp: Annotated[bool, Meta(description="Use bfloat16 autocast if the device computes it in hardware.")] = True
    compile: Annotated[
        bool,
        Meta(description="Use torch.compile: it takes a minute at the start; on a CPU it saved no time."),
    ] = False


SECTIONS: dict[str, type[Section]] = {
    "data": DataOptions,
    "model": ModelOptions,
    "loading": LoadingOptions,
    "loss": LossOptions,
    "optim": OptimOptions,
    "schedule": ScheduleOptions,
    "distillation": DistillationOptions,
    "run": RunOptions,
}
