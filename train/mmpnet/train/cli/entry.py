"""The commands mmp-train and mmp-val, as installed."""

from mmpnet.console.command import launch


def train() -> None:
    """Run mmp-train."""
    launch("mmpnet.train.cli.train", extra="train")


def val() -> None:
    """Run mmp-val."""
    launch("mmpnet.train.cli.val", extra="cpu,eval")
