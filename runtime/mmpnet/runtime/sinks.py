"""Where results go: what every sink is, and NDJSON."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mmpnet.contract.arrays import IntArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.detector import StageTimes
from mmpnet.runtime.frames import Event, Frame

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

    The file is opened with the first frame or, where sources are waited for, once one of them is; a run that fails
    before that destroys nothing.
    """

    def __init__(self, target: str, class_names: Sequence[str], *, sources: Sequence[Path] = ()) -> None:
        if target != "-" and Path(target).resolve() in {source.resolve() for source in sources}:
            raise OutputError(f"--json {target}: is itself a source; choose another name")
        self._target = target
        self._class_names = class_names
        self._file: IO[str] | None = None
        self._waiting: list[dict[str, Any]] = []
        self._gone = False

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        return self._append(result_as_dict(result, self._class_names))

    def event(self, event: Event) -> None:
        line = event_as_dict(event)
        if self._file is None and event.kind != "reconnecting":
            self._waiting.append(line)
        else:
            self._append(line)

    def idle(self) -> bool:
        return not self._gone

    def finished(self, summary: "Summary") -> None:
        # Of files there is a line per frame and nothing else, as there always was.
        if summary.live and (self._file is not None or any(counts.captured for counts in summary.sources)):
            self._append({"event": "summary", **summary.facts()})

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stdout:
            # What could not be written is still in its buffer, and would fail again.
            with suppress(OSError):
                self._file.close()

    def _open(self) -> IO[str]:
        return sys.stdout if self._target == "-" else Path(self._target).open("w", encoding="utf-8")

    def _append(self, line: dict[str, Any]) -> bool:
        if self._gone:
            return False
        lines, self._waiting = [*self._waiting, line], []
        try:
            if self._file is None:
                self._file = self._open()
            for entry in lines:
                self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except BrokenPipeError:
            # The reader has seen enough, as in `mmp-run --json - | head`.
            self._gone = True
            if self._target == "-":  # Python would complain again at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
