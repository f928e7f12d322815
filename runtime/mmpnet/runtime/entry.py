"""The commands mmp-run and mmp-info, as installed."""

from mmpnet.runtime.command import launch


def run() -> None:
    """mmp-run."""
    launch("mmpnet.runtime.cli", extra="cpu")


def info() -> None:
    """mmp-info."""
    launch("mmpnet.runtime.info_cli", extra="cpu")
