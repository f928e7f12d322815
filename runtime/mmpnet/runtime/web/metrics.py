"""Prometheus metrics of a run, with Frigate's names for metrics of the same meaning."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.web.run_status import RunStatus, StatusRecorder
from mmpnet.runtime.web.source_stats import SourceStatus

CAMERA = "camera_name"
AGE_BUCKETS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
INFERENCE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)

_GAUGES: Sequence[tuple[str, str, Callable[[SourceStatus], float]]] = (
    ("mmpnet_camera_fps", "Frames per second from the source, over the last 10 s", lambda s: s.camera_fps),
    ("mmpnet_process_fps", "Frames per second with a result, over the last 10 s", lambda s: s.process_fps),
    ("mmpnet_skipped_fps", "Frames per second without a result, over the last 10 s", lambda s: s.skipped_fps),
    ("mmpnet_people", "People in the newest frame", lambda s: s.people),
    ("mmpnet_source_up", "1 if frames come from the live source, or the file is being read, else 0", lambda s: s.up),
)
_COUNTERS: Sequence[tuple[str, str, Callable[[SourceStatus], float]]] = (
    ("mmpnet_frames_captured", "Frames grabbed", lambda s: s.captured),
    ("mmpnet_frames_processed", "Frames with a result", lambda s: s.processed),
    ("mmpnet_frames_dropped", "Frames without a result: replaced by a newer one, or too old", lambda s: s.dropped),
    ("mmpnet_frames_late", "Frames that were dropped because of their age, also after detection", lambda s: s.late),
    ("mmpnet_frames_damaged", "Frames that could not be decoded", lambda s: s.damaged),
    ("mmpnet_frames_repeated", "Frames that OpenCV may have repeated, not processed", lambda s: s.repeated),
    ("mmpnet_detections", "Detections in all frames", lambda s: s.detections),
)


class Metrics:
    """The metrics' own registry, filled by `observe` and, when it is read, by the monitor."""

    def __init__(self, monitor: StatusRecorder) -> None:
        self._monitor = monitor
        self._registry = CollectorRegistry()
        self._age = Histogram(
            "mmpnet_frame_age_seconds",
            "Time from a frame's capture to its result",
            [CAMERA],
            buckets=AGE_BUCKETS_S,
            registry=self._registry,
        )
        self._inference = Histogram(
            "mmpnet_inference_seconds",
            "Time of the network alone, for one frame",
            [CAMERA],
            buckets=INFERENCE_BUCKETS_S,
            registry=self._registry,
        )
        ProcessCollector(namespace="mmpnet", registry=self._registry)
        self._registry.register(_StatusCollector(monitor))

    def observe(self, result: Result) -> None:
        """Add a result's times."""
        name = self._monitor.name(result.frame.stream)
        self._age.labels(name).observe(result.age_ms / 1e3)
        self._inference.labels(name).observe(result.times.infer_ms / 1e3)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and their content type, in the format that the request's Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def families(self) -> Iterator[Metric]:
        """Each metric with its type, meaning and present samples, in the order of the exposition."""
        yield from self._registry.collect()


class _StatusCollector(Collector):
    """The monitor's values, read on request."""

    def __init__(self, monitor: StatusRecorder) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        status = self._monitor.status()
        build = GaugeMetricFamily("mmpnet_build_info", "Versions and model", labels=["version", "model", "provider"])
        build.add_metric([status.version, status.model, status.provider], 1)
        yield build
        yield GaugeMetricFamily(
            "mmpnet_healthy", "1 if the run is healthy, else 0 (same rule as /healthz)", value=not status.problems
        )
        yield GaugeMetricFamily(
            "mmpnet_cpu_percent", "CPU time over the last 10 s; 100 is one core fully used", value=status.cpu_percent
        )
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=[CAMERA])
            for source in status.sources:
                gauge.add_metric([source.name], value(source))
            yield gauge
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=[CAMERA])
            for source in status.sources:
                counter.add_metric([source.name], value(source))
            yield counter
        yield from _tallies(status)


def _tallies(status: RunStatus) -> Iterator[Metric]:
    """The counts of lines and zones."""
    zone_people = GaugeMetricFamily("mmpnet_zone_people", "People in the zone now", labels=[CAMERA, "zone"])
    crossed = {
        (kind, way): CounterMetricFamily(f"mmpnet_{kind}_{way}", text, labels=[CAMERA, kind])
        for kind, way, text in (
            ("line", "in", "People who crossed the line inwards"),
            ("line", "out", "People who crossed the line outwards"),
            ("zone", "in", "People who entered the zone"),
            ("zone", "out", "People who left the zone"),
        )
    }
    for source in status.sources:
        for name, tally in source.counts.items():
            kind = "zone" if "count" in tally else "line"
            if kind == "zone":
                zone_people.add_metric([source.name, name], tally["count"])
            for way in ("in", "out"):
                crossed[kind, way].add_metric([source.name, name], tally[f"{way}_count"])
    yield zone_people
    yield from crossed.values()
