"""What shapes of the network cost: multiply-adds, and milliseconds in fp32 and in int8, on one thread in one run.

Random weights, batch norms folded, the network alone (no normalisation, no decoding); int8 is static QDQ with unsigned
activations and signed weights per channel. All sessions take turns. Needs mmpnet[train]. Prints a table on stderr and,
with --json, one JSON document on stdout.
"""

import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from latency import machine
from rich.progress import track
from rich.table import Table
from shape_candidates import CANDIDATES
from torch import nn

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.export.onnx_runtime_tools import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.model import MmpNet

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


class Noise(CalibrationDataReader):  # type: ignore[misc]
    """A few random pictures: ranges matter little for time."""

    def __init__(self, side_px: int) -> None:
        random = np.random.default_rng(0)
        self._batches = iter([random.standard_normal((1, 3, side_px, side_px)).astype(np.float32) for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def multiply_adds(network: MmpNet, side_px: int) -> int:
    """Of all convolutions, for one picture."""
    total = 0

    def count(module: nn.Conv2d, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, side_px, side_px))
    for handle in handles:
        handle.remove()
    return total


def sessions(network: MmpNet, side_px: int, folder: Path) -> tuple[onnxruntime.InferenceSession, ...]:
    """The network in fp32 and in int8, one thread each."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.2)
    fp32, prepared, int8 = (folder / f"{name}.onnx" for name in ("fp32", "prepared", "int8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, side_px, side_px)
        torch.onnx.export(network.eval(), (example,), fp32, input_names=["images"], opset_version=13, dynamo=False)
    quant_pre_process(fp32, prepared)
    quantize_static(
        prepared,
        int8,
        Noise(side_px),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return tuple(onnxruntime.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in (fp32, int8))


@app.command()
def shapes(
    rounds: Annotated[int, typer.Option(min=3)] = 40,
    shape: Annotated[list[str] | None, typer.Option(help="Only this candidate; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time every candidate, round after round."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        known = {candidate.name: candidate for candidate in CANDIDATES}
        unknown = [name for name in shape or () if name not in known]
        if unknown:
            raise typer.BadParameter(f"--shape {unknown[0]!r}: known are {', '.join(known)}")
        rows, running = [], []
        for candidate in track([known[name] for name in shape or known], description="exporting", console=console()):
            network = candidate.build()
            size = {"multiply_adds": multiply_adds(network, candidate.side_px)}
            size["parameters"] = sum(parameter.numel() for parameter in network.parameters())
            rows.append({"name": candidate.name, **size})
            frame = np.zeros((1, 3, candidate.side_px, candidate.side_px), np.float32)
            running.append((frame, sessions(network, candidate.side_px, Path(folder))))
        times: list[tuple[list[float], list[float]]] = [([], []) for _ in rows]
        for _ in track(range(rounds), description="timing", console=console()):
            for (frame, pair), samples in zip(running, times, strict=True):
                for session, spent in zip(pair, samples, strict=True):
                    session.run(None, {"images": frame})
                    started = time.perf_counter()
                    session.run(None, {"images": frame})
                    spent.append((time.perf_counter() - started) * 1e3)
        table = Table("shape", "M multiply-adds", "M parameters", "fp32 ms", "int8 ms", "int8 ratio")
        for row, (fp32, int8) in zip(rows, times, strict=True):
            row |= {"fp32_ms": round(statistics.median(fp32), 3), "int8_ms": round(statistics.median(int8), 3)}
            millions = (f"{row['multiply_adds'] / 1e6:.0f}", f"{row['parameters'] / 1e6:.2f}")
            ratio = row["int8_ms"] / rows[0]["int8_ms"]
            table.add_row(row["name"], *millions, f"{row['fp32_ms']:.2f}", f"{row['int8_ms']:.2f}", f"{ratio:.2f}")
        console().print(table)
        if as_json:
            sys.stdout.write(json.dumps({"machine": machine(), "rounds": rounds, "shapes": rows}, indent=2) + "\n")


if __name__ == "__main__":
    app()
