"""The commands mmp-run, mmp-info, mmp-doctor and mmp-bench, as installed."""

from mmpnet.runtime.command import launch


def run() -> None:
    """mmp-run."""
    launch("mmpnet.runtime.cli", extra="cpu")


def info() -> None:
    """mmp-info."""
    launch("mmpnet.runtime.info_cli", extra="cpu")


def doctor() -> None:
    """mmp-doctor."""
    launch("mmpnet.runtime.doctor_cli", extra="cpu")


def bench() -> None:
    """mmp-bench."""
    launch("mmpnet.runtime.bench_cli", extra="cpu")
