"""Kernel times and multiply-adds of a model, grouped by the modules of the network."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import get_args

import msgspec

from mmpnet.bench.environment import LibraryVersions, MachineFacts, installed_versions, machine_facts
from mmpnet.bench.layers.peaks import Arithmetic, Peaks, measure_peaks
from mmpnet.bench.profile.attribution import Part, attribute
from mmpnet.bench.profile.kernels import Kernel, Profile, profile_kernels
from mmpnet.bench.profile.layer_costs import Layer, read_layers
from mmpnet.bench.profile.ort_profile import Shape

_KIND_OF_TYPE: dict[str, Arithmetic] = {"float": "fp32", "uint8": "int8", "int8": "int8"}
_WIDTH: dict[Arithmetic | None, int] = {"fp32": 4, "int8": 1}


class LayerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One module of the network, or one node outside all modules.

    kernels: names of the nodes that ran for it; empty if they were fused into another module's. ms: sum of their median
    times. kind: of the arithmetic, None without multiply-adds. gops: 10^9 operations per second, a multiply-add is two.
    peak_share: gops relative to this machine's matrix product. bytes: activations in and out, and weights.
    """

    layer: str
    operators: tuple[str, ...]
    kernels: tuple[str, ...]
    output_shape: Shape
    kind: Arithmetic | None
    ms: float
    share: float
    cumulative_share: float
    multiply_adds: int
    bytes: int
    gops: float | None
    peak_share: float | None


class OperatorTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the kernels of one operator."""

    operator: str
    kernels: int
    ms: float
    share: float


class ArithmeticTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the rows that multiply in one arithmetic type."""

    kind: Arithmetic
    ms: float
    multiply_adds: int
    gops: float
    peak_gops: float
    peak_share: float


class LayersReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="mmp-bench layers"):
    """Slowest rows first. kernels_ms: sum of all kernels' medians; run_ms: a whole run, with the time between them."""

    schema: int = 1
    file: str
    runs: int
    run_ms: float
    kernels_ms: float
    multiply_adds: int
    rows: tuple[LayerRow, ...]
    operators: tuple[OperatorTotal, ...]
    kinds: tuple[ArithmeticTotal, ...]
    peaks: Peaks
    machine: MachineFacts
    versions: LibraryVersions


def layers_report(path: Path, *, runs: int, peak_s: float, with_memory: bool = False) -> LayersReport:
    """Profile a file on one CPU thread, between two measurements of the peaks for `peak_s` each.

    The higher peaks are used, so that the comparison does not depend on a moment when the machine was busy.

    Raises: ContractError if it is missing or cannot be profiled.
    """
    before = measure_peaks(seconds=peak_s, with_memory=with_memory)
    profile = profile_kernels(path, runs=runs)
    peaks = before.or_higher(measure_peaks(seconds=peak_s, with_memory=with_memory))
    return build_report(path.name, profile, read_layers(path), peaks, runs=runs)


def build_report(file: str, profile: Profile, layers: Sequence[Layer], peaks: Peaks, *, runs: int) -> LayersReport:
    """Build the report; every kernel's time and every layer's multiply-adds are in exactly one row."""
    total_ms = sum(kernel.median_ms for kernel in profile.kernels)
    parts = sorted(attribute(profile.kernels, layers), key=lambda part: part.ms, reverse=True)
    so_far_ms = accumulate(part.ms for part in parts)
    rows = [_row(part, peaks, total_ms, so_far) for part, so_far in zip(parts, so_far_ms, strict=True)]
    return LayersReport(
        file=file,
        runs=runs,
        run_ms=round(profile.run_ms, 4),
        kernels_ms=round(total_ms, 4),
        multiply_adds=sum(row.multiply_adds for row in rows),
        rows=tuple(rows),
        operators=tuple(_operator_totals(profile.kernels, total_ms)),
        kinds=tuple(_kind_totals(rows, peaks)),
        peaks=peaks,
        machine=machine_facts(),
        versions=installed_versions(),
    )


def _row(part: Part, peaks: Peaks, total_ms: float, so_far_ms: float) -> LayerRow:
    multiply_adds = sum(layer.multiply_adds for layer in part.layers)
    kind = next((_KIND_OF_TYPE.get(kernel.input_type) for kernel in part.kernels), None) if multiply_adds else None
    gops = _gops(multiply_adds, part.ms) if kind is not None else None
    weights = sum(map(_weights, part.layers))
    operators = part.kernels or part.layers
    return LayerRow(
        layer=part.name,
        operators=tuple(dict.fromkeys(one.op for one in operators)),
        kernels=tuple(kernel.name for kernel in part.kernels),
        output_shape=operators[-1].output_shape,
        kind=kind,
        ms=round(part.ms, 4),
        share=round(part.ms / total_ms, 4),
        cumulative_share=round(so_far_ms / total_ms, 4),
        multiply_adds=multiply_adds,
        bytes=sum(kernel.activation_bytes for kernel in part.kernels) + weights * _WIDTH.get(kind, 4),
        gops=None if gops is None else round(gops, 2),
        peak_share=None if gops is None or kind is None else round(gops / peaks.of(kind), 4),
    )


def _weights(layer: Layer) -> int:
    """The number of weights in a layer's kernel; each is multiplied once per output position."""
    channels = layer.output_shape[1] if "Conv" in layer.op else layer.output_shape[-1]
    return layer.multiply_adds * channels // math.prod(layer.output_shape)


def _gops(multiply_adds: int, ms: float) -> float:
    return 2 * multiply_adds / max(ms, 1e-6) / 1e6


def _operator_totals(kernels: Sequence[Kernel], total_ms: float) -> Iterator[OperatorTotal]:
    """Totals per operator, slowest first."""
    times_ms = defaultdict[str, list[float]](list)
    for kernel in kernels:
        times_ms[kernel.op].append(kernel.median_ms)
    for operator, values in sorted(times_ms.items(), key=lambda item: sum(item[1]), reverse=True):
        ms = sum(values)
        yield OperatorTotal(operator=operator, kernels=len(values), ms=round(ms, 4), share=round(ms / total_ms, 4))


def _kind_totals(rows: Sequence[LayerRow], peaks: Peaks) -> Iterator[ArithmeticTotal]:
    for kind in get_args(Arithmetic):
        multiplying = [row for row in rows if row.kind == kind]
        if multiplying:
            ms, multiply_adds = sum(row.ms for row in multiplying), sum(row.multiply_adds for row in multiplying)
            gops, peak = _gops(multiply_adds, ms), peaks.of(kind)
            yield ArithmeticTotal(
                kind=kind,
                ms=round(ms, 4),
                multiply_adds=multiply_adds,
                gops=round(gops, 2),
                peak_gops=peak,
                peak_share=round(gops / peak, 4),
            )
