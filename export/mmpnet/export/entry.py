"""The entry point of the installed command mmp-export."""

from mmpnet.console.command import launch


def export() -> None:
    """Run mmp-export."""
    launch("mmpnet.export.cli.command", extra="train")
