"""What one camera costs: the CPU share of a live run at a camera's pace, and how old its results are.

Each setting runs in processes of its own, taking turns. A source gives frames in memory at the asked rate, in the
place of a camera: decoding what a real one sends is not in the numbers. Results go to an NDJSON file; no window opens.
`spinning` is the same with ONNX Runtime's threads spinning while they wait, which mmp-run turns off for live sources.
Prints a table on stderr and, with --json, one JSON document on stdout.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from latency import camera_frame, machine
from rich.progress import track
from rich.table import Table

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.pipeline.options import RunOptions
from mmpnet.runtime.pipeline.pipeline import run
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.frame import Frame, Tell, stamped

SETTINGS = {"as mmp-run": False, "spinning": True}

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


class Paced:
    """A camera of frames in memory, one every 1 / `fps` seconds."""

    name, live, many_files, paths = "paced", True, False, ()

    def __init__(self, picture: UInt8Array, fps: float) -> None:
        # Frames differ, as a camera's do: the same one again would be a frozen camera.
        self._frames = [np.ascontiguousarray(np.roll(picture, shift, axis=1)) for shift in range(0, 40, 5)]
        self._fps = fps

    def frames(self, stop: threading.Event, tell: Tell) -> Iterator[Frame]:
        """The frames, at their pace."""
        del tell
        due_s, number = time.perf_counter(), 0
        while not stop.wait(max(due_s - time.perf_counter(), 0.0)):
            yield stamped(self._frames[number % len(self._frames)], source="paced", kind="camera", fps=self._fps)
            due_s, number = due_s + 1 / self._fps, number + 1

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(threading.Event(), lambda _: None)


@app.command()
def paced(
    model: Annotated[Path, typer.Argument()] = Path("person-320-int8"),
    fps: Annotated[float, typer.Option(min=0.1)] = 15.0,
    seconds: Annotated[float, typer.Option(min=1)] = 20.0,
    threads: Annotated[int, typer.Option(min=0)] = 1,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frame.")] = "1280x720",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    one: Annotated[str | None, typer.Option(hidden=True, help="Run this setting here and print its numbers.")] = None,
) -> None:
    """Measure a live run's CPU share and ages."""
    with exit_on_error():
        picture = camera_frame(frame_size)
        if one is not None:
            facts = _one(model, picture, fps, seconds, threads, spin=SETTINGS[one])
            sys.stdout.write(json.dumps(facts) + "\n")
            return
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
        turns = [name for _ in range(repeats) for name in SETTINGS]
        for name in track(turns, "running", console=console(), transient=True):
            given = [str(model), "--fps", str(fps), "--seconds", str(seconds), "--threads", str(threads)]
            command = [sys.executable, __file__, *given, "--frame-size", frame_size, "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(done.stdout))
        settings = {name: _medians(facts) for name, facts in runs.items()}
        result = {
            "model": model_path(model).name,
            "frame": frame_size,
            "fps": fps,
            "seconds": seconds,
            "threads": threads,
            "repeats": repeats,
            "settings": settings,
            "machine": machine(),
        }
        table = Table("setting", "CPU % of one core", "from", "to", "age p50 ms", "age p90", "frames dropped")
        for name, row in settings.items():
            numbers = [row[key] for key in ("cpu_percent", "cpu_least", "cpu_most", "age_p50_ms", "age_p90_ms")]
            shown = ["too few frames" if number is None else f"{number:.1f}" for number in numbers]
            table.add_row(name, *shown, str(row["dropped"]))
        console().print(table)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _one(model: Path, picture: UInt8Array, fps: float, seconds: float, threads: int, *, spin: bool) -> dict[str, Any]:
    cv2.setNumThreads(1)
    detector = Detector(model, provider="cpu", threads=threads, spin=spin)
    detector.warm_up()
    camera = Paced(picture, fps)
    with tempfile.TemporaryDirectory() as folder:
        sink = NdjsonSink(str(Path(folder) / "out.ndjson"), detector.class_names)
        return run(camera, detector, [sink], RunOptions(limit=round(seconds * fps))).facts()


def _medians(runs: list[dict[str, Any]]) -> dict[str, float | int | None]:
    shares = [facts["cpu_percent"] for facts in runs]
    # A percentile is None where its run had too few frames for it.
    ages = {rank: [facts["frame_age_ms"][rank] for facts in runs] for rank in ("p50", "p90")}
    return {
        "cpu_percent": statistics.median(shares),
        "cpu_least": min(shares),
        "cpu_most": max(shares),
        **{f"age_{rank}_ms": None if None in values else statistics.median(values) for rank, values in ages.items()},
        "dropped": sum(facts["sources"][0]["dropped"] for facts in runs),
    }


if __name__ == "__main__":
    app()
