"""The summary of a run: counts, ages, stage times."""

from dataclasses import dataclass, field
from typing import Any

from mmpnet.contract.detections import Detections
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.sources.frame import Frame, distinct_names
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.system.timing import Samples

STAGES = ("grab", "preprocess", "infer", "postprocess", "track", "render", "write")


@dataclass(slots=True)
class Summary:
    """Summary of a run: counts, the first images with their detections, and the latest times and ages of frames."""

    frames: int = 0
    detections: int = 0
    images: list[tuple[str, Detections]] = field(default_factory=list)
    times_ms: dict[str, Samples] = field(default_factory=lambda: {stage: Samples() for stage in STAGES})
    ages_ms: Samples = field(default_factory=Samples)
    sources: list[SourceCounts] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    """Counts of lines and zones by the name of the live source or file; of equal names, the second is `NAME (2)`."""
    cpu_percent: float = 0.0
    _names: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether any of the sources is a camera or a stream."""
        return any(counts.live for counts in self.sources)

    def record(self, result: Result, remember: int) -> None:
        """Add one result; the detections of the first `remember` images are kept."""
        frame, times = result.frame, result.times
        self.frames += 1
        self.detections += len(result.detections)
        self.sources[frame.stream].processed += 1
        stages = (frame.grab_ms, times.preprocess_ms, times.infer_ms, times.postprocess_ms)
        for name, value in zip(STAGES[:4], stages, strict=True):
            self.times_ms[name].append(value)
        self.ages_ms.append(result.age_ms)
        if result.counts is not None:
            self.counts[self._name(frame)] = result.counts
        if frame.kind == "image" and len(self.images) < remember:
            self.images.append((frame.source, result.detections))

    def _name(self, frame: Frame) -> str:
        """The name of the frame's file or live source in `counts`; two sources may contain the same file."""
        stream_and_source = frame.stream, frame.source
        if stream_and_source not in self._names:
            self._names[stream_and_source] = distinct_names([*self._names.values(), frame.source])[-1]
        return self._names[stream_and_source]

    def percentiles(self) -> dict[str, dict[str, float | None]]:
        """p50, p90 and p99 in ms of each stage's time, and of the ages of frames when the sinks got their results."""
        stages = {**self.times_ms, "frame age": self.ages_ms}
        return {name: samples.percentiles() for name, samples in stages.items() if samples}

    def facts(self) -> dict[str, Any]:
        """All values except the images, as a JSON object."""
        timing = self.percentiles()
        rounded = {n: {p: None if v is None else round(v, 3) for p, v in row.items()} for n, row in timing.items()}
        age = rounded.pop("frame age", None)
        return {
            "frames": self.frames,
            "detections": self.detections,
            "frame_age_ms": age,
            "timing_ms": rounded,
            "cpu_percent": round(self.cpu_percent, 1),
            "sources": [
                {
                    "stream": stream,
                    "source": c.source,
                    "state": c.state,
                    "captured": c.captured,
                    "processed": c.processed,
                    "dropped": c.dropped,
                    "late": c.late,
                    "damaged": c.damaged,
                    "repeated": c.repeated,
                }
                for stream, c in enumerate(self.sources)
            ],
            **({"counts": self.counts} if self.counts else {}),
        }
