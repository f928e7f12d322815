"""Where results go: a window, picture and video files, NDJSON."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import OutputError
from mmpnet.runtime.detector import StageTimes
from mmpnet.runtime.pictures import PICTURE_SUFFIXES, write_picture
from mmpnet.runtime.sources import Frame
from mmpnet.runtime.video import VIDEO_CODECS, VideoFile

WINDOW_TITLE = "mmpnet: q quits"
_QUIT_KEYS = frozenset({ord("q"), 27})


@dataclass(frozen=True, slots=True)
class Result:
    """One frame with what was found in it; index counts the frames of the run from 0."""

    index: int
    frame: Frame
    detections: Detections
    times: StageTimes
    age_ms: float


class Sink(Protocol):
    """Takes results one by one; close makes them final."""

    wants_picture: bool
    """Whether `write` needs the annotated frame."""

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        """Take one result; False asks the run to end."""

    def close(self) -> None:
        """Finish what was written. Raises: OutputError if it cannot be read back."""


class NdjsonSink:
    """One JSON object per frame, flushed at once; opened with the first, so that an early failure destroys nothing."""

    wants_picture = False

    def __init__(self, target: str, class_names: Sequence[str]) -> None:
        self._target = target
        self._class_names = class_names
        self._file: IO[str] | None = None

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        del annotated_bgr
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(json.dumps(result_as_dict(result, self._class_names)) + "\n")
            self._file.flush()
        except BrokenPipeError:
            # The reader has seen enough, as in `mmp-run --json - | head`; Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return False
        except OSError as error:
            raise OutputError(f"{self._target}: NDJSON cannot be written ({error.strerror})") from error
        return True

    def _open(self) -> IO[str]:
        return sys.stdout if self._target == "-" else Path(self._target).open("w", encoding="utf-8")

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stdout:
            self._file.close()


class SaveSink:
    """Annotated pictures and videos: one file for a single source, files of the same names in a folder for many."""

    wants_picture = True

    def __init__(self, out: Path, *, many_files: bool, sources: Sequence[Path] = ()) -> None:
        self._out = out
        self._many_files = many_files
        self._sources = frozenset(source.resolve() for source in sources)
        self._video: VideoFile | None = None
        self._video_source = ""
        self._taken: set[Path] = set()
        self.written: list[Path] = []

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        assert annotated_bgr is not None
        if result.frame.kind == "picture":
            path = self._path(result.frame, known=PICTURE_SUFFIXES, default=".jpg")
            write_picture(path, annotated_bgr)
            self.written.append(path)
            return True
        if self._video is None or self._video_source != result.frame.source:
            self.close()
            path = self._path(result.frame, known=frozenset(VIDEO_CODECS), default=".mp4")
            self._video = VideoFile(path, fps=result.frame.fps, frame_hw=_hw(annotated_bgr))
            self._video_source = result.frame.source
        self._video.write(annotated_bgr)
        return True

    def close(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.close()
            self.written.append(video.path)

    def _path(self, frame: Frame, *, known: frozenset[str], default: str) -> Path:
        if self._many_files and self._out.suffix.lower() in PICTURE_SUFFIXES | frozenset(VIDEO_CODECS):
            raise OutputError(f"--save {self._out}: several files need a folder, this is the name of one file")
        if not self._many_files and self._out.suffix.lower() not in known:
            expected = " ".join(sorted(known))
            raise OutputError(f"--save {self._out}: {frame.source} is a {frame.kind}; expected one of {expected}")
        folder = self._out if self._many_files else self._out.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"--save {self._out}: {folder} is not a folder ({error.strerror})") from error
        if not self._many_files:
            return self._not_a_source(self._out)
        name = Path(frame.source)
        suffix = name.suffix if name.suffix.lower() in known else default
        path, number = folder / f"{name.stem}{suffix}", 1
        while path in self._taken:  # files of one name from several folders
            number += 1
            path = folder / f"{name.stem}-{number}{suffix}"
        self._taken.add(path)
        return self._not_a_source(path)

    def _not_a_source(self, path: Path) -> Path:
        if path.resolve() in self._sources:
            raise OutputError(f"--save {path}: is itself a source; choose another name or folder")
        return path


class WindowSink:
    """A window; q or Esc ends the run, any key goes on to the next picture."""

    wants_picture = True

    def write(self, result: Result, annotated_bgr: UInt8Array | None) -> bool:
        assert annotated_bgr is not None
        cv2.imshow(WINDOW_TITLE, annotated_bgr)
        key = cv2.waitKey(0 if result.frame.kind == "picture" else 1) & 0xFF
        closed = cv2.getWindowProperty(WINDOW_TITLE, cv2.WND_PROP_VISIBLE) < 1
        return key not in _QUIT_KEYS and not closed

    def close(self) -> None:
        cv2.destroyAllWindows()


def result_as_dict(result: Result, class_names: Sequence[str]) -> dict[str, Any]:
    """One NDJSON object; coordinates in px of the source frame, times in ms."""
    detections, frame = result.detections, result.frame
    return {
        "frame": result.index,
        "source": frame.source,
        "captured_at": frame.captured_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "frame_age_ms": round(result.age_ms, 3),
        "width": frame.pixels_bgr.shape[1],
        "height": frame.pixels_bgr.shape[0],
        "detections": [
            {
                "xyxy": [round(value, 2) for value in xyxy],
                "score": round(score, 4),
                "class_id": class_id,
                "name": class_names[class_id],
            }
            for xyxy, score, class_id in zip(
                detections.xyxy.tolist(), detections.score.tolist(), detections.class_id.tolist(), strict=True
            )
        ],
        "timing_ms": {
            "preprocess": round(result.times.preprocess_ms, 3),
            "infer": round(result.times.infer_ms, 3),
            "postprocess": round(result.times.postprocess_ms, 3),
        },
    }


def _hw(frame_bgr: UInt8Array) -> tuple[int, int]:
    return frame_bgr.shape[0], frame_bgr.shape[1]
