"""This machine's peak rates of multiplying and copying, the upper limits for a model's layers."""

import time
from collections.abc import Callable
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from mmpnet.bench.statistics import Floats
from mmpnet.runtime.inference.session import open_session

Arithmetic: TypeAlias = Literal["fp32", "int8"]
BEST = 10
COPIED_BYTES, PIECE_BYTES = 1 << 26, 1 << 22
"""The whole buffer is larger than most caches; a piece is small for the reason given in gemm_gops."""


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """10^9 operations per second (a multiply-add is two) and 10^9 bytes per second, of one thread."""

    fp32_gops: float
    int8_gops: float
    memory_gb_s: float | None = None

    def of(self, kind: Arithmetic) -> float:
        """The rate of the matrix product in this arithmetic."""
        return self.fp32_gops if kind == "fp32" else self.int8_gops

    def or_higher(self, other: "Peaks") -> "Peaks":
        """The higher value of each rate: other load on the machine can only lower them."""
        memory = [one for one in (self.memory_gb_s, other.memory_gb_s) if one is not None]
        return Peaks(
            fp32_gops=max(self.fp32_gops, other.fp32_gops),
            int8_gops=max(self.int8_gops, other.int8_gops),
            memory_gb_s=max(memory, default=None),
        )


def measure_peaks(*, seconds: float, with_memory: bool = False) -> Peaks:
    """Measure each rate for `seconds`; memory only if requested, as copying needs twice COPIED_BYTES."""
    return Peaks(
        fp32_gops=round(gemm_gops("fp32", seconds=seconds), 2),
        int8_gops=round(gemm_gops("int8", seconds=seconds), 2),
        memory_gb_s=round(copy_gb_s(seconds=seconds), 2) if with_memory else None,
    )


def gemm_gops(kind: Arithmetic, *, seconds: float) -> float:
    """ONNX Runtime's own matrix product, float32, or uint8 by int8 (U8S8), weights packed.

    The size is 384x384x384: large enough for full speed, and small enough to finish before the system gives the core
    to another program.
    """
    path = Path(str(files("mmpnet.bench") / "models" / f"gemm-{kind}.onnx"))
    session = open_session(path, provider="cpu", threads=1)
    (left,), (product,) = session.get_inputs(), session.get_outputs()
    operand = np.random.default_rng(0).integers(0, 128, left.shape).astype(np.float32 if kind == "fp32" else np.uint8)
    operations: int = 2 * product.shape[0] * product.shape[1] * left.shape[1]
    return operations / _best_s(lambda: session.run(None, {left.name: operand}), seconds=seconds) / 1e9


def copy_gb_s(*, seconds: float) -> float:
    """10^9 bytes per second, read and written, while copying through more memory than the caches hold."""
    source, target = np.ones((2, COPIED_BYTES // PIECE_BYTES, PIECE_BYTES), np.uint8)
    pieces = cycle(range(len(source)))

    def copy_next() -> None:
        piece = next(pieces)
        np.copyto(target[piece], source[piece])

    return 2 * PIECE_BYTES / _best_s(copy_next, seconds=seconds) / 1e9


def _best_s(run: Callable[[], object], *, seconds: float) -> float:
    """Median of the BEST fastest runs: other load on the machine can only slow them down."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 2 * BEST or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    fastest: Floats = np.sort(took)[:BEST]
    return float(np.median(fastest))
