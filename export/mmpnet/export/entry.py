"""The command mmp-export, as installed."""

from mmpnet.console.command import launch


def export() -> None:
    """mmp-export."""
    launch("mmpnet.export.cli", extra="train")
