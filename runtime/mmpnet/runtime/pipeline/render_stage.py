"""The render stage of the pipeline: results, and annotated frames if a sink needs them."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.drawing import draw_detections, draw_status, draw_warning
from mmpnet.media.pixelate import blur_detections
from mmpnet.runtime.pipeline.detect_stage import Found
from mmpnet.runtime.pipeline.options import Blur
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame

FPS_MEMORY = 0.9


class RenderStage:
    """Turns what was found into results and, where somebody looks, into images, on one canvas per source."""

    def __init__(self, class_names: Sequence[str], blur: Blur | None) -> None:
        self._class_names = class_names
        self._blur = blur
        self._canvases: dict[int, UInt8Array] = {}
        self._frames_per_s: dict[int, float] = {}
        self._last_s: dict[int, float] = {}

    def paint(self, found: Found, index: int, *, wanted: bool) -> tuple[Result, UInt8Array | None]:
        """The result, and its annotated frame if that is wanted: (H, W, 3), good until the source's next."""
        frame = found.frame
        rate = self._rate(frame.stream)
        canvas = None
        if self._blur is not None:
            found = _best(found, self._blur.most_shown)
        if wanted or self._blur is not None:
            canvas = self._canvas(frame)
            if self._blur is not None:
                blur_detections(canvas, found.everything)
                # The raw pixels end here: whoever takes the result takes these.
                frame = replace(frame, pixels_bgr=canvas)
        if canvas is not None and wanted:
            self._annotate(canvas, found, rate)
        result = Result(
            index, frame, found.detections, found.times, found.frame.age_ms(), found.track_ids, found.counts
        )
        return result, canvas if wanted else None

    def _annotate(self, canvas: UInt8Array, found: Found, rate: float) -> None:
        frame = found.frame
        draw_detections(canvas, found.detections, self._class_names, found.track_ids)
        if found.analyzer is not None:
            found.analyzer.draw(canvas)
        if frame.kind == "camera":  # of a file it would be this machine's speed, in a saved video for good
            known = f"{rate:.1f} FPS  " if rate else ""
            draw_status(canvas, f"{known}{frame.age_ms():.0f} ms old")
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


def _best(found: Found, most: int | None) -> Found:
    """With so many detections at most; everything that was found stays known."""
    if most is None or len(found.detections) <= most:
        return found
    ids = None if found.track_ids is None else found.track_ids[:most]
    return replace(found, detections=found.detections[:most], track_ids=ids)
