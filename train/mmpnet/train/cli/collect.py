"""mmp-collect: keep the frames of a camera that are worth labeling, with pre-labels."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mmpnet.collect.options import TEACHER_LEAST_SCORE, Interest, Limits
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, explain_imports, show_version
from mmpnet.console.help import helpful
from mmpnet.console.log import start_log
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.recordings.retention import parse_keep
from mmpnet.system.files import check_folder

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
EXAMPLES = (
    ("mmp-collect --camera 0 -o door/", "keep up to 200 frames a day that are worth labeling"),
    ("mmp-collect street.mp4 -o street/ --teacher yolox_x.onnx", "from a video, labeled by a larger model"),
    ("mmp-collect --camera 0 -o door/ --blur", "where people may not be kept: background only"),
)
CHOICE, LIMITS, LABELS = "What is kept", "Limits", "Labels"


@app.command(cls=helpful("--camera", "--source", "--out", "--teacher", "--every", examples=EXAMPLES))
def collect(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the images and labels; a second run adds to it.")
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [SOURCE]...",
            help=f"MODEL: an ONNX file from mmp-export, or a model of this package: {OTHER_NAMES}; default: "
            f"{DEFAULT_MODEL}. SOURCE: the same as --source; a number is a camera.",
        ),
    ] = None,
    camera: Annotated[
        list[int] | None, typer.Option(min=0, max=999, help="OpenCV camera index. May be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Image, video, folder, glob pattern, device or stream address. May be repeated."),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a frame is kept in any case.", rich_help_panel=CHOICE)
    ] = Interest().every_s,
    unsure: Annotated[
        str,
        typer.Option(help="LOW-HIGH: the scores of boxes that the model is unsure of.", rich_help_panel=CHOICE),
    ] = "{:g}-{:g}".format(*Interest().unsure),
    gap: Annotated[
        float, typer.Option(min=0, help="Least seconds between two kept frames.", rich_help_panel=CHOICE)
    ] = Interest().gap_s,
    track: Annotated[
        bool,
        typer.Option(
            "--track/--no-track",
            help="Also keep frames in which a tracked person is not found.",
            rich_help_panel=CHOICE,
        ),
    ] = True,
    blur: Annotated[
        bool,
        typer.Option(
            "--blur",
            help="Pixelate people, and mark them as ignored: the images can only teach what is no person.",
            rich_help_panel=CHOICE,
        ),
    ] = False,
    per_day: Annotated[
        int,
        typer.Option(
            min=1, help="Images of a day; a camera gives at most an eighth of them in an hour.", rich_help_panel=LIMITS
        ),
    ] = Limits().per_day,
    max_bytes: Annotated[
        str, typer.Option(help="Size of all images, such as 500MB or 2GB.", rich_help_panel=LIMITS)
    ] = f"{Limits().bytes / 1e9:g}GB",
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="ONNX file of a larger detector that draws the labels; several are fused.", rich_help_panel=LABELS
        ),
    ] = None,
    least_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"Lowest score of a label; default: {TEACHER_LEAST_SCORE} with a teacher, else that of --conf.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    conf: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score that counts as found; default: the model's own.")
    ] = None,
    vid_stride: Annotated[int, typer.Option(min=1, help="Use every N-th frame only.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this number of frames.")] = None,
    provider: Annotated[Provider, typer.Option(help="Execution provider.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Inference threads; 0 lets ONNX Runtime choose.")] = 0,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the frames of a camera or video that are worth labeling, with labels for CVAT, Label Studio and YOLO."""
    with exit_on_error():
        start_log(console(), "info")
        low_high = parse_range(unsure)
        limits = Limits(per_day, parse_size(max_bytes))
        with explain_imports(extra="cpu"):
            from mmpnet.cli.run.arguments import model_and_sources
            from mmpnet.cli.run.detector import check_and_warm_up, widen_thresholds
            from mmpnet.collect.sink import CollectSink
            from mmpnet.runtime.inference.detector import Detector
            from mmpnet.runtime.pipeline.options import RunOptions
            from mmpnet.runtime.sources.video_capture import silence_opencv
            from mmpnet.train.cli.collect_actions import analyzers, collect_frames, labeler_of, opened
        silence_opencv()
        model, named = model_and_sources(words or ())
        sources = opened([*named, *(camera or ()), *(source or ())], stride=vid_stride)
        check_folder(out, option=f"--out {out}")
        detector = Detector(model, provider=provider, threads=threads, spin=not any(one.live for one in sources))
        chosen = override_thresholds(detector.thresholds, conf, None, None)
        interest = Interest(every, low_high, gap, chosen.conf)
        labeler = labeler_of(detector, teacher or (), chosen.conf, least_score)
        detector = widen_thresholds(detector.with_thresholds(chosen), blur=blur)
        check_and_warm_up(detector)
        options = RunOptions(limit=limit, analyzer=analyzers(sources, detector, chosen) if track else None)
        collect_frames(
            out,
            sources,
            detector,
            options,
            lambda collection: CollectSink(collection, interest, limits, labeler, blur=blur, notice=console().print),
            has_teacher=bool(teacher),
        )


def parse_range(text: str) -> tuple[float, float]:
    """`0.2-0.5` -> (0.2, 0.5). Raises: typer.BadParameter for anything else."""
    found = re.fullmatch(r"(\d*\.?\d+)-(\d*\.?\d+)", text)
    if found is None or not 0 <= float(found[1]) <= float(found[2]) <= 1:
        raise typer.BadParameter(f"{text!r}: expected LOW-HIGH with 0 <= LOW <= HIGH <= 1, such as 0.2-0.5")
    return float(found[1]), float(found[2])


def parse_size(text: str) -> int:
    """`500MB` -> 500,000,000. Raises: typer.BadParameter for anything else."""
    try:
        size_bytes = parse_keep([text]).size_bytes
    except ValueError:
        size_bytes = None
    if size_bytes is None:
        raise typer.BadParameter(f"{text!r}: expected a size such as 500MB or 2GB")
    return size_bytes


def main() -> None:
    """Entry point of mmp-collect."""
    app()
