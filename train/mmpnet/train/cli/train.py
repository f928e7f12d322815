"""mmp-train: learn to find people (or anything with boxes) from labelled pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmpnet.cli.class_option import checked_classes
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, parse_size_hw, show_version
from mmpnet.contract.anchors import AnchorSpec
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.config import RECIPE, TrainConfig
from mmpnet.train.cli.check import check
from mmpnet.train.distillation.pseudo_labels import unlabelled_pictures
from mmpnet.train.loading.augment import AugmentationName
from mmpnet.train.loading.image_cache import Caching
from mmpnet.train.loading.loader import Assignment, default_workers
from mmpnet.train.losses import BoxLoss, Negatives
from mmpnet.train.run.prepare import validation_paths
from mmpnet.train.run.start import new_folder, resume_run, start_run

_RESUMABLE_FLAGS = frozenset({"resume", "device", "workers"})


def _joined(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{flag} {text!r}: expected numbers with commas, such as 16,32,64") from None


def _group_weight(text: str) -> tuple[str, float]:
    pattern, _, weight = text.rpartition("=")
    try:
        return pattern, float(weight)
    except ValueError:
        raise typer.BadParameter(f"--group-weight {text!r}: expected PATTERN=WEIGHT, such as coco=1.5") from None


@contextmanager
def _as_bad_parameter() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _refuse_other_flags(context: typer.Context) -> None:
    flag_of = {param.name: param.opts[0] for param in context.command.params if param.name not in _RESUMABLE_FLAGS}
    sources = {flag: context.get_parameter_source(name) for name, flag in flag_of.items() if name is not None}
    given = [flag for flag, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        flags = ", ".join(given)
        raise typer.BadParameter(
            f"{flags}: a resumed run keeps its settings; only --device and --workers go with --resume"
        )


app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or file: COCO JSON, YOLO, VOC, ... as in the README; may be repeated to mix."),
    ] = None,
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Data to watch, may be repeated; default: the val splits of --data, if any."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Learn only NAME; or NAME=OLD,OLDER: those classes as one. May be repeated."),
    ] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Look at every file of the data; train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: one JSON document on stdout.")] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="`imagenet` (torchvision's download), `default` (the model that ships), a mobilenet_v2 FILE, a "
            "checkpoint or ONNX file of ours, or `none`."
        ),
    ] = RECIPE.weights,
    epochs: Annotated[int, typer.Option(min=1)] = RECIPE.epochs,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = RECIPE.batch,
    imgsz: Annotated[str, typer.Option(help="Input size in px: N or HEIGHTxWIDTH.")] = "320",
    lr: Annotated[float, typer.Option(help="Learning rate of the head.")] = RECIPE.lr,
    backbone_lr: Annotated[float, typer.Option(help="Learning rate of the backbone.")] = RECIPE.backbone_lr,
    weight_decay: Annotated[float, typer.Option(help="Of convolution kernels.")] = RECIPE.weight_decay,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Steps of linear warm-up.")] = RECIPE.warmup_steps,
    ema_decay: Annotated[float, typer.Option(help="Decay of the averaged weights that are saved.")] = RECIPE.ema_decay,
    max_grad_norm: Annotated[
        float, typer.Option(help="Longer gradients are shortened to this.")
    ] = RECIPE.max_grad_norm,
    negatives: Annotated[Negatives, typer.Option(help="How background anchors enter the loss.")] = RECIPE.negatives,
    neg_ratio: Annotated[
        float, typer.Option(min=0, help="Negatives per positive, for hard and random.")
    ] = RECIPE.neg_ratio,
    assignment: Annotated[Assignment, typer.Option(help="Which anchors learn a box.")] = RECIPE.assignment,
    box_loss: Annotated[BoxLoss, typer.Option(help="How far a box is from its label.")] = RECIPE.box_loss,
    box_weight: Annotated[float, typer.Option(min=0, help="Weight of the box loss.")] = RECIPE.box_weight,
    anchors: Annotated[
        Literal["given", "auto"],
        typer.Option(help="`auto`: as many sizes and ratios as are given, but those that suit the boxes."),
    ] = RECIPE.anchors,
    sizes: Annotated[str, typer.Option(help="Anchor sizes sqrt(w*h) in input px.")] = _joined(RECIPE.sizes_px),
    ratios: Annotated[str, typer.Option(help="Anchor aspect ratios h/w.")] = _joined(RECIPE.aspect_ratios),
    stride: Annotated[int, typer.Option(help="Stride of the label grid: 8 or 16.")] = RECIPE.stride,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the top-down path.")] = RECIPE.channels,
    width_mult: Annotated[float, typer.Option(help="Width of the backbone.")] = RECIPE.width_mult,
    separate_towers: Annotated[
        bool, typer.Option("--separate-towers", help="Class logits and box offsets get a tower each.")
    ] = RECIPE.separate_towers,
    tower_depth: Annotated[
        int, typer.Option(help="Depthwise-separable layers before the last one, in each tower.")
    ] = RECIPE.tower_depth,
    freeze: Annotated[int, typer.Option(min=0, help="First backbone blocks (of 18) kept as loaded.")] = RECIPE.freeze,
    freeze_norms: Annotated[
        bool, typer.Option("--freeze-norms", help="Keep the backbone's batch-norm statistics: for small batches.")
    ] = False,
    augmentation: Annotated[
        AugmentationName, typer.Option(help="How freely pictures are changed; `light` never mirrors them.")
    ] = RECIPE.augmentation,
    mosaic: Annotated[float, typer.Option(help="Share of samples made of four pictures.")] = RECIPE.mosaic,
    mosaic_grids: Annotated[
        list[int] | None,
        typer.Option(
            "--mosaic-grid", help="Images along a side of a mosaic; repeat it to draw one of several [default: 2]."
        ),
    ] = None,
    mosaic_until: Annotated[
        float, typer.Option(help="Share of the epochs that have mosaics, the first ones.")
    ] = RECIPE.mosaic_until,
    multi_scale: Annotated[
        float, typer.Option(help="Input sizes vary by this share, from batch to batch.")
    ] = RECIPE.multi_scale,
    cache: Annotated[
        Caching, typer.Option(help="Decode pictures once; `auto`: where they fit into memory.")
    ] = RECIPE.cache,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Detector as ONNX whose finds are learned too; or a run's teacher.json."),
    ] = None,
    teacher_least_score: Annotated[
        float, typer.Option(help="Finds of the teacher below this are left out.")
    ] = RECIPE.teacher_least_score,
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="Folder of pictures for the teacher alone; may be repeated.")
    ] = None,
    group_weight: Annotated[
        list[str] | None,
        typer.Option(help="PATTERN=WEIGHT: draw pictures of a matching group or source more or less often."),
    ] = None,
    eval_every: Annotated[int, typer.Option(min=1, help="Epochs between evaluations.")] = RECIPE.eval_every,
    seed: Annotated[int, typer.Option(min=0)] = RECIPE.seed,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; default: auto, and for --resume as before.")
    ] = None,
    amp: Annotated[bool, typer.Option(help="bfloat16 autocast where the device computes it in hardware.")] = RECIPE.amp,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Fuse the step with torch.compile: a minute first, then faster steps.")
    ] = RECIPE.compile,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Loader processes; default: one per core, at most 8.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Run folder below --project; default: train, train2, ...")] = None,
    project: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="Run folder or last.pth: go on with that run as it was configured.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train MmpNet on labelled pictures; leaves last.pth, best.pth, results.csv, config.json and report.html."""
    with exit_on_error():
        if resume is not None:
            _refuse_other_flags(context)
            resume_run(resume, device=device, workers=workers)
            return
        if not data:
            raise typer.BadParameter(
                "give --data (a folder or file of labelled pictures), or --resume with a run folder"
            )
        if as_json and not only_check:
            raise typer.BadParameter("--json goes with --check; a run's numbers are in its results.csv")
        wanted = checked_classes(classes)
        size_hw = parse_size_hw(imgsz)
        sizes_px, aspect_ratios = _numbers(sizes, "--sizes"), _numbers(ratios, "--ratios")
        if only_check:
            if teacher is not None and not is_file(teacher):
                raise typer.BadParameter(f"--teacher {teacher}: no such file")
            for folder in unlabelled or ():
                console().print(f"{folder}: {len(unlabelled_pictures(folder))} pictures without labels")
            watched = [Path(path) for path in validation_paths(data, val or ())]
            with _as_bad_parameter():
                anchor_spec = AnchorSpec(sizes_px, aspect_ratios, stride)
                anchor_spec.grid_hw(size_hw)
            suggest = anchors == "auto"
            if not check(
                data,
                watched,
                wanted,
                anchor_spec,
                size_hw,
                suggest=suggest,
                needs_boxes=teacher is None,
                as_json=as_json,
            ):
                raise typer.Exit(1)
            return
        config = TrainConfig(
            data=tuple(str(path.resolve()) for path in data),
            val=validation_paths(data, val or ()),
            classes=wanted,
            weights=weights if weights in ("imagenet", "default", "none") else str(Path(weights).resolve()),
            epochs=epochs,
            batch=batch,
            imgsz=size_hw,
            lr=lr,
            backbone_lr=backbone_lr,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
            max_grad_norm=max_grad_norm,
            negatives=negatives,
            neg_ratio=neg_ratio,
            assignment=assignment,
            box_loss=box_loss,
            box_weight=box_weight,
            anchors=anchors,
            sizes_px=sizes_px,
            aspect_ratios=aspect_ratios,
            stride=stride,
            channels=channels,
            width_mult=width_mult,
            separate_towers=separate_towers,
            tower_depth=tower_depth,
            freeze=freeze,
            freeze_norms=freeze_norms,
            augmentation=augmentation,
            mosaic=mosaic,
            mosaic_until=mosaic_until,
            mosaic_grids=tuple(mosaic_grids or RECIPE.mosaic_grids),
            multi_scale=multi_scale,
            cache=cache,
            teacher=None if teacher is None else str(teacher.resolve()),
            teacher_least_score=teacher_least_score,
            unlabelled=tuple(str(folder.resolve()) for folder in unlabelled or ()),
            group_weights=tuple(_group_weight(text) for text in group_weight or ()),
            eval_every=eval_every,
            seed=seed,
            device=device or "auto",
            amp=amp,
            compile=compiled,
            workers=default_workers() if workers is None else workers,
        )
        with _as_bad_parameter():
            config.validate()
        start_run(config, new_folder(project, name))


def main() -> None:
    """Entry point of mmp-train."""
    app()
