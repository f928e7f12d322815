"""Ours beside other people's detectors: accuracy and latency through one harness, in one run.

Everybody sees the same pictures and is judged by the same evaluator (conf 0.001, NMS 0.5, 100 boxes, class person). A
latency is one frame in memory from BGR pixels to final boxes, decoding and NMS in numpy included (conf 0.25 there, as a
user has it); contestants take turns frame by frame, first on one thread, then on all. Writes JSON and the Pareto
picture. Peers that are not in --peers are named as absent.
"""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from latency import camera_frame, machine
from peer_decoders import CLASS_NAMES, Contestant, file_sha256, open_contestant
from peer_picture import draw
from rich.progress import track
from rich.table import Column, Table

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.open import open_dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, evaluate
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.runtime.inference.model_file import read_model_file

OURS = EMBEDDED_MODELS
KNOWN_PEERS = ("yolox_nano_416.onnx", "nanodet_m_320.onnx")
TIMED_THRESHOLDS = Thresholds(conf=0.25, iou=0.5, max_det=100)
ACCURACIES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NO_ACCURACY = "no accuracy: timed with what weights the file has"

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Entrant:
    """A model file, and whether only its latency is measured."""

    path: Path
    timed_only: bool = False


@app.command()
def peers(
    data: Annotated[Path, typer.Option(help="Labelled pictures with a val split.")],
    folder: Annotated[Path | None, typer.Option("--peers", help="Folder with the peers' ONNX files.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="A further ONNX file of a known family.")] = None,
    timed: Annotated[list[Path] | None, typer.Option(help="One of which only the latency is measured.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Frames that each one is timed on.")] = 150,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the timed frame.")] = "1280x720",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pictures: a trial.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the Pareto picture goes (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure everybody's AP and latency."""
    frame = camera_frame(frame_size)
    with exit_on_error():
        entrants, absent = _entrants(folder, model or (), timed or ())
        rows = {entrant.path.stem: _row(entrant, data, limit) for entrant in entrants}
        for label, threads in (("one thread", 1), ("all cores", 0)):
            for name, times in _latencies([one.path for one in entrants], frame, threads, rounds).items():
                rows[name][label] = times
        result = {
            "data": {"pictures": next(iter(rows.values()))["n_images"], "split": "val"},
            "frame": frame_size,
            "rounds": rounds,
            "contestants": rows,
            "absent": absent,
            "machine": machine(),
        }
        _show(rows, absent)
        if picture is not None:
            draw(picture, rows)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _entrants(folder: Path | None, further: Sequence[Path], timed: Sequence[Path]) -> tuple[list[Entrant], list[str]]:
    """Ours and the others, and the names of the known peers that are not there.

    Raises: MmpnetError if two files have one name.
    """
    found = [] if folder is None else [folder / name for name in KNOWN_PEERS if (folder / name).exists()]
    ours = [model_path(name) for name in OURS]
    entrants = [*map(Entrant, [*ours, *found, *further]), *(Entrant(path, timed_only=True) for path in timed)]
    names = [entrant.path.stem for entrant in entrants]
    if len(set(names)) != len(names):
        raise MmpnetError(f"contestants must have different names, got {', '.join(names)}")
    return entrants, [name for name in KNOWN_PEERS if name not in {path.name for path in found}]


def _row(entrant: Entrant, data: Path, limit: int | None) -> dict[str, Any]:
    """What a contestant is, and its accuracy; null where it is only timed."""
    contestant = open_contestant(entrant.path, threads=0, thresholds=EVALUATION_THRESHOLDS)
    row: dict[str, Any] = {
        "family": contestant.family,
        "precision": contestant.precision,
        "sha256": file_sha256(entrant.path)[:12],
        "input_hw": list(contestant.input_hw),
        "size_bytes": entrant.path.stat().st_size,
        "n_images": None,
        **dict.fromkeys(ACCURACIES),
    }
    if contestant.family == "mmpnet" and contestant.precision == "int8":
        metadata = read_model_file(entrant.path).metadata
        row["quantization"] = None if metadata is None else msgspec.to_builtins(metadata.quantization)
    if entrant.timed_only:
        return {**row, "note": NO_ACCURACY}
    dataset = open_dataset(data, "val")
    if limit is not None:
        dataset = dataclasses.replace(dataset, images=dataset.images[:limit])
    found = evaluate(contestant, dataset, CLASS_NAMES)
    accuracies = {name: found.coco[name] for name in ACCURACIES}
    rounded = {name: None if value is None else round(value, 4) for name, value in accuracies.items()}
    return {**row, "n_images": found.n_images, **rounded}


def _latencies(paths: Sequence[Path], frame: Any, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each one, taking turns."""
    cv2.setNumThreads(threads or -1)
    contestants = [open_contestant(path, threads=threads, thresholds=TIMED_THRESHOLDS) for path in paths]
    ends: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    infers: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        for _ in range(10):
            contestant(frame)
    order = np.random.default_rng(0)
    what = f"timing with {threads or 'all'} threads"
    for _ in track(range(rounds), what, console=console(), transient=True):
        for index in order.permutation(len(contestants)):
            ends_ms, infer_ms = _timed(contestants[index], frame)
            ends[contestants[index].name].append(ends_ms)
            infers[contestants[index].name].append(infer_ms)
    return {
        name: {
            "end_to_end_ms": round(statistics.median(ends[name]), 3),
            "infer_ms": round(statistics.median(infers[name]), 3),
        }
        for name in ends
    }


def _timed(contestant: Contestant, frame: Any) -> tuple[float, float]:
    began = time.perf_counter()
    contestant(frame)
    return (time.perf_counter() - began) * 1e3, contestant.infer_ms


def _show(rows: dict[str, dict[str, Any]], absent: Sequence[str]) -> None:
    model = Column("model", no_wrap=True, min_width=max(map(len, rows)))
    table = Table(model, "AP", "AP50", "MB", "one thread ms", "of it network", "all cores ms")
    for name, row in sorted(rows.items(), key=lambda item: item[1]["one thread"]["end_to_end_ms"]):
        one, every = row["one thread"], row["all cores"]
        numbers = (one["end_to_end_ms"], one["infer_ms"], every["end_to_end_ms"])
        accuracy = ["–" if row[key] is None else f"{row[key]:.3f}" for key in ("AP", "AP50")]
        table.add_row(name, *accuracy, f"{row['size_bytes'] / 1e6:.1f}", *(f"{value:.1f}" for value in numbers))
    console().print(table)
    for name, row in rows.items():
        if "note" in row:
            console().print(f"{name}: {row['note']}")
    for name in absent:
        console().print(f"absent: {name}")


if __name__ == "__main__":
    app()
