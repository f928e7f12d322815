"""How many events a video gives per hour: on a video without people, each of them is wrong."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.analyzer import Analysis, analyzer_factory
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.events.event import EVENT_KINDS
from mmpnet.runtime.events.presence import Happening
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.events import EventSink
from mmpnet.runtime.sources.open import open_source

app = script_app()


@dataclass
class Counter:
    """An output that counts events, and keeps the time of the last one."""

    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EVENT_KINDS, 0))

    def started(self, summary: Summary) -> None:
        """Nothing."""

    def put(self, happening: Happening) -> bool:
        """Count one event."""
        self.kinds[happening.event.event] += 1
        return True

    def finished(self, summary: Summary) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@app.command()
def events_per_hour(
    videos: Annotated[list[str], typer.Argument(help="Videos.")],
    model: Annotated[Path, typer.Option(help="Name or .onnx file.")] = Path("person-320-int8"),
    as_json: Json = False,
) -> None:
    """Count the events of videos, and per hour of each."""
    with exit_on_error():
        detector = Detector(model, provider="cpu")
        rows = {video: _count(video, detector) for video in progress_bar(videos, "running")}
        table = Table("video", "seconds", "appeared", "gone", "appeared per hour")
        for video, row in rows.items():
            per_hour = 3600 * row["appeared"] / row["seconds"]
            table.add_row(
                Path(video).name, f"{row['seconds']:.1f}", str(row["appeared"]), str(row["gone"]), f"{per_hour:.1f}"
            )
        show(table)
        if as_json:
            write_json({"model": detector.path.name, "videos": rows})


def _count(video: str, detector: Detector) -> dict[str, float]:
    counter, chosen = Counter(), detector.thresholds
    wide = detector.with_thresholds(Thresholds(conf=LOW_CONF, iou=chosen.iou, max_det=chosen.max_det))
    sink = EventSink([counter], detector.class_names, stale_after_s=5.0, snapshots=False)
    analysis = Analysis(chosen.conf, max_det=chosen.max_det, class_names=detector.class_names)
    source = open_source(video)
    summary = run(source, wide, [sink], RunOptions(analyzer=analyzer_factory([analysis])))
    fps = next(iter(open_source(video))).fps
    return {"seconds": round(summary.frames / fps, 3), **counter.kinds}


if __name__ == "__main__":
    app()
