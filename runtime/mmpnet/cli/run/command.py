"""mmp-run: detect people in frames of cameras, streams and files."""

import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from mmpnet.cli.run.arguments import model_and_sources
from mmpnet.cli.run.cameras import ShapeTexts, analyses_of, is_special, with_secrets
from mmpnet.cli.run.checks import check_effects, check_flags, check_outputs, check_secrets, given_flags
from mmpnet.cli.run.console_sink import ConsoleSink
from mmpnet.cli.run.detector import check_and_warm_up, show_self_test, widen_thresholds
from mmpnet.cli.run.event_outputs import event_options, event_sinks, with_page_store
from mmpnet.cli.run.outputs import RecordOptions, record_sinks, save_sink, serve_sinks, window_sinks
from mmpnet.cli.run.reload import Reload
from mmpnet.cli.run.service_unit import service_unit, this_program
from mmpnet.cli.run.site_file import CameraSettings
from mmpnet.cli.run.site_options import cameras_and_model, config_text, site_check, site_shape_saver, use_site_file
from mmpnet.console.command import HELP_NAMES, console, end_with, exit_on_error, show_version
from mmpnet.console.help import helpful
from mmpnet.console.log import LogLevel, start_log
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.contract.detections import Thresholds
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer, analyzer_factory
from mmpnet.runtime.analytics.tracker import Tracker
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES
from mmpnet.runtime.inference.providers import Provider
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
from mmpnet.runtime.sources.options import FIRST_FRAME_S, STALE_AFTER_S, CameraMode, LiveOptions
from mmpnet.runtime.sources.video_capture import silence_opencv
from mmpnet.runtime.web.sink import Past
from mmpnet.system.service_manager import is_managed, notify
from mmpnet.system.signals import InterruptedRunError, stop_on_signal

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)
EXAMPLES = (
    ("mmp-run --camera 0", "open a window with the first camera"),
    ("mmp-run street.mp4 --save out.mp4", "write a video with boxes"),
    ("mmp-run --camera 0 --line door=0,60%,100%,60% --serve 127.0.0.1:8000", "count at a door, on a web page"),
)
P = ParamSpec("P")
Value = TypeVar("Value")
SHOWN_IMAGES = 8
SOURCES, CAMERAS, OUTPUTS, FOLLOWING = "Sources", "Cameras and streams", "Outputs", "Counting"
EVENTS, RECORDING, SERVING, SERVICE = "Events", "Recordings", "Web page", "Service"


@app.command(cls=helpful("--camera", "--source", "--save", "--json", "--serve", examples=EXAMPLES))
def detect(
    context: typer.Context,
    _config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            callback=use_site_file,
            is_eager=True,
            help="A TOML file with options and cameras; options on the command line replace those of the file.",
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print this command line as such a file, and exit."),
    ] = False,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [SOURCE]...",
            help=f"MODEL: an ONNX file from mmp-export, or a model of this package: {OTHER_NAMES}; default: "
            f"{DEFAULT_MODEL}. SOURCE: the same as --source; a number is a camera.",
        ),
    ] = None,
    camera: Annotated[
        list[int] | None,
        typer.Option(min=0, max=999, help="OpenCV camera index. May be repeated.", rich_help_panel=SOURCES),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]SOURCE: image, video, folder, glob pattern, device or stream address. May be repeated.",
            rich_help_panel=SOURCES,
        ),
    ] = None,
    vid_stride: Annotated[int, typer.Option(min=1, help="Use every N-th frame only.", rich_help_panel=SOURCES)] = 1,
    loop: Annotated[
        bool, typer.Option("--loop", help="Repeat file sources endlessly.", rich_help_panel=SOURCES)
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this number of frames.", rich_help_panel=SOURCES)
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Requested frame width in px.", rich_help_panel=CAMERAS)
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=1, help="Requested frame height in px.", rich_help_panel=CAMERAS)
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, help="Requested frame rate.", rich_help_panel=CAMERAS)] = None,
    fourcc: Annotated[
        str | None, typer.Option(help="Requested pixel format of the camera, such as MJPG.", rich_help_panel=CAMERAS)
    ] = None,
    max_age_ms: Annotated[
        float | None, typer.Option(min=1, help="Skip and count frames older than this.", rich_help_panel=CAMERAS)
    ] = None,
    stale_after: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds without a new image after which a source is stale.", rich_help_panel=CAMERAS
        ),
    ] = STALE_AFTER_S,
    first_frame: Annotated[
        float,
        typer.Option(min=1, help="Seconds within which a stream must give its first frame.", rich_help_panel=CAMERAS),
    ] = FIRST_FRAME_S,
    reconnect: Annotated[
        bool | None,
        typer.Option(
            "--reconnect/--no-reconnect",
            help="Reopen a lost source until it works; default: only if it has worked before.",
            rich_help_panel=CAMERAS,
        ),
    ] = None,
    conf: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score of the boxes to keep; default: the model's own.")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="IoU threshold of NMS; default: the model's own.")
    ] = None,
    max_det: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of boxes per frame; default: the model's own.")
    ] = None,
    provider: Annotated[
        Provider, typer.Option(help="Execution provider; auto uses CUDA if it starts, otherwise the CPU.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Inference threads; 0 lets ONNX Runtime choose.")] = 0,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write annotated images or videos to this file, or to this folder if there are several.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    save_crops: Annotated[
        Path | None,
        typer.Option(help="Write an image of each detected object to this folder.", rich_help_panel=OUTPUTS),
    ] = None,
    ndjson: Annotated[
        str | None,
        typer.Option(
            "--json", help="Write one JSON line per frame to this file; - is stdout.", rich_help_panel=OUTPUTS
        ),
    ] = None,
    show: Annotated[bool, typer.Option(help="Open a window if there is a display.", rich_help_panel=OUTPUTS)] = True,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Record clips to this folder while somebody is there, and the best image of each person.",
            rich_help_panel=RECORDING,
        ),
    ] = None,
    record_before: Annotated[
        float, typer.Option(min=0, max=60, help="Seconds before somebody is seen.", rich_help_panel=RECORDING)
    ] = 5.0,
    record_after: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds after nobody is seen.", rich_help_panel=RECORDING)
    ] = 5.0,
    segment: Annotated[
        float,
        typer.Option(min=1, help="Longest file in seconds; then the next begins.", rich_help_panel=RECORDING),
    ] = 600.0,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Delete recordings that are older, such as 14d, or more, such as 20GB. May be given twice.",
            rich_help_panel=RECORDING,
        ),
    ] = None,
    blur: Annotated[
        bool,
        typer.Option("--blur", help="Pixelate every detected person in all outputs.", rich_help_panel=OUTPUTS),
    ] = False,
    track: Annotated[
        bool,
        typer.Option(
            "--track", help="Track people: give each person a number that does not change.", rich_help_panel=FOLLOWING
        ),
    ] = False,
    line: Annotated[
        list[str] | None,
        typer.Option(
            help="[[CAMERA/]NAME=]X1,Y1,X2,Y2 in px or %: count people who cross this line.",
            rich_help_panel=FOLLOWING,
        ),
    ] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(
            help="[[CAMERA/]NAME=]X1,Y1,X2,Y2,X3,Y3,...: count people in this zone.", rich_help_panel=FOLLOWING
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="[[CAMERA/]NAME=]X1,Y1,X2,Y2,X3,Y3,...: ignore who stands in this area.", rich_help_panel=FOLLOWING
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Only these classes, separated by commas.", rich_help_panel=FOLLOWING),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="Write one JSON line per event (appeared, gone, entered, left, crossed, stale, back) to this file; "
            "- is stdout.",
            rich_help_panel=EVENTS,
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep events with snapshots in this SQLite file.", rich_help_panel=EVENTS)
    ] = None,
    keep_events: Annotated[
        list[str] | None,
        typer.Option(
            help="Delete events that are older, such as 30d, or more, such as 1GB (the defaults). May be given twice.",
            rich_help_panel=EVENTS,
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="Publish events and states at mqtt[s]://[USER@]HOST[:PORT][/PREFIX]; the password is read from "
            "MMPNET_MQTT_PASSWORD, or from the file that MMPNET_MQTT_PASSWORD_FILE names.",
            rich_help_panel=EVENTS,
        ),
    ] = None,
    mqtt_password: Annotated[str | None, typer.Option(hidden=True)] = None,
    mqtt_ca: Annotated[
        Path | None,
        typer.Option(help="PEM file of the authority that signed the broker's certificate.", rich_help_panel=EVENTS),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            help="Post events to this address, signed with MMPNET_WEBHOOK_SECRET.",
            rich_help_panel=EVENTS,
        ),
    ] = None,
    webhook_secret: Annotated[str | None, typer.Option(hidden=True)] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            envvar="MMPNET_SERVE",
            help="Serve a web page at HOST:PORT, such as 127.0.0.1:8000.",
            rich_help_panel=SERVING,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="MMPNET_TOKEN", help="Access token for the web page.", rich_help_panel=SERVING),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="Print messages from this level on.", rich_help_panel=SERVICE)
    ] = "info",
    print_service: Annotated[
        bool,
        typer.Option(
            "--print-service", help="Print a systemd unit for this command line, and exit.", rich_help_panel=SERVICE
        ),
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Only check that the model gives the same detections here as when it was exported."
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect people; show boxes in windows, files or a web page, or write them as NDJSON."""
    with exit_on_error():
        start_log(console(), log_level)
        given = given_flags(context)
        check_flags(given)
        check_secrets(given_flags(context, "COMMANDLINE"), mqtt)
        model, named = model_and_sources(words or ())
        if self_test and named:
            raise typer.BadParameter(f"--self-test generates its own frame; leave {named[0]} out")
        if self_test:
            show_self_test(Detector(model, provider=provider, threads=threads))
            return
        typed = [*named, *map(str, camera or ()), *(source or ())]
        texts = ShapeTexts(line or (), zone or (), mask or ())
        cameras, model = cameras_and_model(context, typed, texts, model)
        if print_config:
            sys.stdout.write(config_text(context, cameras, model))
            return
        mode = _checked(CameraMode, width=width, height=height, fps=fps, fourcc=fourcc)
        times, kept = RecordTimes(record_before, record_after, segment), _checked(parse_keep, keep or ())
        recorded = RecordOptions(record, times, kept) if record is not None else None
        live = LiveOptions(mode, reconnect, stale_after, first_frame)
        sources = _open_sources(cameras, live, stride=vid_stride, loop=loop)
        check_effects(given, sources)
        if print_service:
            sys.stdout.write(service_unit(sys.argv[1:], program=this_program()))
            return
        happenings = event_options(
            events, store, keep_events or (), (mqtt, mqtt_password, mqtt_ca), (webhook, webhook_secret)
        )
        wanted = track or happenings or record is not None or any(map(is_special, cameras)) or classes is not None
        if serve is not None and wanted and any(one.live for one in sources):
            happenings = with_page_store(happenings)
        check_outputs(sources, happenings, save=save, save_crops=save_crops, ndjson=ndjson, record=record)
        spin = not any(one.live for one in sources)
        detector = Detector(model, provider=provider, threads=threads, spin=spin)
        chosen = override_thresholds(detector.thresholds, conf, iou, max_det)
        detector = detector.with_thresholds(chosen)
        past = Past(happenings.store, record, site_shape_saver(context))
        served = serve_sinks(serve, token, detector, provider, stale_after, past) if serve is not None else []
        analyses = analyses_of(cameras, chosen, detector.class_names, classes)
        analyzer = _analyzer_factory(analyses) if wanted else None
        if analyzer is not None or blur:
            detector = widen_thresholds(detector, blur=blur)
        check_and_warm_up(detector)
        stop = threading.Event()
        sinks = [ConsoleSink(console(), detector.class_names, _totals(sources, limit, loop=loop)), *served]
        sinks += _data_sinks(ndjson, save_crops, sources, detector.class_names, stop)
        sinks += event_sinks(happenings, sources, analyses, stale_after_s=stale_after, stop=stop) if happenings else []
        sinks += record_sinks(recorded, detector.class_names, blur=blur) if recorded is not None else []
        sinks += [save_sink(save, sources, stale_after, segment)] if save is not None else []
        sinks += [ServiceSink()] if is_managed() else []
        sinks += window_sinks(only=len(sinks) == 1) if show else []
        options = RunOptions(
            remember=SHOWN_IMAGES, limit=limit, max_age_ms=max_age_ms, stale_after_s=stale_after, analyzer=analyzer
        )
        options = _pixelating(options, chosen) if blur else options
        _run_until_stopped(sources, detector, sinks, options, stop, Reload(site_check(context)))
        if stop.is_set() and spin and not loop:
            raise InterruptedRunError("stopped before the end of the files")


def _open_sources(cameras: Sequence[CameraSettings], live: LiveOptions, *, stride: int, loop: bool) -> list[Source]:
    """Open cameras and sources in the order given. Raises: typer.BadParameter if there are none."""
    if not cameras:
        raise typer.BadParameter("no source; give --camera INDEX or --source FILE, FOLDER, PATTERN or ADDRESS")
    # One of several sources that is not available yet must not stop the others.
    if live.reconnect is None and len(cameras) > 1:
        live = dataclasses.replace(live, reconnect=True)
    cameras = [with_secrets(camera) for camera in cameras]
    opened = [open_source(one.source, name=one.name, stride=stride, loop=loop, live=live) for one in cameras]
    for left_out in (source.left_out for source in opened if isinstance(source, FileSource)):
        if left_out:
            console().print(left_out)
    return opened


def _totals(sources: Sequence[Source], limit: int | None, *, loop: bool) -> list[int | None]:
    """Number of frames of each source, for the progress bars on a terminal; None for those without an end."""
    if loop or not console().is_terminal:
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
    ndjson: str | None,
    save_crops: Path | None,
    sources: Sequence[Source],
    class_names: Sequence[str],
    stop: threading.Event,
) -> list[Sink]:
    sinks: list[Sink] = []
    if ndjson is not None:
        paths = [path for frames in sources for path in frames.paths]
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


def main() -> None:
    """Entry point of mmp-run."""
    silence_opencv()
    end_with(app)
