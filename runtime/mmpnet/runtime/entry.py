"""The command mmp-run, as installed."""

from mmpnet.runtime.command import launch


def run() -> None:
    """mmp-run."""
    launch("mmpnet.runtime.cli", extra="cpu")
