"""What mmp-run does with its settings: open sources, model and outputs, and run until they end or a signal comes."""

import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from mmpnet.cli.run.arguments import model_and_sources
from mmpnet.cli.run.cameras import ShapeTexts, analyses_of, is_special, with_secrets
from mmpnet.cli.run.checks import check_effects, check_flags, check_outputs, given_flags
from mmpnet.cli.run.console_sink import ConsoleSink
from mmpnet.cli.run.detector import check_and_warm_up, show_self_test, widen_thresholds
from mmpnet.cli.run.event_outputs import EventOptions, event_options, event_sinks, with_page_store
from mmpnet.cli.run.outputs import RecordOptions, record_sinks, save_sink, serve_sinks, window_sinks
from mmpnet.cli.run.reload import Reload
from mmpnet.cli.run.secrets import check_typed, missing, references, token_of, typed_events
from mmpnet.cli.run.service_unit import SECRETS_FILE, needed_secrets, service_unit, this_program
from mmpnet.cli.run.settings import RunSettings
from mmpnet.cli.run.site_file import CameraSettings
from mmpnet.cli.run.site_options import (
    cameras_and_model,
    config_text,
    referring_texts,
    refuse_literal_secrets,
    require_secrets,
    site_check,
    site_shapes,
)
from mmpnet.console.command import console
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer, analyzer_factory
from mmpnet.runtime.analytics.tracker import Tracker
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.options import Blur, RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.recordings.presence_recorder import RecordTimes
from mmpnet.runtime.recordings.retention import parse_keep
from mmpnet.runtime.sinks.crops import CropSink
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sinks.service import ServiceSink
from mmpnet.runtime.sinks.video import SaveSink
from mmpnet.runtime.sources.files import FileSource
from mmpnet.runtime.sources.frame import Frame, Source
from mmpnet.runtime.sources.length import stated_frames
from mmpnet.runtime.sources.open import open_source
from mmpnet.runtime.sources.options import CameraMode, LiveOptions
from mmpnet.runtime.sources.video_capture import silence_opencv
from mmpnet.runtime.web.sink import Past
from mmpnet.system.service_manager import is_managed, notify
from mmpnet.system.signals import InterruptedRunError, stop_on_signal

P = ParamSpec("P")
Value = TypeVar("Value")
SHOWN_IMAGES = 8


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Everything that a run needs before its outputs open: nothing was written yet."""

    sources: Sequence[Source]
    happenings: EventOptions
    recorded: RecordOptions | None
    detector: Detector
    analyses: Sequence[Analysis]
    """What to look for in each source; empty if nobody is followed."""


def self_test(context: typer.Context, words: Sequence[str], settings: RunSettings) -> None:
    """Check that the model gives the same detections here as when it was exported.

    Raises: typer.BadParameter, MmpnetError.
    """
    silence_opencv()
    _check_given(context, words, settings)
    model, named = model_and_sources(words)
    if named:
        raise typer.BadParameter(f"--self-test generates its own frame; leave {named[0]} out")
    flags = settings.detector
    show_self_test(Detector(model, provider=flags.provider, threads=flags.threads))


def print_config(context: typer.Context, words: Sequence[str], settings: RunSettings) -> None:
    """Print the command line as a file of --config. Raises: typer.BadParameter, MmpnetError."""
    silence_opencv()
    _check_given(context, words, settings)
    cameras, model = _cameras_and_model(context, words, settings)
    text = config_text(context, cameras, model)
    sys.stdout.write(text)
    if names := references(text):
        console().print(f"the file has no secret; set {', '.join(names)} in the environment, or NAME_FILE to a file")


def start(context: typer.Context, words: Sequence[str], settings: RunSettings) -> None:
    """Run until the sources end or a signal comes, or print the unit of --print-service.

    Raises: typer.BadParameter, MmpnetError.
    """
    silence_opencv()
    if settings.service.print_service:
        refuse_literal_secrets(context)
    else:
        require_secrets(context)
    given = _check_given(context, words, settings)
    cameras, model = _cameras_and_model(context, words, settings)
    recorded = _record_options(settings)
    if settings.service.print_service:
        # The secrets of the service need not be in the environment of whoever prints its unit.
        known = [camera for camera in cameras if not missing(camera.source)]
        if known or not cameras:
            check_effects(given, _open_sources(known, settings))
        unit, page = service_unit(sys.argv[1:], program=this_program()), settings.page
        has_token = page.token is not None or page.token_file is not None
        needed = needed_secrets(referring_texts(context, cameras), serve=page.serve, has_token=has_token)
        sys.stdout.write(unit)
        if needed:
            names = " and ".join(f"{name}=..." for name in needed)
            console().print(
                f"note: write {names} to {SECRETS_FILE} before the service starts; the first lines of the unit say how"
            )
        return
    sources = _open_sources(cameras, settings)
    check_effects(given, sources)
    happenings = event_options(typed_events(given_flags(context, "COMMANDLINE"), settings.events))
    prepared = _prepared(model, cameras, sources, (happenings, recorded), settings)
    options = _run_options(prepared, settings)
    past = Past(prepared.happenings.store, settings.recordings.record, site_shapes(context))
    stop = threading.Event()
    with ExitStack() as opened:
        sinks, detector = _outputs(prepared, settings, past, stop, opened)
        opened.pop_all()  # from here on, the run closes them
    _run_until_stopped(sources, detector, sinks, options, stop, Reload(site_check(context)))
    if stop.is_set() and not any(one.live for one in sources) and not settings.sources.loop:
        raise InterruptedRunError("stopped before the end of the files")


def _check_given(context: typer.Context, words: Sequence[str], settings: RunSettings) -> frozenset[str]:
    """The flags that were given, after the checks that need no source."""
    given, typed = given_flags(context), given_flags(context, "COMMANDLINE")
    check_flags(given)
    check_typed(typed, [*words, *settings.sources.source], settings.events)
    return given


def _cameras_and_model(
    context: typer.Context, words: Sequence[str], settings: RunSettings
) -> tuple[list[CameraSettings], str | None]:
    model, named = model_and_sources(words)
    typed = [*named, *map(str, settings.sources.camera), *settings.sources.source]
    flags = settings.counting
    return cameras_and_model(context, typed, ShapeTexts(flags.line, flags.zone, flags.mask), model)


def _record_options(settings: RunSettings) -> RecordOptions | None:
    """What --record and its options say; they are checked even without it."""
    flags = settings.recordings
    times = RecordTimes(flags.record_before, flags.record_after, flags.segment)
    kept = _checked(parse_keep, flags.keep)
    return RecordOptions(flags.record, times, kept) if flags.record is not None else None


def _open_sources(cameras: Sequence[CameraSettings], settings: RunSettings) -> list[Source]:
    """Open cameras and sources in the order given. Raises: typer.BadParameter if there are none."""
    flags = settings.streams
    mode = _checked(CameraMode, width=flags.width, height=flags.height, fps=flags.fps, fourcc=flags.fourcc)
    live = LiveOptions(mode, flags.reconnect, flags.stale_after, flags.first_frame)
    if not cameras:
        raise typer.BadParameter("no source; give --camera INDEX or --source FILE, FOLDER, PATTERN or ADDRESS")
    # One of several sources that is not available yet must not stop the others.
    if live.reconnect is None and len(cameras) > 1:
        live = dataclasses.replace(live, reconnect=True)
    stride, loop = settings.sources.vid_stride, settings.sources.loop
    cameras = [with_secrets(camera) for camera in cameras]
    opened = [open_source(one.source, name=one.name, stride=stride, loop=loop, live=live) for one in cameras]
    for left_out in (source.left_out for source in opened if isinstance(source, FileSource)):
        if left_out:
            console().print(left_out)
    return opened


def _prepared(
    model: str | None,
    cameras: Sequence[CameraSettings],
    sources: Sequence[Source],
    kept: tuple[EventOptions, RecordOptions | None],
    settings: RunSettings,
) -> _Prepared:
    """Check the outputs and load the model; kept: what is kept of events and people.

    Raises: typer.BadParameter, MmpnetError.
    """
    outputs, flags, (happenings, recorded) = settings.outputs, settings.detector, kept
    classes = settings.counting.classes
    follows = settings.counting.track or happenings or recorded is not None or classes is not None
    wanted = bool(follows or any(map(is_special, cameras)))
    is_live = any(one.live for one in sources)
    if settings.page.serve is not None and wanted and is_live:
        happenings = with_page_store(happenings)
    check_outputs(sources, happenings, outputs, record=settings.recordings.record)
    detector = Detector(model, provider=flags.provider, threads=flags.threads, spin=not is_live)
    chosen = override_thresholds(detector.thresholds, flags.conf, flags.iou, flags.max_det)
    analyses = analyses_of(cameras, chosen, detector.class_names, classes)
    detector = detector.with_thresholds(chosen)
    return _Prepared(sources, happenings, recorded, detector, analyses if wanted else ())


def _outputs(
    prepared: _Prepared, settings: RunSettings, past: Past, stop: threading.Event, opened: ExitStack
) -> tuple[list[Sink], Detector]:
    """Open all outputs, and warm up the detector of the run. opened: closes them if a later one fails."""
    sources, detector, stale_after_s = prepared.sources, prepared.detector, settings.streams.stale_after
    page, names = settings.page, detector.class_names
    sinks: list[Sink] = [ConsoleSink(console(), names, _totals(sources, settings))]

    def add(new: Sequence[Sink]) -> None:
        sinks.extend(new)
        for sink in new:
            opened.callback(sink.close)

    if prepared.happenings:  # before the page, which reads the store
        add(event_sinks(prepared.happenings, sources, prepared.analyses, stale_after_s=stale_after_s, stop=stop))
    if page.serve is not None:
        provider = settings.detector.provider
        add(serve_sinks(page.serve, token_of(page), detector, provider, stale_after_s, past, page.embed_in))
    if prepared.analyses or settings.outputs.blur:
        detector = widen_thresholds(detector, blur=settings.outputs.blur)
    check_and_warm_up(detector)
    add(_data_sinks(settings, sources, names, stop))
    if prepared.recorded is not None:
        add(record_sinks(prepared.recorded, names, blur=settings.outputs.blur))
    if settings.outputs.save is not None:
        add([save_sink(settings.outputs.save, sources, stale_after_s, settings.recordings.segment)])
    if is_managed():
        add([ServiceSink()])
    if settings.outputs.show:
        add(window_sinks(only=len(sinks) == 1))
    return sinks, detector


def _run_options(prepared: _Prepared, settings: RunSettings) -> RunOptions:
    chosen = prepared.detector.thresholds
    options = RunOptions(
        remember=SHOWN_IMAGES,
        limit=settings.sources.limit,
        max_age_ms=settings.streams.max_age_ms,
        stale_after_s=settings.streams.stale_after,
        analyzer=_analyzer_factory(prepared.analyses) if prepared.analyses else None,
    )
    return _pixelating(options, chosen) if settings.outputs.blur else options


def _totals(sources: Sequence[Source], settings: RunSettings) -> list[int | None]:
    """Number of frames of each source, for the progress bars on a terminal; None for those without an end."""
    limit = settings.sources.limit
    if settings.sources.loop or not console().is_terminal:
        return [None] * len(sources)
    totals = [stated_frames(one.paths, stride=one.stride) if isinstance(one, FileSource) else None for one in sources]
    return [min(total, limit) if total and limit and len(sources) == 1 else total for total in totals]


def _run_until_stopped(
    sources: Sequence[Source],
    detector: Detector,
    sinks: Sequence[Sink],
    options: RunOptions,
    stop: threading.Event,
    reload: Reload,
) -> None:
    """Run until the sources end or a signal sets `stop`, and name the files that were saved."""
    height_px, width_px = detector.metadata.input.size_hw
    console().print(f"{detector.path.name} {height_px}x{width_px} on {detector.provider}")
    try:
        with stop_on_signal(stop, reload=reload if is_managed() else None):
            run(sources, detector, sinks, options, stop=stop)
    finally:
        if not reload.requested.is_set():  # after STOPPING, the manager would end a run that reloads
            notify("STOPPING=1")
        for path in (path for sink in sinks if isinstance(sink, SaveSink) for path in sink.written):
            console().print(f"saved {path}")
    reload.start_again()


def _pixelating(options: RunOptions, chosen: Thresholds) -> RunOptions:
    """The options with pixelation of everything that is found, also of what is not shown."""
    return dataclasses.replace(options, blur=Blur(most_shown=chosen.max_det), shown_conf=chosen.conf)


def _analyzer_factory(analyses: Sequence[Analysis]) -> Callable[[Frame], StreamAnalyzer]:
    Tracker(frame_rate=1.0)  # imports its packages now, before the run; reports if they are missing
    return analyzer_factory(analyses)


def _data_sinks(
    settings: RunSettings, sources: Sequence[Source], class_names: Sequence[str], stop: threading.Event
) -> list[Sink]:
    sinks: list[Sink] = []
    ndjson, save_crops = settings.outputs.ndjson, settings.outputs.save_crops
    if ndjson is not None:
        paths: list[Path] = [path for frames in sources for path in frames.paths]
        sinks.append(NdjsonSink(ndjson, class_names, sources=paths, stop=stop, notify=console().print))
    if save_crops is not None:
        sinks.append(CropSink(save_crops, class_names))
    return sinks


def _checked(make: Callable[P, Value], *args: P.args, **kwargs: P.kwargs) -> Value:
    """The result of `make`; its ValueError becomes typer.BadParameter."""
    try:
        return make(*args, **kwargs)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
