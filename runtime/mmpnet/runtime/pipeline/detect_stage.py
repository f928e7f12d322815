"""The detection stage of the pipeline, in its own thread."""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.options import Analyzer, RunOptions
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame
from mmpnet.runtime.sources.frame_grabber import TICK_S, FrameGrabber


class DetectStage:
    """The detection thread. Its error, if any, is raised by `next` or at the end of the `with` block."""

    def __init__(self, grabber: FrameGrabber, detector: Detector, options: RunOptions) -> None:
        self._grabber = grabber
        self._detector = detector
        self._options = options
        self._analyzers: dict[int, tuple[str, Analyzer]] = {}
        self._out: queue.Queue[Result] = queue.Queue(maxsize=1)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="detect", daemon=True)

    def __enter__(self) -> "DetectStage":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    @property
    def done(self) -> bool:
        """Whether there will be no more results."""
        return not self._thread.is_alive() and self._out.empty()

    def next(self, timeout_s: float) -> Result | None:
        """The next result, or None if none arrives within `timeout_s`."""
        try:
            return self._out.get(timeout=timeout_s if self._thread.is_alive() else 0.001)
        except queue.Empty:
            if self._error is not None:
                raise self._error from None
            return None

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and not self._grabber.ended:
                frame = self._grabber.take()
                result = None if frame is None else self._detect(frame)
                if result is not None:
                    self._hand_on(result)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the run
            self._error = error

    def _detect(self, frame: Frame) -> Result | None:
        if self.is_late(frame):
            self._grabber.count_late(frame.stream)
            return None
        found, times = self._detector.timed(frame.pixels_bgr)
        if self.is_late(frame):
            self._grabber.count_late(frame.stream)
            return None
        if self._options.analyzer is not None:
            return self._analyze(frame, found, times, self._options.analyzer)
        shown_conf = self._options.shown_conf
        shown = found if shown_conf is None else found[found.score >= shown_conf]
        return Result(frame, shown, found, times)

    def _analyze(
        self, frame: Frame, found: Detections, times: StageTimes, make: Callable[[Frame], Analyzer]
    ) -> Result | None:
        began_s = time.perf_counter()
        source, analyzer = self._analyzers.get(frame.stream, ("", None))
        try:
            if analyzer is None or source != frame.source:
                analyzer = make(frame)
                self._analyzers[frame.stream] = frame.source, analyzer
            shown, tracks = analyzer.analyze(frame, found)
        except MmpnetError as error:  # affects only this source
            self._grabber.drop(frame.stream, error)
            return None
        return Result(frame, shown, found, times, tracks, track_ms=(time.perf_counter() - began_s) * 1e3)

    def is_late(self, frame: Frame) -> bool:
        """Whether a live source's frame is older than the run's `max_age_ms`."""
        limit_ms = self._options.max_age_ms
        return limit_ms is not None and self._grabber.counts[frame.stream].live and frame.age_ms() > limit_ms

    def _hand_on(self, result: Result) -> None:
        while not self._stop.is_set():
            try:
                self._out.put(result, timeout=TICK_S)
            except queue.Full:
                continue
            return
