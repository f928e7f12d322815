"""The detection stage of the pipeline, in its own thread."""

import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mmpnet.contract.arrays import IntArray
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.options import Analyzer, RunOptions
from mmpnet.runtime.sources.frame import Frame
from mmpnet.runtime.sources.frame_grabber import TICK_S, FrameGrabber


@dataclass(frozen=True, slots=True)
class Found:
    """One frame with what was found in it."""

    frame: Frame
    detections: Detections
    everything: Detections
    """What the detector gave, where `detections` leaves out the unlikely."""
    times: StageTimes
    track_ids: IntArray | None = None
    counts: dict[str, Any] | None = None
    analyzer: Analyzer | None = None
    track_ms: float = 0.0


class DetectStage:
    """The thread that detects. Its error, if it has one, is raised by `next`, or else at the end of the `with`."""

    def __init__(self, grabber: FrameGrabber, detector: Detector, options: RunOptions) -> None:
        self._grabber = grabber
        self._detector = detector
        self._options = options
        self._followers: dict[int, tuple[str, Analyzer]] = {}
        self._out: queue.Queue[Found] = queue.Queue(maxsize=1)
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
        """Whether nothing more will come."""
        return not self._thread.is_alive() and self._out.empty()

    def next(self, timeout_s: float) -> Found | None:
        """The next frame with what was found, or None where there is none for so long."""
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
                if frame is not None:
                    found = self._detect(frame)
                    if found is not None:
                        self._hand_on(found)
        except BaseException as error:  # noqa: BLE001 - the run's thread raises it
            self._error = error

    def _detect(self, frame: Frame) -> Found | None:
        if self.too_late(frame):
            return None
        detections, times = self._detector.timed(frame.pixels_bgr)
        if self.too_late(frame):
            return None
        everything, shown_conf = detections, self._options.shown_conf
        if self._options.analyzer is None:
            if shown_conf is not None:
                detections = everything[everything.score >= shown_conf]
            return Found(frame, detections, everything, times)
        began_s = time.perf_counter()
        source, analyzer = self._followers.get(frame.stream, ("", None))
        try:
            if analyzer is None or source != frame.source:
                analyzer = self._options.analyzer(frame)
                self._followers[frame.stream] = frame.source, analyzer
            detections, ids, people = analyzer.analyze(frame, detections)
        except MmpnetError as error:  # it is this source's alone
            self._grabber.drop(frame.stream, error)
            return None
        track_ms = (time.perf_counter() - began_s) * 1e3
        return Found(frame, detections, everything, times, ids, people, analyzer, track_ms)

    def too_late(self, frame: Frame) -> bool:
        """Whether a live frame is older than is wanted; if so, it is counted."""
        limit, counts = self._options.max_age_ms, self._grabber.counts[frame.stream]
        late = limit is not None and counts.live and frame.age_ms() > limit
        counts.late += late
        return late

    def _hand_on(self, found: Found) -> None:
        while not self._stop.is_set():
            try:
                self._out.put(found, timeout=TICK_S)
            except queue.Full:
                continue
            return
