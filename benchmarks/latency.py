"""How long one frame takes, from raw BGR pixels to final boxes, by stage.

A sample is one call of the detector on one frame in memory: letterbox, inference, threshold, NMS; reading and drawing
are not in it. Warm-up runs are not counted; what a fresh process takes is startup.py's to say.
Prints a table on stderr and, with --json, one JSON document on stdout.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import onnxruntime
import typer
from rich.table import Table

from mmpnet.runtime.command import HELP_NAMES, exit_on_error, parse_size_hw, people
from mmpnet.runtime.detector import Detector
from mmpnet.runtime.embedded import model_path
from mmpnet.runtime.machine import cpu_name, instruction_sets
from mmpnet.runtime.pictures import read_picture
from mmpnet.runtime.timing import percentiles

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "astronaut.jpg"

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def latency(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    threads: Annotated[int, typer.Option(min=0)] = 1,
    runs: Annotated[int, typer.Option(min=1)] = 700,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frame.")] = "1280x720",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time the detector on the sample picture, resized to a camera's frame."""
    with exit_on_error():
        path = model_path(model)
        width, height = parse_size_hw(frame_size)
        frame = np.asarray(cv2.resize(read_picture(PICTURE), (width, height)), np.uint8)
        cv2.setNumThreads(threads)
        detector = Detector(path, provider="cpu", threads=threads)
        for _ in range(20):
            detector(frame)
        samples: dict[str, list[float]] = {"preprocess": [], "infer": [], "postprocess": [], "end to end": []}
        for _ in range(runs):
            started = time.perf_counter()
            _, times = detector.timed(frame)
            samples["end to end"].append((time.perf_counter() - started) * 1e3)
            samples["preprocess"].append(times.preprocess_ms)
            samples["infer"].append(times.infer_ms)
            samples["postprocess"].append(times.postprocess_ms)
        result = {
            "model": path.name,
            "frame": frame_size,
            "threads": threads,
            "runs": runs,
            "stages_ms": {stage: _rounded(percentiles(values)) for stage, values in samples.items()},
            "before_and_after_per_infer": _before_and_after(samples),
            "machine": machine(),
        }
        _show(result["stages_ms"])  # type: ignore[arg-type]
        people().print(f"preprocess and postprocess: {result['before_and_after_per_infer']:.1%} of the inference")
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _rounded(times_ms: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in times_ms.items()}


def _before_and_after(samples: dict[str, list[float]]) -> float:
    """Median time of preprocess and postprocess together, per median inference."""
    outside = np.add(samples["preprocess"], samples["postprocess"])
    return round(float(np.median(outside) / np.median(samples["infer"])), 4)


def machine() -> dict[str, str | int | float | list[str] | None]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_name(),
        "instruction_sets": list(instruction_sets()),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
    }


def _show(stages: dict[str, dict[str, float | None]]) -> None:
    table = Table("stage", "p50 ms", "p90 ms", "p99 ms")
    for stage, values in stages.items():
        table.add_row(stage, *("too few samples" if v is None else f"{v:.2f}" for v in values.values()))
    people().print(table)


if __name__ == "__main__":
    app()
