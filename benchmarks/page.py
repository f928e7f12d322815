"""How fast the web page answers with many events in the store, while a client asks again and again.

Each address is requested from this machine over HTTP, one request at a time, as a browser does; the time is from the
request to the last byte.
"""

import tempfile
import time
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.table import Table

from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.events.event import CameraEvent, EventKind
from mmpnet.runtime.events.store import EventStore, Retention
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.web.run_status import ServedModel
from mmpnet.runtime.web.sink import Past, ServeSink

app = script_app()
CAMERAS = ("front door", "yard", "hall", "till")
KINDS: tuple[EventKind, ...] = ("appeared", "crossed", "gone", "entered")
ADDRESSES = ("", "status", "history", "events.ndjson")


@app.command()
def page(
    events: Annotated[int, typer.Option(min=1, help="Events in the store, half of them of the last day.")] = 10_000,
    requests: Annotated[int, typer.Option(min=10, help="Requests of each address.")] = 200,
    most_ms: Annotated[float | None, typer.Option(min=0, help="Fail if a 95th percentile is above this.")] = None,
    as_json: Json = False,
) -> None:
    """Fill a store, serve it, and time the page's requests."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "events.sqlite"
        size_mb = _fill(store, events)
        times_ms = _ask(store, requests)
        result: dict[str, Any] = {
            "events": events,
            "store_mb": size_mb,
            "requests": requests,
            "milliseconds": {
                name or "/": {f"p{rank}": round(float(np.percentile(row, rank)), 2) for rank in (50, 95)}
                for name, row in times_ms.items()
            },
            "machine": machine_document(),
        }
        table = Table("address", "p50 ms", "p95 ms", box=None, padding=(0, 1, 0, 0))
        for name, row in result["milliseconds"].items():
            table.add_row(name, f"{row['p50']:.1f}", f"{row['p95']:.1f}")
        show(table)
        if as_json:
            write_json(result)
        slowest = max(row["p95"] for row in result["milliseconds"].values())
        if most_ms is not None and slowest > most_ms:
            raise MmpnetError(f"the slowest 95th percentile is {slowest:.1f} ms; allowed are {most_ms:g} ms")


def _fill(path: Path, count: int) -> float:
    """Events with snapshots of 640x360; returns the size of the store in MB."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (360, 640, 3), np.uint8), (31, 31), 0)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    now = datetime.now(timezone.utc)
    store = EventStore(path, retention=Retention(days=None, most_bytes=None))
    for start in progress_bar(range(0, count, 500), "filling the store"):
        batch = [_event(number, count, now, rng) for number in range(start, min(start + 500, count))]
        store.add([(event, jpeg if event.snapshot else None) for event in batch])
    store.close()
    return round(path.stat().st_size / 1e6, 1)


def _event(number: int, count: int, now: datetime, rng: np.random.Generator) -> CameraEvent:
    """Half of the events are spread over a year, half over the last day."""
    ago_s = (count - number) / count * 2
    ago = timedelta(days=(ago_s - 1) * 365 + 1 if ago_s > 1 else ago_s)
    kind = KINDS[number % len(KINDS)]
    place: dict[str, Any] = {"line": "entrance"} if kind == "crossed" else {}
    return CameraEvent(
        id=uuid.UUID(bytes=rng.bytes(16)).hex,
        event=kind,
        camera=CAMERAS[number % 3],
        stream=0,
        at=now - ago,
        track=number,
        class_name="person",
        direction="in" if number % 8 < 4 else "out",
        snapshot=kind == "appeared",
        **place,
    )


def _ask(store: Path, requests: int) -> dict[str, list[float]]:
    model = ServedModel("person-320", ("background", "person"), "auto", "cpu")
    sink = ServeSink("127.0.0.1:0", model, past=Past(store))
    sink.started(Summary(sources=[SourceCounts(name, live=True, state="live") for name in CAMERAS]))
    times_ms: dict[str, list[float]] = {name: [] for name in ADDRESSES}
    try:
        for _ in progress_bar(range(requests), "asking"):
            for name in ADDRESSES:
                began_s = time.perf_counter()
                with urllib.request.urlopen(sink.url + name, timeout=30) as answer:
                    answer.read()
                times_ms[name].append((time.perf_counter() - began_s) * 1e3)
    finally:
        sink.close()
    return times_ms


if __name__ == "__main__":
    app()
