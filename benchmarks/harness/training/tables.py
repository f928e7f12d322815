"""Tables of training speeds, and sentences on what they mean."""

from collections.abc import Sequence

from rich.table import Table

from harness.training.speeds import LoaderSpeed, StepSpeed

AIM = 0.95
"""The share of the step's speed to keep beside the loader."""
KINDS = {"loader_alone": "loader alone", "step_alone": "step alone", "together": "together"}
"""Fields of LoaderSpeed, and what they are called."""


def speeds_table(rows: Sequence[StepSpeed] | Sequence[LoaderSpeed]) -> Table:
    """One row for each measured step or loader."""
    if isinstance(rows[0], StepSpeed):
        headings = ["step", "images/s", "ratio"]
    else:
        headings = ["images from", *KINDS.values(), "kept", "waiting"]
    table = Table("device", *headings, "peak GPU MB", title="images per second")
    for row in rows:
        memory = "-" if row.peak_gpu_mb is None else f"{row.peak_gpu_mb:.0f}"
        if isinstance(row, StepSpeed):
            table.add_row(row.device, step_name(row), f"{row.images_per_s:.1f}", f"{row.ratio:.2f}", memory)
        else:
            speeds = [f"{getattr(row, kind):.1f}" for kind in KINDS]
            table.add_row(row.device, row.source, *speeds, f"{row.kept:.1%}", f"{row.waiting:.1%}", memory)
    return table


def step_name(row: StepSpeed) -> str:
    """The number of frozen blocks, and how the step differs from that of mmp-train without options."""
    differences = {"compiled": row.compiled, "--no-amp": not row.amp, "channels first": not row.channels_last}
    return ", ".join([f"{row.freeze} blocks frozen", *(name for name, differs in differences.items() if differs)])


def verdict(row: LoaderSpeed) -> str:
    """The share of the step's speed that is kept and, where that is less than the aim, the cause."""
    low, high = min(row.kept_rounds), max(row.kept_rounds)
    kept = f"{row.device}, {row.source}: {row.kept:.1%} of the step's speed kept ({low:.1%} to {high:.1%}), "
    if row.kept >= AIM:
        return f"{kept}the aim of {AIM:.0%} is reached"
    if row.loader_alone < row.step_alone:
        return f"{kept}less than {AIM:.0%}: the loader alone is slower than the step; more --workers, or the cache"
    times = row.loader_alone / row.step_alone
    return (
        f"{kept}less than {AIM:.0%}, though the loader alone is {times:.1f} times as fast as the step: they contend "
        f"for the cores; sharing those without loss would keep {row.cores_allow:.1%}"
    )
