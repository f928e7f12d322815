"""How many pictures a second one training step takes in, on synthetic batches, with and without frozen backbone blocks.

A sample is one whole step (normalise, forward, loss, backward, AdamW, weight average) on the same batch; the settings
take turns, so that a noisy machine troubles them alike. Needs mmpnet[train]. Prints a table on stderr and, with --json,
one JSON document on stdout.
"""

import json
import statistics
import sys
import time
from typing import Annotated

import torch
import typer
from rich.table import Table

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.runtime.command import HELP_NAMES, exit_on_error, people
from mmpnet.train.candidates import InputNormalisation
from mmpnet.train.config import RECIPE
from mmpnet.train.device import has_fast_bfloat16, resolve_device
from mmpnet.train.loader import Batch
from mmpnet.train.losses import DetectionLoss
from mmpnet.train.memory import keep_freed_memory
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.optim import WeightAverage
from mmpnet.train.step import update
from mmpnet.train.targets import LabelGrid

STRIDE = 8
POSITIVES_PER_PICTURE = 12
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


class Bench:
    """A network with its optimiser, ready to step on one fixed batch."""

    def __init__(self, *, freeze: int, batch: int, side_px: int, device: torch.device) -> None:
        torch.manual_seed(0)
        anchors = AnchorSpec(sizes_px=RECIPE.sizes_px, aspect_ratios=RECIPE.aspect_ratios, stride=STRIDE)
        self._device = device
        self._network = MmpNet(anchors.num_sizes, anchors.num_aspect_ratios).to(
            device=device, memory_format=torch.channels_last
        )
        enter_training_mode(self._network, freeze=freeze)
        self._optimizer = torch.optim.AdamW([p for p in self._network.parameters() if p.requires_grad], lr=1e-4)
        self._average = WeightAverage(self._network, 0.998)
        self._normalise = InputNormalisation().to(device)
        self._anchors = torch.from_numpy(anchors.boxes_xyxy((side_px, side_px))).to(device)
        self._images = torch.randint(0, 256, (batch, side_px, side_px, 3), dtype=torch.uint8, device=device)
        labels = torch.zeros((batch, *anchors.grid_shape((side_px, side_px))), dtype=torch.long)
        labels.flatten(1)[:, torch.randperm(labels[0].numel())[:POSITIVES_PER_PICTURE]] = 1
        positive = labels.flatten(1).nonzero()[:, 1]
        self._target = LabelGrid(
            labels=labels.to(device),
            boxes_xyxy=self._anchors[positive.to(device)],
            scores=torch.ones(len(positive), device=device),
        )

    def step_s(self, loaded: Batch | None = None) -> float:
        """Seconds of one step, on the fixed batch or on one that was loaded."""
        started = time.perf_counter()
        pixels, target = self._images, self._target
        if loaded is not None:
            pixels, target = loaded.images_bgr.to(self._device), loaded.target.to(self._device)
        images = self._normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(self._device)):
            output = self._network(images)
        update(self._optimizer, DetectionLoss()(output, target, self._anchors).total, max_grad_norm=10.0)
        self._average.update(self._network, step=1000)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - started


@app.command()
def training(
    batch: Annotated[int, typer.Option(min=2)] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32)] = 320,
    steps: Annotated[int, typer.Option(min=3, help="Timed steps of each setting, after three of warm-up.")] = 12,
    device: Annotated[str, typer.Option()] = "auto",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time training steps with 0, 2, 4 and 7 frozen backbone blocks."""
    with exit_on_error():
        where = resolve_device(device)
        if where.type == "cpu":
            keep_freed_memory()
        benches = {n: Bench(freeze=n, batch=batch, side_px=side_px, device=where) for n in (0, 2, 4, 7)}
        seconds: dict[int, list[float]] = {freeze: [] for freeze in benches}
        for turn in range(steps + 3):
            for freeze, bench in benches.items():
                spent = bench.step_s()
                if turn >= 3:
                    seconds[freeze].append(spent)
        speed = {freeze: batch / statistics.median(values) for freeze, values in seconds.items()}
        table = Table("frozen blocks", "images/s", "ratio")
        for freeze, value in speed.items():
            table.add_row(str(freeze), f"{value:.1f}", f"{value / speed[0]:.2f}")
        people().print(table)
        if as_json:
            result = {"device": str(where), "threads": torch.get_num_threads(), "torch": str(torch.__version__)}
            sys.stdout.write(json.dumps({**result, "batch": batch, "imgsz": side_px, "images_per_s": speed}) + "\n")


if __name__ == "__main__":
    app()
