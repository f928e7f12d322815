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
import matplotlib
import numpy as np
import typer
from latency import PICTURE, machine
from peer_decoders import Contestant, open_contestant
from rich.progress import track
from rich.table import Table

from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.command import HELP_NAMES, exit_on_error, parse_size_hw, people
from mmpnet.runtime.datasets.recognise import open_dataset
from mmpnet.runtime.embedded import model_path
from mmpnet.runtime.evaluate import EVALUATION_THRESHOLDS, evaluate
from mmpnet.runtime.paths import replacing
from mmpnet.runtime.pictures import read_picture

OURS = ("person-320", "person-320-int8", "person-224-int8")
KNOWN_PEERS = ("yolox_nano_416.onnx", "nanodet_m_320.onnx")
TIMED_THRESHOLDS = Thresholds(conf=0.25, iou=0.5, max_det=100)
CLASS_NAMES = ("background", "person")

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def peers(
    data: Annotated[Path, typer.Option(help="Labelled pictures with a val split.")],
    folder: Annotated[Path | None, typer.Option("--peers", help="Folder with the peers' ONNX files.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="A further ONNX file of a known family.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Frames that each one is timed on.")] = 150,
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the timed frame.")] = "1280x720",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pictures: a trial.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the Pareto picture goes (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure everybody's AP and latency."""
    with exit_on_error():
        paths, absent = _contestants(folder, model or ())
        width, height = parse_size_hw(frame_size)
        frame = np.asarray(cv2.resize(read_picture(PICTURE), (width, height)), np.uint8)
        rows = {str(path.stem): _accuracy(path, data, limit) for path in paths}
        for label, threads in (("one thread", 1), ("all cores", 0)):
            for name, times in _latencies(paths, frame, threads, rounds).items():
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
            _draw(picture, rows)
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _contestants(folder: Path | None, further: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Model files, and the names of the known peers that are not there.

    Raises: MmpnetError if two files have one name.
    """
    found = [] if folder is None else [folder / name for name in KNOWN_PEERS if (folder / name).exists()]
    paths = [*(model_path(name) for name in OURS), *found, *further]
    names = [path.stem for path in paths]
    if len(set(names)) != len(names):
        raise MmpnetError(f"contestants must have different names, got {', '.join(names)}")
    return paths, [name for name in KNOWN_PEERS if name not in {path.name for path in found}]


def _accuracy(path: Path, data: Path, limit: int | None) -> dict[str, Any]:
    dataset = open_dataset(data, "val")
    if limit is not None:
        dataset = dataclasses.replace(dataset, pictures=dataset.pictures[:limit])
    contestant = open_contestant(path, threads=0, thresholds=EVALUATION_THRESHOLDS)
    found = evaluate(contestant, dataset, CLASS_NAMES)
    accuracy = {name: found.coco[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    return {
        "family": contestant.family,
        "input_hw": list(contestant.input_hw),
        "size_bytes": contestant.size_bytes,
        "n_images": found.n_images,
        **{name: None if value is None else round(value, 4) for name, value in accuracy.items()},
    }


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
    for _ in track(range(rounds), what, console=people(), transient=True):
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
    table = Table("model", "AP", "AP50", "MB", "one thread ms", "of it network", "all cores ms")
    for name, row in sorted(rows.items(), key=lambda item: item[1]["one thread"]["end_to_end_ms"]):
        one, every = row["one thread"], row["all cores"]
        numbers = (one["end_to_end_ms"], one["infer_ms"], every["end_to_end_ms"])
        accuracy = [f"{row[key] or 0:.3f}" for key in ("AP", "AP50")]
        table.add_row(name, *accuracy, f"{row['size_bytes'] / 1e6:.1f}", *(f"{value:.1f}" for value in numbers))
    people().print(table)
    for name in absent:
        people().print(f"absent: {name}")


def _draw(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, row in rows.items():
        ours = row["family"] == "mmpnet"
        x, y = row["one thread"]["end_to_end_ms"], row["AP50"]
        axes.plot(x, y, "o" if ours else "s", color="#2a7f3f" if ours else "#777777", markersize=9)
        axes.annotate(name, (x, y), xytext=(7, 4), textcoords="offset points", fontsize=9)
    axes.set_xlabel("ms per frame on one thread, pixels to boxes (median)")
    axes.set_ylabel("AP50, person")
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.3 * max(row["one thread"]["end_to_end_ms"] for row in rows.values()))
    axes.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    app()
