"""Two reports that mmp-bench --json has written, compared."""

from pathlib import Path

import msgspec

from mmpnet.bench.compare import Comparison, Measured, Rules, SideReport, judge
from mmpnet.bench.latency import Report
from mmpnet.bench.statistics import StageReport
from mmpnet.contract.errors import MmpnetError


class StoredReportError(MmpnetError):
    """A stored report cannot be read, or not be compared with another."""


def read_report(path: Path) -> Report:
    """Raises: StoredReportError if it is not what mmp-bench --json writes."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise StoredReportError(
            f"{path}: cannot be read ({error.strerror}); expected what mmp-bench MODEL --json wrote"
        ) from error
    except msgspec.MsgspecError as error:
        raise StoredReportError(
            f"{path}: is no report of mmp-bench MODEL --json ({' '.join(str(error).split())[:160]}); write it again"
        ) from error


def compare_stored(a: Path, b: Path, rules: Rules, *, force: bool) -> Comparison:
    """Not interleaved, so that the interval is wider: from A's fastest repeat against B's slowest to the reverse.

    Raises: StoredReportError if they cannot be read, or machines or frames differ and `force` does not hold.
    """
    first, second = read_report(a), read_report(b)
    if not force:
        _check_comparable(a, first, b, second)
    ours, theirs = _stage(first, rules.measured), _stage(second, rules.measured)
    low, high = min(ours.repeats_ms) / max(theirs.repeats_ms), max(ours.repeats_ms) / min(theirs.repeats_ms)
    return Comparison(
        a=_side(a, first, ours),
        b=_side(b, second, theirs),
        measured=rules.measured,
        frame_hw=first.settings.frame_hw,
        interleaved=False,
        pairs=None,
        ratio=round(ours.median_ms / theirs.median_ms, 4),
        interval=(round(low, 4), round(high, 4)),
        interval_is="range of the repeats' medians, no confidence interval",
        margin=rules.margin,
        verdict=judge((low, high), margin=rules.margin),
        machine=first.machine,
        versions=first.versions,
    )


def _check_comparable(a: Path, first: Report, b: Path, second: Report) -> None:
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


def _stage(report: Report, measured: Measured) -> StageReport:
    stage: StageReport = getattr(report.back_to_back.stages, measured)
    return stage


def _side(path: Path, report: Report, stage: StageReport) -> SideReport:
    return SideReport(
        text=str(path),
        file=report.model.file,
        provider=report.settings.provider,
        threads=report.settings.threads,
        median_ms=stage.median_ms,
        noisy=stage.noisy,
    )
