"""mmp-run: find people in a camera's or a file's frames."""

import os
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.table import Table

from mmpnet.contract.detections import Thresholds
from mmpnet.runtime.command import HELP_NAMES, checked_thresholds, exit_on_error, people, show_version
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.display import why_no_window
from mmpnet.runtime.pipeline import Summary, run
from mmpnet.runtime.self_test import run_self_test
from mmpnet.runtime.session import Provider
from mmpnet.runtime.sinks import NdjsonSink, SaveSink, Sink, WindowSink
from mmpnet.runtime.sources import CameraSource, Source, open_source

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)
SHOWN_PICTURES = 8


@app.command()
def detect(
    model: Annotated[
        Path | None,
        typer.Argument(help="A file from mmp-export, person-320-int8 or person-224-int8; default: person-320."),
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, max=999, help="OpenCV camera index.")] = None,
    source: Annotated[str | None, typer.Option(help="Picture, video, folder or glob pattern.")] = None,
    conf: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score; default: the model's.")] = None,
    iou: Annotated[float | None, typer.Option(min=0, max=1, help="NMS threshold; default: the model's.")] = None,
    max_det: Annotated[int | None, typer.Option(min=1, help="Most boxes per frame; default: the model's.")] = None,
    provider: Annotated[Provider, typer.Option(help="auto: CUDA where it starts, else the CPU.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Inference threads; 0 is ONNX Runtime's choice.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Annotated picture or video; a folder for several files.")] = None,
    ndjson: Annotated[str | None, typer.Option("--json", help="NDJSON file, or - for stdout.")] = None,
    show: Annotated[bool, typer.Option(help="Open a window where there is a display.")] = True,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Only check that this device finds what the exporter's machine found.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find people: boxes in a window, in files, or as NDJSON."""
    with exit_on_error():
        if self_test:
            if camera is not None or source is not None:
                raise typer.BadParameter("--self-test looks at a frame of its own; leave --camera and --source out")
            _self_test(Detector(model, provider=provider, threads=threads))
            return
        if (camera is None) == (source is None):
            raise typer.BadParameter("give either --camera INDEX or --source FILE, FOLDER or PATTERN")
        frames: Source = CameraSource(camera) if camera is not None else open_source(source or "")
        detector = Detector(model, provider=provider, threads=threads, spin=not frames.live)
        detector.thresholds = _overridden(detector.thresholds, conf, iou, max_det)
        _check_and_warm_up(detector)
        sinks, saved = _sinks(detector, frames, save=save, ndjson=ndjson, show=show)
        height, width = detector.metadata.input.size_hw
        people().print(f"{detector.path.name} {height}x{width} on {detector.provider}")
        summary = run(frames, detector, sinks, remember=SHOWN_PICTURES)
        _report(summary, detector, saved)


def _self_test(detector: Detector) -> None:
    result = run_self_test(detector)
    people().print(
        f"{detector.path.name} on {detector.provider}: self-test passed, {result.n_expected} boxes, scores within "
        f"{result.max_score_difference:.1e}, IoU from {result.min_iou:.4f}"
    )


def _check_and_warm_up(detector: Detector) -> None:
    """The first inference is slow on every device: it may as well prove that the others will be right."""
    if detector.metadata.self_test is None:
        detector.warm_up()
    else:
        run_self_test(detector)


def _overridden(thresholds: Thresholds, conf: float | None, iou: float | None, max_det: int | None) -> Thresholds:
    return checked_thresholds(
        thresholds.conf if conf is None else conf,
        thresholds.iou if iou is None else iou,
        thresholds.max_det if max_det is None else max_det,
    )


def _sinks(
    detector: Detector, frames: Source, *, save: Path | None, ndjson: str | None, show: bool
) -> tuple[list[Sink], SaveSink | None]:
    sinks: list[Sink] = []
    saved = None
    if ndjson is not None:
        sinks.append(NdjsonSink(ndjson, detector.class_names))
    if save is not None:
        saved = SaveSink(save, many_files=frames.many_files, sources=frames.paths)
        sinks.append(saved)
    if show:
        reason = why_no_window()
        if reason is None:
            sinks.append(WindowSink())
        else:
            people().print(f"no window: {reason}")
    return sinks, saved


def _report(summary: Summary, detector: Detector, saved: SaveSink | None) -> None:
    console = people()
    if any(len(found) for _, found in summary.pictures):
        table = Table("picture", "name", "score", "x1", "y1", "x2", "y2")
        for source, found in summary.pictures:
            for xyxy, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
                corners = [f"{value:.0f}" for value in xyxy]
                table.add_row(Path(source).name, detector.class_names[class_id], f"{score:.2f}", *corners)
        if summary.frames > len(summary.pictures):
            table.caption = f"the first {len(summary.pictures)} pictures; --json lists all"
        console.print(table)
    stages = Table("stage", "median ms")
    for name, value in summary.median_ms().items():
        stages.add_row(name, f"{value:.2f}")
    console.print(stages)
    console.print(f"{summary.detections} detections in {summary.frames} frames")
    for path in saved.written if saved is not None else ():
        console.print(f"saved {path}")


def _silence_opencv() -> None:
    # OpenCV 4 and 5 have this in different places.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)


def main() -> None:
    """Entry point of mmp-run."""
    # OpenCV's own lines would stand beside our one line, and say less.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    _silence_opencv()
    app()
