"""The time from the capture of a frame to the MQTT message about what happened in it, with a real broker.

A live run at a camera's frame rate detects, tracks, counts, stores each event with its snapshot, and publishes it to a
mosquitto on this machine. The detector does its work, but the people who walk over the line come from a script.
"""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer

from harness.frames import camera_frame
from harness.live.paced import PacedSource
from harness.live.scripted_people import scripted_people
from harness.script import FrameSize, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.analytics.analyzer import Analysis, analyzer_factory
from mmpnet.runtime.analytics.shapes import parse_line
from mmpnet.runtime.delivery.mqtt import CountedPlaces, MqttBroker, MqttOutput
from mmpnet.runtime.events.store import EventStore
from mmpnet.runtime.events.store_writer import StoreWriter
from mmpnet.runtime.inference.detector import Detector, StageTimes
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.sinks.events import EventOutput, EventSink

app = script_app()


class ScriptedDetector:
    """Works as a detector does, and finds the people of a script."""

    def __init__(self, detector: Detector, people: int) -> None:
        self._detector = detector
        self._people = people
        self.class_names = detector.class_names

    def timed(self, frame_bgr: UInt8Array) -> tuple[Detections, StageTimes]:
        """The scripted detections of now, after the time that real ones take."""
        _, times = self._detector.timed(frame_bgr)
        height, width = frame_bgr.shape[:2]
        return scripted_people(time.perf_counter(), self._people, (height, width)), times


@app.command()
def event_latency(
    model: Annotated[Path, typer.Argument(help="Name or .onnx file.")] = Path("person-320-int8"),
    fps: Annotated[float, typer.Option(min=1, help="Frames per second.")] = 15.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the run.")] = 60.0,
    people: Annotated[int, typer.Option(min=1, help="People who walk over the line, twice in four seconds.")] = 2,
    frame_size: FrameSize = "1280x720",
    as_json: Json = False,
) -> None:
    """Measure the latency of `crossed` events from frame to message."""
    with exit_on_error(), _mosquitto() as port, tempfile.TemporaryDirectory() as folder:
        cv2.setNumThreads(1)
        detector = ScriptedDetector(Detector(model, provider="cpu", threads=1, spin=False), people)
        frame_bgr = camera_frame(frame_size)
        latencies_ms, ages_ms = _run(detector, frame_bgr, port, Path(folder), fps=fps, frames=round(seconds * fps))
        if not latencies_ms:
            raise MmpnetError("no event came; give more --seconds")
        percentiles = {f"p{rank}": round(float(np.percentile(latencies_ms, rank)), 2) for rank in (50, 95, 100)}
        text = ", ".join(f"{name} {value:g} ms" for name, value in percentiles.items())
        show(f"{len(latencies_ms)} events, from frame to MQTT message: {text}")
        show(f"of that, until the result of the frame was ready: p50 {ages_ms['p50']} ms, p90 {ages_ms['p90']} ms")
        if as_json:
            settings = {"model": str(model), "fps": fps, "seconds": seconds, "people": people, "frame": frame_size}
            result = {"events": len(latencies_ms), "latency_ms": percentiles, "frame_age_ms": ages_ms}
            write_json({**settings, **result, "machine": machine_document()})


def _run(
    detector: ScriptedDetector, frame_bgr: UInt8Array, port: int, folder: Path, *, fps: float, frames: int
) -> tuple[list[float], dict[str, float | None]]:
    """The latencies of the events in ms, and the ages of all frames when their results were ready."""
    line = parse_line("door=0,55%,100%,55%", default_name="")
    analysis = Analysis(0.4, [line], class_names=detector.class_names)
    store = EventStore(folder / "events.sqlite", destinations=["mqtt"])
    broker = MqttBroker("127.0.0.1", port)
    mqtt = MqttOutput(broker, store.path, places=[CountedPlaces(("door",))], people={"person"})
    outputs: list[EventOutput] = [StoreWriter(store, stored=[mqtt.sender.wake]), mqtt]
    sink = EventSink(outputs, detector.class_names, stale_after_s=5.0)
    with _listening(port) as latencies_ms:
        options = RunOptions(limit=frames, analyzer=analyzer_factory([analysis]))
        summary = run(PacedSource(frame_bgr, fps), detector, [sink], options)  # type: ignore[arg-type]
        time.sleep(0.5)
    return latencies_ms, summary.ages_ms.percentiles()


@contextmanager
def _listening(port: int) -> Iterator[list[float]]:
    """The latency in ms of each `crossed` event that comes, by its time of day."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    latencies_ms: list[float] = []
    subscribed = threading.Event()

    def take(_client: object, _data: object, message: Any) -> None:
        event = msgspec.json.decode(message.payload)
        if event["event"] == "crossed":
            latencies_ms.append((time.time() - datetime.fromisoformat(event["at"]).timestamp()) * 1e3)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.subscribe("mmpnet/+/event", qos=1)
    client.loop_start()
    subscribed.wait(10)
    yield latencies_ms
    client.disconnect()
    client.loop_stop()


@contextmanager
def _mosquitto() -> Iterator[int]:
    """The port of a broker. Raises: MmpnetError if mosquitto is not installed."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise MmpnetError("mosquitto is not installed; on Debian: apt-get install mosquitto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    broker = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        broker.kill()
        broker.wait()


if __name__ == "__main__":
    app()
