"""Compare two runs of training."""

import csv
from pathlib import Path

import torch

from mmpnet.train.artifacts.checkpoint import load_checkpoint


def assert_same_run(one: Path, other: Path) -> None:
    """Every tensor bit for bit, and every number of every epoch but the seconds."""
    for name in ("last.pth", "best.pth"):
        a, b = load_checkpoint(one / name), load_checkpoint(other / name)
        for key, tensor in a.ema.items():
            assert torch.equal(tensor, b.ema[key]), key
        assert a.provenance.evaluation == b.provenance.evaluation
    one_end, other_end = (torch.load(folder / "last.pth", weights_only=True)["progress"] for folder in (one, other))
    torch.testing.assert_close(one_end, other_end, rtol=0, atol=0)
    rows_a, rows_b = (list(csv.DictReader((folder / "results.csv").open())) for folder in (one, other))
    assert [{**row, "seconds": ""} for row in rows_a] == [{**row, "seconds": ""} for row in rows_b]
