"""Entry points of mmp-run, mmp-info, mmp-doctor, mmp-bench and mmp-archive."""

from mmpnet.console.command import launch


def run() -> None:
    """mmp-run."""
    launch("mmpnet.cli.run.command", extra="cpu")


def info() -> None:
    """mmp-info."""
    launch("mmpnet.cli.info", extra="cpu")


def doctor() -> None:
    """mmp-doctor."""
    launch("mmpnet.cli.doctor.command", extra="cpu")


def bench() -> None:
    """mmp-bench."""
    launch("mmpnet.cli.bench.command", extra="cpu")


def archive() -> None:
    """mmp-archive."""
    launch("mmpnet.cli.archive.command", extra="cluster")
