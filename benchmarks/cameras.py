"""Several cameras in one run, as a small shop has them: detection, tracking, events and recording of all of them.

The sources give frames in memory at a camera's rate; decoding what real cameras send is not measured. The sample image
has a person, so that every camera records all the time. Run it with `taskset` to limit it to some cores.
"""

import os
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from rich.table import Table

from harness.frames import camera_frame
from harness.live.soak import CameraInMemory
from harness.script import FrameSize, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.analyzer import Analysis, analyzer_factory
from mmpnet.runtime.analytics.shapes import parse_line
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.recordings.presence_recorder import RecordTimes
from mmpnet.runtime.recordings.retention import Keep
from mmpnet.runtime.sinks.events import EventSink
from mmpnet.runtime.sinks.record import RecordSink
from mmpnet.runtime.sources.live import LiveSource

app = script_app()


@app.command()
def cameras(
    model: Annotated[Path, typer.Argument(help="Name or .onnx file.")] = Path("person-192x320-int8"),
    count: Annotated[int, typer.Option(min=1, max=32, help="Number of cameras.")] = 4,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames per second of each camera.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=2, help="Length of the run.")] = 30.0,
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 is all cores.")] = 1,
    frame_size: FrameSize = "1280x720",
    least_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail if a smaller share of the frames has a result.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how many frames of each camera get a result, how old it is, and what the run costs."""
    with exit_on_error():
        cv2.setNumThreads(1)
        path = model_path(model)
        with tempfile.TemporaryDirectory() as folder:
            measured = _run(
                path, Path(folder), camera_frame(frame_size), count=count, fps=fps, seconds=seconds, threads=threads
            )
        result: dict[str, Any] = {
            "model": msgspec.to_builtins(model_facts(path)),
            "frame": frame_size,
            "cameras": count,
            "fps": fps,
            "seconds": seconds,
            "threads": threads,
            "usable_cores": len(os.sched_getaffinity(0)),
            **measured,
            "machine": machine_document(),
        }
        show(_table(result))
        if as_json:
            write_json(result)
        share = min(one["processed"] / max(one["captured"], 1) for one in result["sources"])
        if least_share is not None and share < least_share:
            raise MmpnetError(f"one camera has results for {share:.0%} of its frames; expected {least_share:.0%}")


def _run(
    path: Path, folder: Path, frame_bgr: Any, *, count: int, fps: float, seconds: float, threads: int
) -> dict[str, Any]:
    sources = [LiveSource(f"camera {n}", partial(CameraInMemory, frame_bgr, 1 / fps)) for n in range(count)]
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    with Detector(path, provider="cpu", threads=threads, spin=False) as detector:
        chosen = detector.thresholds
        detector = detector.with_thresholds(Thresholds(conf=LOW_CONF, iou=chosen.iou, max_det=chosen.max_det))
        detector.warm_up()
        line = parse_line("door=0,60%,100%,60%", default_name="")
        analysis = Analysis(chosen.conf, [line], [], max_det=chosen.max_det, class_names=detector.class_names)
        store = StoreWriter(EventStore(folder / "events.sqlite"))
        sinks = [
            EventSink([store], detector.class_names, stale_after_s=5.0),
            RecordSink(folder / "rec", detector.class_names, times=RecordTimes(), keep=Keep()),
        ]
        timer.start()
        summary = run(sources, detector, sinks, RunOptions(analyzer=analyzer_factory([analysis] * count)), stop=stop)
    facts = summary.facts()
    ages_ms = list(summary.ages_ms)
    return {
        "cpu_percent": facts["cpu_percent"],
        "frame_age_ms": {f"p{rank}": round(float(np.percentile(ages_ms, rank)), 1) for rank in (50, 95)},
        "timing_ms": facts["timing_ms"],
        "sources": facts["sources"],
        "recorded_mb": round(sum(one.stat().st_size for one in (folder / "rec").rglob("*.mp4")) / 1e6, 1),
    }


def _table(result: dict[str, Any]) -> Table:
    table = Table("camera", "captured", "processed", "dropped", box=None, padding=(0, 1, 0, 0))
    for one in result["sources"]:
        table.add_row(one["source"], *(str(one[name]) for name in ("captured", "processed", "dropped")))
    age = result["frame_age_ms"]
    table.caption = (
        f"CPU at {result['cpu_percent']:.0f} % of one core; age of results {age['p50']:.0f} ms (p50), "
        f"{age['p95']:.0f} ms (p95); {result['recorded_mb']:.1f} MB recorded"
    )
    return table


if __name__ == "__main__":
    app()
