"""Where results go: what every sink is, and NDJSON."""

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpnet.contract.arrays import IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.command import people
from mmpnet.runtime.detector import StageTimes
from mmpnet.runtime.frames import Event, Frame
from mmpnet.runtime.ndjson_output import LineOutput, check_ndjson, destroys_nothing, open_ndjson

if TYPE_CHECKING:
    from mmpnet.runtime.summary import Summary


@dataclass(frozen=True, slots=True)
class Result:
    """One frame with what was found in it; index counts the frames of the run from 0."""

    index: int
    frame: Frame
    detections: Detections
    times: StageTimes
    age_ms: float
    """Of the frame, when its result was handed to the sinks."""
    track_ids: IntArray | None = None
    """(N,), one per detection, -1 where there is none yet; None in a run that does not track."""
    counts: Mapping[str, Any] | None = None
    """People counted by line and zone so far."""


class Sink:
    """Takes results one by one; close makes them final. All of it happens in the thread that runs the run."""

    wants_picture = False
    """Whether `write` needs the annotated frame now."""
    holding = False
    """Whether the run waits before its next frame, as a window with a picture does."""

    def started(self, summary: "Summary") -> None:
        """The run begins; its numbers change from now on, by other threads too."""

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        """Take one result; False asks the run to end. The annotated frame is painted over after the call."""
        raise NotImplementedError

    def event(self, event: Event) -> None:
        """Something happened to a live source."""

    def idle(self) -> bool:
        """Called where there is no result for a while, and while a sink is holding; False asks the run to end."""
        return True

    def finished(self, summary: "Summary") -> None:
        """The run has ended, well or not; nothing changes its numbers any more."""

    def close(self) -> None:
        """Finish what was written. Raises: OutputError if it cannot be read back."""


class NdjsonSink(Sink):
    """One JSON object per frame, flushed at once; live sources' events and their run's summary have the key `event`.

    A file is opened with the first frame or, where sources are waited for, once one of them is; a run that fails
    before that destroys nothing. Stdout, pipes and devices are told everything from the first event on. A reader that
    sleeps is waited for, but once `stop` is set for two seconds only.

    Raises: OutputError if the target is no place to write to, or one of the sources.
    """

    def __init__(
        self,
        target: str,
        class_names: Sequence[str],
        *,
        sources: Sequence[Path] = (),
        stop: threading.Event | None = None,
    ) -> None:
        check_ndjson(target, sources)
        self._target = target
        self._class_names = class_names
        self._stop = stop or threading.Event()
        self._file: LineOutput | None = None
        self._at_once = destroys_nothing(target)
        self._waiting: list[dict[str, Any]] = []
        self._gone = False

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        return self._append(result_as_dict(result, self._class_names))

    def event(self, event: Event) -> None:
        line = event_as_dict(event)
        if self._file is None and event.kind != "reconnecting" and not self._at_once:
            self._waiting.append(line)
        else:
            self._append(line)

    def idle(self) -> bool:
        return not self._gone

    def finished(self, summary: "Summary") -> None:
        # Of files there is a line per frame and nothing else, as there always was.
        begun = self._at_once or self._file is not None or any(counts.captured for counts in summary.sources)
        if summary.live and begun:
            self._append({"event": "summary", **summary.facts()})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, line: dict[str, Any]) -> bool:
        if self._gone:
            return False
        lines, self._waiting = [*self._waiting, line], []
        try:
            if self._file is None:
                self._file = open_ndjson(self._target, self._stop)
            for entry in lines:
                self._file.write(json.dumps(entry) + "\n")
        except BrokenPipeError:
            # The reader has seen enough, as in `mmp-run --json - | head`.
            self._gone = True
            if self._target == "-":  # Python would complain again at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except TimeoutError as error:
            self._gone = True
            people().print(f"--json {self._target}: {error.strerror}; the last lines are lost")
        except OSError as error:
            raise OutputError(f"{self._target}: NDJSON cannot be written ({error.strerror})") from error
        return not self._gone


def event_as_dict(event: Event) -> dict[str, Any]:
    """One NDJSON object of something that happened to a source."""
    line = {"event": event.kind, "source": event.source, "at": _utc(event.at)}
    if event.reason:
        line["reason"] = event.reason
    return line


def result_as_dict(result: Result, class_names: Sequence[str]) -> dict[str, Any]:
    """One NDJSON object; coordinates in px of the source frame, times in ms."""
    detections, frame = result.detections, result.frame
    found: list[dict[str, Any]] = [
        {
            "xyxy": [round(value, 2) for value in xyxy],
            "score": round(score, 4),
            "class_id": class_id,
            "name": class_names[class_id],
        }
        for xyxy, score, class_id in zip(
            detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
        )
    ]
    if result.track_ids is not None:
        for entry, track_id in zip(found, result.track_ids.tolist(), strict=True):
            entry["track_id"] = track_id if track_id >= 0 else None
    line = {
        "frame": result.index,
        "source": frame.source,
        "source_frame": frame.index,
        "captured_at": _utc(frame.captured_at),
        "frame_age_ms": round(result.age_ms, 3),
        "width": frame.pixels_bgr.shape[1],
        "height": frame.pixels_bgr.shape[0],
        "detections": found,
        "timing_ms": {
            "preprocess": round(result.times.preprocess_ms, 3),
            "infer": round(result.times.infer_ms, 3),
            "postprocess": round(result.times.postprocess_ms, 3),
        },
    }
    if frame.frozen:
        line["stale"] = True
    if result.counts is not None:
        line["counts"] = result.counts
    return line


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
