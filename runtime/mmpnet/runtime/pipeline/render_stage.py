"""The render stage of the pipeline: completes results, and draws annotated frames if a sink needs them."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.drawing import draw_detections, draw_warning, place_status
from mmpnet.media.pixelate import blur_detections
from mmpnet.media.plates import Plates
from mmpnet.runtime.pipeline.options import Blur
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.trails import Trails
from mmpnet.runtime.sources.frame import Frame

FPS_MEMORY = 0.9


class RenderStage:
    """Completes results for the sinks and, if a sink needs them, draws annotated frames, on one canvas per source."""

    def __init__(self, class_names: Sequence[str], blur: Blur | None) -> None:
        self._class_names = class_names
        self._blur = blur
        self._canvases: dict[int, UInt8Array] = {}
        self._trails: dict[int, Trails] = {}
        self._frames_per_s: dict[int, float] = {}
        self._last_s: dict[int, float] = {}

    def render(self, result: Result, index: int, *, annotate: bool) -> tuple[Result, UInt8Array | None]:
        """Complete the result as number `index` of its run and, if `annotate`, draw its annotated frame (H, W, 3).

        The annotated frame is valid until the next one of the same source is rendered.
        """
        frame = result.frame
        rate = self._rate(frame.stream)
        if result.tracks is not None:
            self._trails.setdefault(frame.stream, Trails()).follow(result)
        canvas = self._canvas(frame) if annotate or self._blur is not None else None
        if self._blur is not None and canvas is not None:
            result = _limited(result, self._blur.most_shown)
            blur_detections(canvas, result.all_detections)
            # From here on, sinks get the pixelated frame, never the raw one.
            frame = replace(frame, pixels_bgr=canvas)
        if canvas is not None and annotate:
            self._annotate(canvas, result, rate)
        return replace(result, frame=frame, index=index, age_ms=frame.age_ms()), canvas if annotate else None

    def _annotate(self, canvas: UInt8Array, result: Result, rate: float) -> None:
        frame, tracks = result.frame, result.tracks
        # Plates are placed in the order of their importance, and painted last, so that no line crosses a text.
        plates = Plates((canvas.shape[0], canvas.shape[1]))
        if frame.kind == "camera":  # for a file it would be the speed of this machine, stored in the video
            known = f"{rate:.1f} FPS  " if rate else ""
            place_status(plates, f"{known}{frame.age_ms():.0f} ms old")
        if tracks is not None:
            tracks.draw(canvas, plates)
            self._trails[frame.stream].draw(canvas)
        draw_detections(canvas, result.detections, self._class_names, None if tracks is None else tracks.ids, plates)
        plates.paint(canvas)
        if frame.frozen:
            draw_warning(canvas, "STALE")

    def _canvas(self, frame: Frame) -> UInt8Array:
        canvas = self._canvases.get(frame.stream)
        if canvas is None or canvas.shape != frame.pixels_bgr.shape:
            canvas = self._canvases[frame.stream] = np.empty_like(frame.pixels_bgr)
        np.copyto(canvas, frame.pixels_bgr)
        return canvas

    def _rate(self, stream: int) -> float:
        now_s = time.perf_counter()
        before_s = self._last_s.get(stream)
        self._last_s[stream] = now_s
        if before_s is None:
            return 0.0
        current, previous = 1 / max(now_s - before_s, 1e-6), self._frames_per_s.get(stream)
        rate = current if previous is None else FPS_MEMORY * previous + (1 - FPS_MEMORY) * current
        self._frames_per_s[stream] = rate
        return rate


def _limited(result: Result, max_det: int | None) -> Result:
    """Limit the detections to show to `max_det`; all_detections stays complete."""
    if max_det is None or len(result.detections) <= max_det:
        return result
    tracks = None if result.tracks is None else replace(result.tracks, ids=result.tracks.ids[:max_det])
    return replace(result, detections=result.detections[:max_det], tracks=tracks)
