"""What the exported graph costs beside the bare network, and int8 beside float32: one thread, all files in turns.

Takes the weights of the model that ships. The bare network has no normalisation, no decoding and no NMS. int8 is timed
as ONNX Runtime's tool leaves it and as `mmp-export --int8` rearranges it, with the time by operator before and after.
Further ONNX files are timed along. Needs mmpnet[train]. Prints tables on stderr and, with --json, one JSON document on
stdout.
"""

import json
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import torch
import typer
from latency import machine
from rich.progress import track
from rich.table import Table

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.heads import Head
from mmpnet.datasets.open import open_dataset
from mmpnet.export.graph import export_graph
from mmpnet.export.heads import with_head
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.quantization.search import calibration_pictures
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.model import MmpNet
from mmpnet.train.network.inference_net import CandidateNet
from mmpnet.train.network.weights import load_weights

SHOWN_LAYERS = 12
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def shipped_network() -> tuple[CandidateNet, Thresholds]:
    """The embedded model's network, batch norms folded as in its file."""
    metadata = Detector(provider="cpu").metadata
    anchors = metadata.anchors.spec()
    network = MmpNet(anchors.num_sizes, anchors.num_aspect_ratios, num_classes=len(metadata.class_names))
    load_weights(network, "default")
    return CandidateNet(network.eval(), anchors, metadata.input.size_hw).eval(), metadata.thresholds


def bare_file(candidates: CandidateNet, path: Path) -> Path:
    """The network alone, as torch exports it: normalised float pictures in, raw grid out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, *candidates.input_hw)
        torch.onnx.export(candidates.network, (example,), path, input_names=["images"], opset_version=13, dynamo=False)
    return path


def files(candidates: CandidateNet, thresholds: Thresholds, data: Path, folder: Path) -> dict[str, Path]:
    """All versions of the network, by what they are."""
    full = export_graph(candidates, batch=1, opset=13)
    made = {"bare network": bare_file(candidates, folder / "bare.onnx")}
    heads: tuple[Head, ...] = ("grid", "boxes", "nms")
    for head in heads:
        classes = candidates.network.num_classes
        model = with_head(full, head, batch=1, num_classes=classes, thresholds=thresholds, frozen=False)
        made[f"head {head}"] = folder / f"{head}.onnx"
        onnx.save(model, made[f"head {head}"])
    pictures = calibration_pictures(open_dataset(data, "train"), Detector(provider="cpu").metadata.letterbox)
    plain = Quantizer(onnx.load(made["head boxes"]), pictures, QuantizationOptions(), folder).quantized()
    for name, model in (("int8 as quantised", plain), ("int8 rearranged", rearrange(plain))):
        made[name] = folder / f"{name}.onnx"
        onnx.save(model, made[name])
    return made


def session_and_feed(path: Path, *, profile: Path | None = None) -> tuple[Any, dict[str, Any]]:
    """One thread; a random picture."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    described = session.get_inputs()[0]
    shape = [side if isinstance(side, int) else 1 for side in described.shape]
    random = np.random.default_rng(0)
    is_bytes = described.type == "tensor(uint8)"
    pixels = random.integers(0, 256, shape, dtype=np.uint8) if is_bytes else random.random(shape, dtype=np.float32)
    return session, {described.name: pixels}


def timed(paths: dict[str, Path], rounds: int) -> dict[str, float]:
    """Median ms of each file; each is run once unmeasured before each measured run."""
    running = {name: session_and_feed(path) for name, path in paths.items()}
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in track(range(rounds), description="timing", console=console(), transient=True):
        for name, (session, feed) in running.items():
            session.run(None, feed)
            started = time.perf_counter()
            session.run(None, feed)
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: round(statistics.median(spent), 3) for name, spent in times.items()}


def by_operator(path: Path, runs: int, folder: Path) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    """Median us by operator type, and of the slowest nodes with their operator."""
    session, feed = session_and_feed(path, profile=folder / "profile")
    for _ in range(runs):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time").partition("_token_")[0]
            spent.setdefault((event["args"]["op_name"], name), []).append(event["dur"])
    medians = {key: statistics.median(values) for key, values in spent.items()}
    total: Counter[str] = Counter()
    for (operator, _), value in medians.items():
        total[operator] += round(value)
    slowest = sorted(((round(value), *key) for key, value in medians.items()), reverse=True)[:SHOWN_LAYERS]
    return dict(total.most_common()), [(operator, name, value) for value, operator, name in slowest]


@app.command()
def export_graph_cost(
    data: Annotated[Path, typer.Option(help="Pictures to calibrate int8 with, as for mmp-train.")],
    beside: Annotated[list[Path] | None, typer.Option(help="Another ONNX file to time along; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=5)] = 60,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time every version of the shipped network, and both int8 versions by operator."""
    with exit_on_error(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        candidates, thresholds = shipped_network()
        paths = files(candidates, thresholds, data, folder)
        paths |= {path.stem: path for path in beside or ()}
        medians = timed(paths, rounds)
        table = Table("file", "median ms", "of bare network", "of int8 rearranged")
        for file, value in medians.items():
            ratios = (f"{value / medians[base]:.3f}" for base in ("bare network", "int8 rearranged"))
            table.add_row(file, f"{value:.2f}", *ratios)
        console().print(table)
        operators = {}
        for file in ("int8 as quantised", "int8 rearranged"):
            totals, slowest = by_operator(paths[file], rounds, folder)
            operators[file] = {"us_by_operator": totals, "slowest_us": slowest}
            table = Table("operator", "node", "median us", title=file)
            for row in slowest:
                table.add_row(*map(str, row))
            console().print(table)
        if as_json:
            document = {"machine": machine(), "rounds": rounds, "median_ms": medians, "operators": operators}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    app()
