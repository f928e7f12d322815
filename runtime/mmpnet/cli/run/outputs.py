"""Create the sinks that the options of mmp-run request."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.console.command import console
from mmpnet.media.window_probe import why_no_window
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.providers import Provider
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.recordings.presence_recorder import RecordTimes
from mmpnet.runtime.recordings.retention import Keep
from mmpnet.runtime.sinks.record import RecordSink
from mmpnet.runtime.sinks.video import SaveSink, is_many
from mmpnet.runtime.sinks.window import WindowSink
from mmpnet.runtime.sources.frame import Source
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import Past, ServeSink


def save_sink(out: Path, sources: Sequence[Source], stale_after_s: float, segment_s: float) -> SaveSink:
    """The sink for annotated images and videos of these sources; of live ones, in segments."""
    if out.suffix.lower() in (".mp4", ".mov") and any(source.live for source in sources):
        console().print(f"{out}: is not readable if this program is killed before the end; an .mkv is")
    sources_paths = [path for source in sources for path in source.paths]
    many = is_many(out, sources)
    return SaveSink(out, many_files=many, sources=sources_paths, stale_after_s=stale_after_s, segment_s=segment_s)


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Where to record, how long before and after somebody is seen, and what to keep."""

    folder: Path
    times: RecordTimes
    keep: Keep


def record_sinks(options: RecordOptions, class_names: Sequence[str], *, blur: bool) -> list[Sink]:
    """Clips of people, and the best image of each of them unless they are pixelated."""
    return [RecordSink(options.folder, class_names, times=options.times, keep=options.keep, crops=not blur)]


def window_sinks(*, only: bool) -> list[Sink]:
    """A window per source, if there is a display; `only` tells that there is no other output."""
    reason = why_no_window()
    if reason is None:
        return [WindowSink(notify=console().print)]
    console().print(f"no window: {reason}{'; use --save, --json or --serve to see results' if only else ''}")
    return []


def serve_sinks(
    address: str,
    token: str | None,
    detector: Detector,
    asked: Provider,
    stale_after_s: float,
    past: Past,
    embed_in: Sequence[str] = (),
) -> list[Sink]:
    """A web page at HOST:PORT, which accepts connections at once. past: what it shows beside the run. embed_in:
    origins whose pages may show it in a frame.

    Raises: OutputError if it cannot listen there or must not, MissingExtraError without the [serve] extra.
    """
    model = ServedModel(detector.path.stem, detector.class_names, asked, detector.provider)
    sink = ServeSink(address, model, token=token, stale_after_s=stale_after_s, past=past, embed_in=embed_in)
    console().print(f"serving {sink.url}")
    # The token belongs on the user's screen, but in no log.
    if sink.phone_url is not None and console().is_terminal:
        show_on_phone(sink.phone_url)
    return [sink]


def show_on_phone(url: str) -> None:
    """Print the address that a phone opens, and its QR code."""
    console().print(f"on a phone in this network: {url}")
    try:
        import segno
    except ModuleNotFoundError:  # an older [serve] extra
        return
    code = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(out=code, compact=True, border=2)
    console().file.write(code.getvalue())
