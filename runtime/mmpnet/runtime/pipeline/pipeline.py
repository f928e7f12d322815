"""Run frames from sources through a detector into sinks, in overlapping timed stages.

Each source is read in its own thread, detection has a thread, and the caller's thread draws and writes, as windows
need the main thread. Between two threads there is room for one frame, so a slow stage blocks the stages before it:
no frame of a file is lost, and a live source loses only frames that were not processed yet.
"""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType

from mmpnet.contract.errors import OutputError, SourceError
from mmpnet.media.images import is_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.detect_stage import DetectStage
from mmpnet.runtime.pipeline.options import DEFAULT_RUN_OPTIONS, RunOptions
from mmpnet.runtime.pipeline.render_stage import RenderStage
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.sink import Sink
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame import Event, Source
from mmpnet.runtime.sources.frame_grabber import TICK_S, FrameGrabber
from mmpnet.system.timing import CpuClock

HOLDING_S = 0.005


def run(
    sources: Source | Sequence[Source],
    detector: Detector,
    sinks: Sequence[Sink],
    options: RunOptions = DEFAULT_RUN_OPTIONS,
    *,
    stop: threading.Event | None = None,
) -> Summary:
    """Detect in every frame until the sources end, `stop` is set, Ctrl-C, or a sink requests the end.

    Sinks are always closed. A source that fails does not stop the others. Raises, after the sinks are closed:
    SourceError of the first failed source, once all have ended, or OutputError. Raises at once: SourceError for an
    image if people are to be tracked.
    """
    chosen = list(sources) if isinstance(sources, Sequence) else [sources]
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        if options.analyzer is not None:
            _refuse_images(chosen)
        with FrameGrabber(chosen, events.put, stale_after_s=options.stale_after_s) as grabber:
            summary = Summary(sources=grabber.counts)
            delivery = _Delivery(sinks, events, RenderStage(detector.class_names, options.blur), summary, options)
            stack.push(delivery.finish)
            # Ctrl-C is the normal end of a run without a window: finish the results so far and summarize them.
            with DetectStage(grabber, detector, options) as detect_stage, suppress(KeyboardInterrupt):
                delivery.deliver(grabber, detect_stage, stop or threading.Event())
        for error in grabber.errors:
            raise error
    return summary


def _refuse_images(sources: Sequence[Source]) -> None:
    """Check before the run starts, by file names. Raises: SourceError for an image."""
    for path in (path for source in sources for path in source.paths):
        if is_image(path):
            raise SourceError(f"{path}: is an image; tracking people needs a camera or a video")


class _Delivery:
    """Passes results and events to the sinks."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        events: "queue.SimpleQueue[Event]",
        render_stage: RenderStage,
        summary: Summary,
        options: RunOptions,
    ) -> None:
        self._sinks = sinks
        self._events = events
        self._render_stage = render_stage
        self._summary = summary
        self._options = options
        self._clock = CpuClock()

    def deliver(self, grabber: FrameGrabber, detect_stage: DetectStage, stop: threading.Event) -> None:
        """Deliver until there are no more results, `stop` is set, or a sink requests the end."""
        for sink in self._sinks:
            sink.started(self._summary)
        while not stop.is_set():
            grabber.watch()
            self._hand_on_events()
            holding = any(sink.holding for sink in self._sinks)
            result = None if holding else detect_stage.next(TICK_S)
            if result is None:
                going_on = [sink.idle() for sink in self._sinks]
                if not all(going_on) or (detect_stage.done and not any(sink.holding for sink in self._sinks)):
                    return
                if holding:
                    time.sleep(HOLDING_S)
            elif detect_stage.is_late(result.frame):
                grabber.count_late(result.frame.stream)
            elif not self._hand_on(result):
                return

    def _hand_on(self, result: Result) -> bool:
        """Render one result and pass it to every sink; returns whether the run continues."""
        summary, times_ms = self._summary, self._summary.times_ms
        began_s = time.perf_counter()
        annotate = any(sink.wants_annotated for sink in self._sinks)
        result, annotated = self._render_stage.render(result, summary.frames, annotate=annotate)
        rendered_s = time.perf_counter()
        summary.record(result, self._options.remember)
        going_on = [sink.write(result, annotated) for sink in self._sinks]
        times_ms["render"].append((rendered_s - began_s) * 1e3)
        times_ms["write"].append((time.perf_counter() - rendered_s) * 1e3)
        if result.track_ms:
            times_ms["track"].append(result.track_ms)
        return all(going_on) and summary.frames != self._options.limit

    def finish(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Deliver the last events and the summary, however the run ended; a failing sink does not affect the others."""
        self._summary.cpu_percent = self._clock.percent()
        failed: OutputError | None = None
        last: list[Event] = []
        with suppress(queue.Empty):
            while True:
                last.append(self._events.get_nowait())
        for sink in self._sinks:
            try:
                for event in last:
                    sink.event(event)
                sink.finished(self._summary)
            except OutputError as fault:
                failed = failed or fault
        if failed is not None and error is None:
            raise failed

    def _hand_on_events(self) -> None:
        with suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                for sink in self._sinks:
                    sink.event(event)
