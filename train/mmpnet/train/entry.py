"""The commands mmp-train and mmp-val, as installed."""

from mmpnet.runtime.command import launch


def train() -> None:
    """mmp-train."""
    launch("mmpnet.train.cli", extra="train")


def val() -> None:
    """mmp-val."""
    launch("mmpnet.train.val_cli", extra="cpu,eval")
