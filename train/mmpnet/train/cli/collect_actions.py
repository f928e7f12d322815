"""What mmp-collect does with its options: open sources and teachers, and run until the sources end."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from mmpnet.cli.run.console_sink import ConsoleSink
from mmpnet.cli.run.secrets import expanded_source, holds_secret, warn_of_typed
from mmpnet.collect.collection import Collection
from mmpnet.collect.options import TEACHER_LEAST_SCORE
from mmpnet.collect.sink import CollectSink, Kept, Labeler
from mmpnet.console.command import console
from mmpnet.contract.text import counted
from mmpnet.contract.thresholds import Thresholds
from mmpnet.media.images import is_image
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer, analyzer_factory
from mmpnet.runtime.analytics.tracker import LOW_CONF, Tracker
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.sources.frame import Frame, Source
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import LiveOptions
from mmpnet.system.signals import InterruptedRunError, stop_on_signal
from mmpnet.train.distillation.ensemble import open_ensemble


def opened(names: Sequence[int | str], *, stride: int) -> list[Source]:
    """The sources of the command line. Raises: typer.BadParameter if there is none; SourceError for a bad one."""
    if not names:
        raise typer.BadParameter("no source; give --camera INDEX or --source FILE, FOLDER, PATTERN or ADDRESS")
    live = LiveOptions(reconnect=True if len(names) > 1 else None)
    if any(holds_secret(str(name)) for name in names):
        warn_of_typed("the source")
    try:
        sources = [name if isinstance(name, int) else expanded_source(name) for name in names]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return [open_source(source, stride=stride, live=live) for source in sources]


def labeler_of(detector: Detector, teachers: Sequence[Path], conf: float, least_score: float | None) -> Labeler:
    """The model itself or its teachers, which draw the labels. Raises: TrainingError for a file that cannot teach."""
    if not teachers:
        least = conf if least_score is None else max(least_score, LOW_CONF)
        return Labeler((detector.path.stem,), None, least, (detector.metadata.network,))
    ensemble = open_ensemble(teachers, detector.class_names)
    for line in ensemble.unknown_classes(detector.class_names):
        console().print(line)
    least = TEACHER_LEAST_SCORE if least_score is None else least_score
    return Labeler(ensemble.names, lambda frame_bgr: ensemble(frame_bgr).detections, least, ensemble.networks)


def analyzers(
    sources: Sequence[Source], detector: Detector, chosen: Thresholds
) -> Callable[[Frame], StreamAnalyzer] | None:
    """The trackers of all sources; None if these are images, which do not follow each other.

    Raises: MissingExtraError without the tracker's package.
    """
    if all(is_image(path) for one in sources for path in one.paths) and not any(one.live for one in sources):
        return None
    Tracker(frame_rate=1.0)  # reports a missing package before the run
    analysis = Analysis(chosen.conf, max_det=chosen.max_det, class_names=detector.class_names)
    return analyzer_factory([analysis] * len(sources))


def collect_frames(
    out: Path,
    sources: Sequence[Source],
    detector: Detector,
    options: RunOptions,
    make_sink: Callable[[Collection], CollectSink],
    *,
    has_teacher: bool,
) -> None:
    """Run until the sources end or a signal comes, and report what was kept in the folder `out`.

    Raises: InterruptedRunError if a signal stopped it before the end of files.
    """
    stop = threading.Event()
    with Collection(out, detector.class_names) as collection:
        before = len(collection.images)
        if before:
            console().print(f"{out}: has {counted(before, 'image')} already; going on")
        sink = make_sink(collection)
        try:
            with stop_on_signal(stop):
                run(sources, detector, [ConsoleSink(console(), detector.class_names), sink], options, stop=stop)
        finally:
            _report(out, sink.kept, has_teacher=has_teacher)
    if stop.is_set() and not any(one.live for one in sources):
        raise InterruptedRunError(f"stopped; go on with the same command: {out} is whole")


def _report(out: Path, kept: Kept, *, has_teacher: bool) -> None:
    by_reason = ", ".join(f"{reason} {count}" for reason, count in kept.by_reason.items())
    left_out = f"left out {counted(kept.near_duplicates, 'near-duplicate')}, {kept.over_limit} above the limits"
    shown = console()
    shown.print(f"kept {counted(kept.images, 'image')}{f' ({by_reason})' if by_reason else ''}; {left_out}")
    if not kept.images:
        return
    if not kept.boxes:
        who = "the teachers" if has_teacher else "the model"
        shown.print(f"note: {who} found nobody in them; check that the camera sees people")
    to_do = "next:" if has_teacher else "correct them; then:"
    labeled = "" if has_teacher else " --labeled CORRECTED"
    shown.print(
        f"{counted(kept.boxes, 'pre-label')} in {out / 'labels.json'}; {to_do} mmp-adapt --data {out}{labeled} "
        "-o NAME.onnx"
    )
