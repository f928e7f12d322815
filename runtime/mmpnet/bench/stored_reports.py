"""Compare two reports that mmp-bench --json has written."""

from pathlib import Path

import msgspec

from mmpnet.bench.compare import ComparedStage, Comparison, ComparisonRules, SideReport, judge
from mmpnet.bench.latency import LatencyReport
from mmpnet.bench.statistics import StageReport
from mmpnet.contract.errors import MmpnetError


class StoredReportError(MmpnetError):
    """A stored report cannot be read, or cannot be compared with another."""


def read_report(path: Path) -> LatencyReport:
    """Read a stored report. Raises: StoredReportError if it was not written by mmp-bench --json."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LatencyReport)
    except OSError as error:
        raise StoredReportError(
            f"{path}: cannot be read ({error.strerror}); expected a file from mmp-bench MODEL --json"
        ) from error
    except msgspec.MsgspecError as error:
        raise StoredReportError(
            f"{path}: is not a report of mmp-bench MODEL --json ({' '.join(str(error).split())[:160]}); write it again"
        ) from error


def compare_stored(a: Path, b: Path, rules: ComparisonRules, *, force: bool) -> Comparison:
    """Compare two stored reports. The interval extends from A's fastest repeat over B's slowest to the reverse.

    It is wider than the interval of interleaved runs.

    Raises: StoredReportError if one cannot be read, or if machines or frame sizes differ and `force` is not set.
    """
    first, second = read_report(a), read_report(b)
    if not force:
        _check_comparable(a, first, b, second)
    first_stage, second_stage = _stage(first, rules.measured), _stage(second, rules.measured)
    low, high = _ratio_range(first_stage, second_stage)
    return Comparison(
        a=_side(a, first, first_stage),
        b=_side(b, second, second_stage),
        measured=rules.measured,
        frame_hw=first.settings.frame_hw,
        interleaved=False,
        pairs=None,
        ratio=round(first_stage.median_ms / second_stage.median_ms, 4),
        interval=(round(low, 4), round(high, 4)),
        interval_is="range of the repeats' medians, no confidence interval",
        margin=rules.margin,
        verdict=judge((low, high), margin=rules.margin),
        machine=first.machine,
        versions=first.versions,
    )


def _ratio_range(a: StageReport, b: StageReport) -> tuple[float, float]:
    """The smallest and the largest ratio of any repeat of A to any repeat of B."""
    return min(a.repeats_ms) / max(b.repeats_ms), max(a.repeats_ms) / min(b.repeats_ms)


def _check_comparable(a: Path, first: LatencyReport, b: Path, second: LatencyReport) -> None:
    if first.machine != second.machine:
        raise StoredReportError(
            f"{a.name} was measured on {first.machine}, {b.name} on {second.machine}; "
            "measure both on one machine, or give --force"
        )
    if first.settings.frame_hw != second.settings.frame_hw:
        sizes = ["{1}x{0}".format(*report.settings.frame_hw) for report in (first, second)]
        raise StoredReportError(
            f"{a.name} was measured with frames of {sizes[0]}, {b.name} with {sizes[1]}; "
            "measure both with one --frame-size, or give --force"
        )


def _stage(report: LatencyReport, measured: ComparedStage) -> StageReport:
    stage: StageReport = getattr(report.back_to_back.stages, measured)
    return stage


def _side(path: Path, report: LatencyReport, stage: StageReport) -> SideReport:
    return SideReport(
        text=str(path),
        file=report.model.file,
        provider=report.settings.provider,
        threads=report.settings.threads,
        median_ms=stage.median_ms,
        noisy=stage.noisy,
    )
