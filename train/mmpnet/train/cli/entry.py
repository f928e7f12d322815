"""The commands mmp-train, mmp-val and mmp-collect, as installed."""

from mmpnet.console.command import launch


def train() -> None:
    """Run mmp-train."""
    launch("mmpnet.train.cli.train", extra="train")


def val() -> None:
    """Run mmp-val."""
    launch("mmpnet.train.cli.val", extra="cpu,eval")


def collect() -> None:
    """Run mmp-collect."""
    launch("mmpnet.train.cli.collect", extra="cpu")
