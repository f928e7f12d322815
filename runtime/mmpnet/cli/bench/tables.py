"""Show the reports of benchmarks as tables."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table

from mmpnet.bench.compare import Comparison
from mmpnet.bench.environment import MachineConditions
from mmpnet.bench.latency import LatencyReport, StageReports
from mmpnet.bench.layers.report import LayerRow, LayersReport
from mmpnet.bench.statistics import NOISY_SPREAD, RANKS, StageReport
from mmpnet.contract.text import counted


def show_report(console: Console, report: LatencyReport) -> None:
    """Print the times by stage, the cold start, and the machine."""
    settings, fast, slow = report.settings, report.back_to_back, report.paced
    height_px, width_px = settings.frame_hw
    what = settings.image or "a synthetic frame"
    console.print(
        f"{report.model.file} on {settings.provider}, threads {settings.threads or 'unset'}; "
        f"{what} of {width_px}x{height_px}, {counted(report.detections, 'detection')}"
    )
    _show_stages(console, f"back to back, {settings.repeats} x {settings.duration_s:g} s", fast.stages)
    console.print(f"{fast.frames_per_s:g} frames per second, CPU at {fast.cpu_percent:.0f} % of one core")
    _show_stages(console, f"at {slow.rate_fps:g} frames per second, {settings.duration_s:g} s", slow.stages)
    console.print(f"{counted(slow.dropped, 'frame')} dropped, CPU at {slow.cpu_percent:.0f} % of one core")
    if report.cold_start is not None:
        peak = report.cold_start.peak_memory_mb
        memory = "" if peak is None else f", {peak:.0f} MB at most"
        console.print(
            f"cold start {report.cold_start.seconds:.2f} s{memory} "
            f"(median of {counted(report.cold_start.processes, 'process')})"
        )
    facts = Table(show_header=False, box=None)
    for name, value in _facts(report):
        facts.add_row(name, value)
    console.print(facts)


def noise_line(report: LatencyReport) -> str | None:
    """A warning if the repeats disagree, else None."""
    if not report.noisy:
        return None
    load = report.before.load_average
    busy = "" if load is None else f"; load average {load:g}, usable cores {report.machine.usable_cores:g}"
    return (
        f"noisy: the repeats' medians are {report.back_to_back.stages.end_to_end.spread:.0%} apart, more than "
        f"{NOISY_SPREAD:.0%}{busy}; stop other programs, or use mmp-bench compare"
    )


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print both medians, the ratio with its interval, and the verdict."""
    table = Table("", "model", "provider", "threads", "median ms")
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        table.add_row(name, side.text, side.provider, str(side.threads or "unset"), f"{side.median_ms:.2f}")
    console.print(table)
    low, high = comparison.interval
    how = f"{comparison.pairs} pairs, interleaved" if comparison.interleaved else "stored reports, not interleaved"
    console.print(
        f"{comparison.measured.replace('_', ' ')}: A takes {comparison.ratio:.3f} times as long as B, "
        f"{low:.3f} to {high:.3f} ({how}; {comparison.interval_is})"
    )
    noisy = [side.text for side in (comparison.a, comparison.b) if side.noisy]
    doubt = f"; but {' and '.join(noisy)} noisy: measure again on a quiet machine" if noisy else ""
    console.print(f"{comparison.verdict} (margin {comparison.margin:.0%}){doubt}")


def show_layers(console: Console, report: LayersReport, *, top: int) -> None:
    """Print the slowest rows, the sum of the others, and totals by operator and by arithmetic."""
    console.print(f"{report.file}: medians of {report.runs} runs, one thread")
    table = Table(Column("layer", overflow="fold"), "op", box=None, padding=(0, 1, 0, 0))
    for name in ("ms", "share", "sum", "10⁶ mul-adds", "GOP/s", "of peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows[:top]:
        table.add_row(*_layer_cells(row))
    rest = report.rows[top:]
    if rest:
        ms, share = sum(row.ms for row in rest), sum(row.share for row in rest)
        multiply_adds = sum(row.multiply_adds for row in rest)
        table.add_row(f"{len(rest)} more", "", f"{ms:.3f}", f"{share:.1%}", "100.0%", f"{multiply_adds / 1e6:.2f}")
    console.print(table)
    operators = Table("operator", "kernels", "ms", "share", box=None)
    for total in report.operators:
        operators.add_row(total.operator, str(total.kernels), f"{total.ms:.3f}", f"{total.share:.1%}")
    console.print(operators)
    for kind in report.kinds:
        console.print(
            f"{kind.kind}: {kind.multiply_adds:,} multiply-adds in {kind.ms:.2f} ms, {kind.gops:.1f} GOP/s, "
            f"{kind.peak_share:.0%} of the matrix product's {kind.peak_gops:.1f}"
        )
        if kind.peak_share > 1:
            console.print("more than the peak: the machine was busier while the peak was measured; run this again")
    console.print(
        f"kernels {report.kernels_ms:.2f} ms of {report.run_ms:.2f} ms a run; {report.multiply_adds:,} multiply-adds, "
        f"each is two operations. This machine's matrix product: fp32 {report.peaks.fp32_gops:.1f}, "
        f"int8 {report.peaks.int8_gops:.1f} GOP/s"
    )


def _show_stages(console: Console, title: str, stages: StageReports) -> None:
    console.print(f"{title}; infer is the model alone")
    table = Table("stage", "median ms", *(f"p{rank}" for rank in RANKS), "spread", box=None, padding=(0, 1, 0, 0))
    for name, stage in (
        ("preprocess", stages.preprocess),
        ("infer", stages.infer),
        ("postprocess", stages.postprocess),
        ("end to end", stages.end_to_end),
    ):
        table.add_row(name, *_stage_cells(stage))
    console.print(table)


def _stage_cells(stage: StageReport) -> Iterator[str]:
    yield f"{stage.median_ms:.2f}"
    for value in stage.percentiles_ms.values():
        yield "insufficient samples" if value is None else f"{value:.2f}"
    yield "-" if stage.spread is None else f"{stage.spread:.1%}"


def _layer_cells(row: LayerRow) -> Iterator[str]:
    yield row.layer
    yield ", ".join(row.operators)
    yield f"{row.ms:.3f}"
    yield f"{row.share:.1%}"
    yield f"{row.cumulative_share:.1%}"
    yield f"{row.multiply_adds / 1e6:.2f}" if row.multiply_adds else ""
    yield "" if row.gops is None else f"{row.gops:.1f}"
    yield "" if row.peak_share is None else f"{row.peak_share:.0%}"


def _facts(report: LatencyReport) -> Iterator[tuple[str, str]]:
    model, versions = report.model, report.versions
    yield "model", f"{model.size_bytes / 1e6:.2f} MB, sha256 {model.sha256[:12]}, input {_shape(model.input_shape)}"
    if model.parameters is not None and model.multiply_adds is not None:
        yield "", f"{model.parameters:,} parameters, {model.multiply_adds:,} multiply-adds"
    yield "machine", str(report.machine)
    yield "before", _conditions_text(report.before)
    yield "after", _conditions_text(report.after)
    yield (
        "versions",
        f"mmpnet {versions.mmpnet}, onnxruntime {versions.onnxruntime}, opencv {versions.opencv}, "
        f"numpy {versions.numpy}, Python {versions.python}",
    )


def _conditions_text(conditions: MachineConditions) -> str:
    known = (
        ("load average", conditions.load_average),
        ("°C", conditions.temperature_c),
        ("throttled so far", conditions.throttle_count),
        ("governor", conditions.governor),
    )
    return ", ".join(f"{name} {value}" for name, value in known if value is not None) or "unknown"


def _shape(sides: tuple[int | str | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in sides)
