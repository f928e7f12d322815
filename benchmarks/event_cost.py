"""What tracking, counting, events and the event store cost per frame, in CPU time of the whole process.

People walk up and down over a line and through a zone, faster than real people do. Detection, decoding and drawing are
not included: their boxes come from a script. Each setting adds one part to the one before.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from harness.frames import camera_frame
from harness.live.scripted_people import scripted_people
from harness.script import FrameSize, Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.analytics.analyzer import Analysis, StreamAnalyzer
from mmpnet.runtime.analytics.shapes import parse_line, parse_zone
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.inference.detector import StageTimes
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.events import EventOutput, EventSink
from mmpnet.runtime.sources.frame import Frame
from mmpnet.runtime.sources.frame_grabber import SourceCounts

NAMES = ("background", "person")
TRACKING, COUNTING, EVENTS, STORE = SETTINGS = ("tracking", "and counting", "and events", "and the store")

app = script_app()


@app.command()
def event_cost(
    fps: Annotated[float, typer.Option(min=1, help="Frame rate of the camera.")] = 15.0,
    people: Annotated[int, typer.Option(min=0, help="People in each frame.")] = 3,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each setting.")] = 3000,
    frame_size: FrameSize = "1280x720",
    as_json: Json = False,
) -> None:
    """Measure the added CPU time per frame."""
    with exit_on_error():
        frame_bgr = camera_frame(frame_size)
        rows = {}
        for setting in progress_bar(SETTINGS, "running"):
            spent_ms, events = _measure(setting, frame_bgr, fps=fps, people=people, frames=frames)
            share = 100 * spent_ms * fps / 1e3
            rows[setting] = {"ms_per_frame": round(spent_ms, 4), "core_percent": round(share, 2), "events": events}
        table = Table("setting", "CPU ms per frame", f"% of a core at {fps:g} fps", "events")
        for setting, row in rows.items():
            table.add_row(setting, f"{row['ms_per_frame']:.3f}", f"{row['core_percent']:.1f}", str(row["events"]))
        show(table)
        if as_json:
            settings = {"fps": fps, "people": people, "frames": frames, "frame": frame_size}
            write_json({**settings, "settings": rows, "machine": machine_document()})


def _measure(setting: str, frame_bgr: UInt8Array, *, fps: float, people: int, frames: int) -> tuple[float, int]:
    """CPU time in ms per frame of all threads, and the number of events."""
    height, width = frame_bgr.shape[:2]
    scripted = [scripted_people(number / fps, people, (height, width)) for number in range(frames)]
    counted = setting != TRACKING
    lines = [parse_line("door=0,55%,100%,55%", default_name="")] if counted else []
    zones = [parse_zone("till=0,60%,100%,60%,100%,100%,0,100%", default_name="")] if counted else []
    analysis = Analysis(0.4, lines, zones, class_names=NAMES)
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore(Path(folder) / "events.sqlite")
        outputs: list[EventOutput] = [StoreWriter(store)] if setting == STORE else []
        sink = EventSink(outputs, NAMES, stale_after_s=5.0, snapshots=setting == STORE) if counted else None
        if setting not in (EVENTS, STORE):
            sink = None
        summary = Summary(sources=[SourceCounts("camera", live=True)])
        if sink is not None:
            sink.started(summary)
        analyzer, crossed, began_s = None, 0, time.process_time()
        for number, found in enumerate(scripted):
            frame = Frame(frame_bgr, "camera", "camera", fps, datetime.now(UTC), number / fps, index=number)
            analyzer = analyzer or StreamAnalyzer(frame, analysis)
            shown, tracks = analyzer.analyze(frame, found)
            crossed += len(tracks.passages)
            if sink is not None:
                sink.write(Result(frame, shown, shown, StageTimes(0, 0, 0), tracks), None)
        if sink is not None:
            sink.close()
        if setting != STORE:
            store.close()
        spent_s = time.process_time() - began_s
    return float(np.round(spent_s / frames * 1e3, 6)), crossed


if __name__ == "__main__":
    app()
