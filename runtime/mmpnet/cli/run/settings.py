"""The options of mmp-run, in the sections of its help; the flags are made from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mmpnet.console.help import OTHER_GROUP
from mmpnet.console.log import LogLevel
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.sources.options import FIRST_FRAME_S, STALE_AFTER_S

CameraIndex = Annotated[int, Meta(ge=0, le=999)]
_Section = TypeVar("_Section", bound=msgspec.Struct)


class SourceFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Where frames come from, and how many of them."""

    camera: Annotated[tuple[CameraIndex, ...], Meta(description="OpenCV camera index. May be repeated.")] = ()
    source: Annotated[
        tuple[str, ...],
        Meta(
            description="[NAME=]SOURCE: image, video, folder, glob pattern, device or stream address. May be repeated."
        ),
    ] = ()
    vid_stride: Annotated[int, Meta(ge=1, description="Use every N-th frame only.")] = 1
    loop: Annotated[bool, Meta(description="Repeat file sources endlessly.")] = False
    limit: Annotated[int | None, Meta(ge=1, description="Stop after this number of frames.")] = None


class StreamFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How cameras and streams are read."""

    width: Annotated[int | None, Meta(ge=1, description="Requested frame width in px.")] = None
    height: Annotated[int | None, Meta(ge=1, description="Requested frame height in px.")] = None
    fps: Annotated[float | None, Meta(ge=0.1, description="Requested frame rate.")] = None
    fourcc: Annotated[str | None, Meta(description="Requested pixel format of the camera, such as MJPG.")] = None
    max_age_ms: Annotated[float | None, Meta(ge=1, description="Skip and count frames older than this.")] = None
    stale_after: Annotated[
        float, Meta(ge=0.1, description="Seconds without a new image after which a source is stale.")
    ] = STALE_AFTER_S
    first_frame: Annotated[
        float, Meta(ge=1, description="Seconds within which a stream must give its first frame.")
    ] = FIRST_FRAME_S
    reconnect: Annotated[
        bool | None, Meta(description="Reopen a lost source until it works; default: only if it has worked before.")
    ] = None


class DetectorFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How the model runs, and which boxes are kept."""

    conf: Annotated[
        float | None, Meta(ge=0, le=1, description="Lowest score of the boxes to keep; default: the model's own.")
    ] = None
    iou: Annotated[float | None, Meta(ge=0, le=1, description="IoU threshold of NMS; default: the model's own.")] = None
    max_det: Annotated[
        int | None, Meta(ge=1, description="Maximum number of boxes per frame; default: the model's own.")
    ] = None
    provider: Annotated[
        Provider, Meta(description="Execution provider; auto uses CUDA if it starts, otherwise the CPU.")
    ] = "auto"
    threads: Annotated[int, Meta(ge=0, le=1024, description="Inference threads; 0 lets ONNX Runtime choose.")] = 0


class OutputFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Where boxes and frames go."""

    save: Annotated[
        Path | None,
        Meta(description="Write annotated images or videos to this file, or to this folder if there are several."),
    ] = None
    save_crops: Annotated[Path | None, Meta(description="Write an image of each detected object to this folder.")] = (
        None
    )
    ndjson: Annotated[
        str | None,
        Meta(description="Write one JSON line per frame to this file; - is stdout.", extra={"flag": "json"}),
    ] = None
    show: Annotated[bool, Meta(description="Open a window if there is a display.")] = True
    blur: Annotated[bool, Meta(description="Pixelate every detected person in all outputs.")] = False


class RecordingFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Clips of people."""

    record: Annotated[
        Path | None,
        Meta(description="Record clips to this folder while somebody is there, and the best image of each person."),
    ] = None
    record_before: Annotated[float, Meta(ge=0, le=60, description="Seconds before somebody is seen.")] = 5.0
    record_after: Annotated[float, Meta(ge=0, le=600, description="Seconds after nobody is seen.")] = 5.0
    segment: Annotated[float, Meta(ge=1, description="Longest file in seconds; then the next begins.")] = 600.0
    keep: Annotated[
        tuple[str, ...],
        Meta(description="Delete recordings that are older, such as 14d, or more, such as 20GB. May be given twice."),
    ] = ()


class CountingFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Who is followed, and what is counted."""

    track: Annotated[bool, Meta(description="Track people: give each person a number that does not change.")] = False
    line: Annotated[
        tuple[str, ...],
        Meta(description="[[CAMERA/]NAME=]X1,Y1,X2,Y2 in px or %: count people who cross this line."),
    ] = ()
    zone: Annotated[
        tuple[str, ...], Meta(description="[[CAMERA/]NAME=]X1,Y1,X2,Y2,X3,Y3,...: count people in this zone.")
    ] = ()
    mask: Annotated[
        tuple[str, ...], Meta(description="[[CAMERA/]NAME=]X1,Y1,X2,Y2,X3,Y3,...: ignore who stands in this area.")
    ] = ()
    classes: Annotated[str | None, Meta(description="Only these classes, separated by commas.")] = None


class EventFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go."""

    events: Annotated[
        str | None,
        Meta(
            description="Write one JSON line per event (appeared, gone, entered, left, crossed, stale, back) to this "
            "file; - is stdout."
        ),
    ] = None
    store: Annotated[Path | None, Meta(description="Keep events with snapshots in this SQLite file.")] = None
    keep_events: Annotated[
        tuple[str, ...],
        Meta(
            description="Delete events that are older, such as 30d, or more, such as 1GB (the defaults). May be given "
            "twice."
        ),
    ] = ()
    mqtt: Annotated[
        str | None,
        Meta(
            description="Publish events and states at mqtt[s]://[USER@]HOST[:PORT][/PREFIX]; the password is read from "
            "MMPNET_MQTT_PASSWORD, or from the file that MMPNET_MQTT_PASSWORD_FILE names."
        ),
    ] = None
    mqtt_password: Annotated[str | None, Meta(extra={"hidden": True})] = None
    mqtt_ca: Annotated[
        Path | None, Meta(description="PEM file of the authority that signed the broker's certificate.")
    ] = None
    webhook: Annotated[
        str | None, Meta(description="Post events to this address, signed with MMPNET_WEBHOOK_SECRET.")
    ] = None
    webhook_secret: Annotated[str | None, Meta(extra={"hidden": True})] = None


class PageFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The web page."""

    serve: Annotated[
        str | None,
        Meta(description="Serve a web page at HOST:PORT, such as 127.0.0.1:8000.", extra={"envvar": "MMPNET_SERVE"}),
    ] = None
    token: Annotated[
        str | None,
        Meta(
            description="Access token for the web page. Others can read it in the list of processes; better use "
            "--token-file, MMPNET_TOKEN, or MMPNET_TOKEN_FILE."
        ),
    ] = None
    token_file: Annotated[Path | None, Meta(description="File that contains the access token.")] = None
    embed_in: Annotated[
        tuple[str, ...],
        Meta(description="Let pages of this origin show the page in a frame, as https://HOST:PORT. May be repeated."),
    ] = ()


class ServiceFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How the run behaves as a service."""

    log_level: Annotated[LogLevel, Meta(description="Print messages from this level on.")] = "info"
    print_service: Annotated[bool, Meta(description="Print a systemd unit for this command line, and exit.")] = False


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "Sources": SourceFlags,
    "Cameras and streams": StreamFlags,
    "Outputs": OutputFlags,
    "Recordings": RecordingFlags,
    "Counting": CountingFlags,
    "Events": EventFlags,
    "Web page": PageFlags,
    "Service": ServiceFlags,
    OTHER_GROUP: DetectorFlags,
}
"""The sections by their titles in the help."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """All options of one run."""

    sources: SourceFlags
    streams: StreamFlags
    outputs: OutputFlags
    recordings: RecordingFlags
    counting: CountingFlags
    events: EventFlags
    page: PageFlags
    service: ServiceFlags
    detector: DetectorFlags


def run_settings(options: Mapping[str, Any]) -> RunSettings:
    """The settings from the values of all options, by the names of their fields."""

    def section(kind: type[_Section]) -> _Section:
        return kind(**{name: options[name] for name in kind.__struct_fields__})

    return RunSettings(
        section(SourceFlags),
        section(StreamFlags),
        section(OutputFlags),
        section(RecordingFlags),
        section(CountingFlags),
        section(EventFlags),
        section(PageFlags),
        section(ServiceFlags),
        section(DetectorFlags),
    )
