"""The command mmp-adapt, as installed."""

from mmpnet.console.command import launch


def adapt() -> None:
    """Run mmp-adapt."""
    launch("mmpnet.adapt.command", extra="cpu,eval")
