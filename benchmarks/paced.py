"""The cost of one camera: the CPU share of a live run at a camera's frame rate, and the age of its results.

Each setting runs in processes of its own, in turns. The source gives frames in memory; decoding what a real camera
sends is not measured. Results go to an NDJSON file; no window opens. `spinning` is the same run with ONNX Runtime's
threads spinning while they wait, which mmp-run turns off for live sources.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.frames import camera_frame
from harness.live.paced import medians, paced_run
from harness.script import FrameSize, Json, exit_on_error, progress_bar, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.runtime.inference.embedded import model_path

SETTINGS = {"as mmp-run": False, "spinning": True}

app = script_app()


@app.command()
def paced(
    model: Annotated[Path, typer.Argument(help="Name or .onnx file.")] = Path("person-320-int8"),
    fps: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 15.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each run.")] = 20.0,
    threads: Annotated[int, typer.Option(min=0, help="0 is all cores.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each setting.")] = 3,
    frame_size: FrameSize = "1280x720",
    as_json: Json = False,
    one: Annotated[str | None, typer.Option(hidden=True, help="Run this setting here and print its summary.")] = None,
) -> None:
    """Measure a live run's CPU share and the ages of its results."""
    with exit_on_error():
        if one is not None:
            frame_bgr = camera_frame(frame_size)
            write_json(paced_run(model, frame_bgr, fps=fps, seconds=seconds, threads=threads, spin=SETTINGS[one]))
            return
        given = [str(model), "--fps", str(fps), "--seconds", str(seconds), "--threads", str(threads)]
        settings = _in_turns([*given, "--frame-size", frame_size], repeats)
        show(_table(settings))
        if as_json:
            write_json(
                {
                    "model": model_path(model).name,
                    "frame": frame_size,
                    "fps": fps,
                    "seconds": seconds,
                    "threads": threads,
                    "repeats": repeats,
                    "settings": settings,
                    "machine": machine_document(),
                }
            )


def _in_turns(arguments: list[str], repeats: int) -> dict[str, dict[str, float | int | None]]:
    """The medians of each setting's runs, every run a process."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for name in progress_bar([name for _ in range(repeats) for name in SETTINGS], "running"):
        command = [sys.executable, __file__, *arguments, "--one", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs[name].append(json.loads(done.stdout))
    return {name: medians(facts) for name, facts in runs.items()}


def _table(settings: dict[str, dict[str, float | int | None]]) -> Table:
    table = Table("setting", "CPU % of one core", "from", "to", "age p50 ms", "age p90", "frames dropped")
    for name, row in settings.items():
        numbers = [row[key] for key in ("cpu_percent", "cpu_least", "cpu_most", "age_p50_ms", "age_p90_ms")]
        cells = ["too few frames" if number is None else f"{number:.1f}" for number in numbers]
        table.add_row(name, *cells, str(row["dropped"]))
    return table


if __name__ == "__main__":
    app()
