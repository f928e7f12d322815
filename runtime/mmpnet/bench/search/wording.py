"""Sentences and table cells of the search report."""

import shlex
from pathlib import Path

from mmpnet.bench.search.report import SearchReport, SettingReport
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS

COLUMNS = ("model", "input px", "precision", "threads", "median ms", "p90", "model alone", "AP", "AP50", "MB", "")


def verdict(report: SearchReport) -> str:
    """A sentence on the chosen setting, or on the fastest one if none meets the target."""
    judge = f"{counted(report.judge.n_images, 'image')} of {report.judge.name}"
    if report.chosen is None:
        fastest = report.settings[0]
        return (
            f"no setting takes at most {report.target_ms:g} ms: the fastest is {_named(fastest)}: "
            f"{report.rank} {fastest.time_ms:.2f} ms, AP {fastest.AP:.3f} on {judge}; try smaller sizes, int8 or more "
            "threads"
        )
    chosen = report.settings[report.chosen]
    noisy = "; its repeats disagree, measure again on a quiet machine" if chosen.noisy else ""
    return (
        f"within {report.target_ms:g} ms the most accurate is {_named(chosen)}: {report.rank} {chosen.time_ms:.2f} ms, "
        f"AP {chosen.AP:.3f} on {judge}{noisy}"
    )


def command_of(report: SearchReport, folder: Path | None) -> str | None:
    """The command that uses the chosen setting; None if there is none."""
    if report.chosen is None:
        return None
    chosen = report.settings[report.chosen]
    embedded = chosen.file.removesuffix(".onnx")
    made = folder is not None and (folder / chosen.file).exists()
    model = str(folder / chosen.file) if folder is not None and made else chosen.file
    if not made and embedded in EMBEDDED_MODELS:
        model = embedded
    return shlex.join(["mmp-run", model, "--camera", "0", "--threads", str(chosen.threads)])


def cells(report: SearchReport, one: SettingReport) -> list[str]:
    """The cells of a setting's row, in the order of COLUMNS."""
    file = report.file(one)
    height, width = file.input_hw
    p90, ap50 = one.end_to_end.percentiles_ms["p90"], file.accuracy["AP50"]
    marks = [
        *(["chosen"] if report.chosen is not None and one is report.settings[report.chosen] else []),
        *(["on the front"] if one.front else []),
        *(["noisy"] if one.noisy else []),
    ]
    return [
        file.file,
        f"{height}x{width}",
        file.precision,
        str(one.threads or "unset"),
        f"{one.end_to_end.median_ms:.2f}",
        "insufficient samples" if p90 is None else f"{p90:.2f}",
        f"{one.infer_ms:.2f}",
        f"{one.AP:.3f}",
        "-" if ap50 is None else f"{ap50:.3f}",
        f"{file.size_bytes / 1e6:.1f}",
        ", ".join(marks),
    ]


def _named(one: SettingReport) -> str:
    threads = "threads unset" if one.threads == 0 else f"{one.threads} thread{'s' if one.threads > 1 else ''}"
    return f"{one.file} with {threads}"
