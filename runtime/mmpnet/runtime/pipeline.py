"""One run: frames from sources through a detector into sinks, in overlapping stages, every stage timed.

Every source is grabbed in a thread of its own, a second one detects, and the caller's draws and writes: windows need
the main thread. Between two threads there is room for one frame, so that a slow stage holds the ones before it up: from
a file nothing is lost, from a live source only frames that nobody had looked at.
"""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from mmpnet.runtime.detecting import Detecting
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.exchange import TICK_S, FrameExchange
from mmpnet.runtime.frames import Event, Source
from mmpnet.runtime.options import PLAIN, RunOptions
from mmpnet.runtime.painting import Painter
from mmpnet.runtime.sinks import Sink
from mmpnet.runtime.summary import Summary
from mmpnet.runtime.timing import CpuClock


def run(
    sources: Source | Sequence[Source],
    detector: Detector,
    sinks: Sequence[Sink],
    options: RunOptions = PLAIN,
    *,
    stop: threading.Event | None = None,
) -> Summary:
    """Detect in every frame until the sources end, `stop` is set, Ctrl-C, or a sink asks for it; sinks are closed
    whatever happens.

    A source that fails does not stop the others. Raises: SourceError of the first that failed, once all have ended, or
    OutputError, after the sinks have been closed.
    """
    chosen = list(sources) if isinstance(sources, Sequence) else [sources]
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        clock = CpuClock()
        with (
            FrameExchange(chosen, events.put, stale_after_s=options.stale_after_s) as exchange,
            Detecting(exchange, detector, options) as detecting,
        ):
            summary = Summary(sources=exchange.counts)
            for sink in sinks:
                sink.started(summary)
            # Ctrl-C is how a run without a window ends: what was found so far is finished and summed up.
            with suppress(KeyboardInterrupt):
                _deliver(detecting, events, sinks, summary, options, stop or threading.Event(), detector.class_names)
        summary.cpu_percent = clock.percent()
        _tell(events, sinks)
        for sink in sinks:
            sink.finished(summary)
        for error in exchange.errors:
            raise error
    return summary


def _deliver(
    detecting: Detecting,
    events: "queue.SimpleQueue[Event]",
    sinks: Sequence[Sink],
    summary: Summary,
    options: RunOptions,
    stop: threading.Event,
    class_names: Sequence[str],
) -> None:
    """Hand results and events to the sinks until there are no more of them."""
    painter = Painter(class_names, options.blur)
    while not stop.is_set():
        _tell(events, sinks)
        if any(sink.holding for sink in sinks):
            time.sleep(0.005)
            found = None
        else:
            found = detecting.next(TICK_S)
        if found is None:
            going_on = [sink.idle() for sink in sinks]
            if not all(going_on) or detecting.done:
                return
            continue
        began_s = time.perf_counter()
        result, annotated = painter.paint(found, summary.frames, wanted=any(sink.wants_picture for sink in sinks))
        painted_s = time.perf_counter()
        summary.record(result, options.remember)
        wanted = [sink.write(result, annotated) for sink in sinks]
        summary.times_ms["render"].append((painted_s - began_s) * 1e3)
        summary.times_ms["write"].append((time.perf_counter() - painted_s) * 1e3)
        if found.track_ms:
            summary.times_ms["track"].append(found.track_ms)
        if not all(wanted) or summary.frames == options.limit:
            return


def _tell(events: "queue.SimpleQueue[Event]", sinks: Sequence[Sink]) -> None:
    with suppress(queue.Empty):
        while True:
            event = events.get_nowait()
            for sink in sinks:
                sink.event(event)
