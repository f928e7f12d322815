"""What shapes of the network learn in a short run: the same recipe, pictures and seed for each of a few candidates.

Every candidate starts from ImageNet weights. A narrower front is pruned from them, then taught for a while to give
what the wide one gives, so that it may stay frozen as the wide one does; its remaining error is the squared difference
of the last outputs over their variance. Needs mmpnet[train]. Prints a table on stderr and, with --json, one JSON
document on stdout.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from shape_candidates import CANDIDATES, FRONT_BLOCKS, Candidate, prune_front
from torch import Tensor, nn
from training_batches import endless

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.datasets.load import read_data
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_THRESHOLDS, Evaluation, evaluate
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.artifacts.provenance import provenance_of
from mmpnet.train.engine.device import has_fast_bfloat16
from mmpnet.train.engine.optim import WeightAverage, build_optimizer, learning_rate_factor
from mmpnet.train.engine.run_writer import TrainingReport
from mmpnet.train.engine.state import TrainingState
from mmpnet.train.engine.trainer import TrainingRun
from mmpnet.train.loading.image_cache import StoredPictures
from mmpnet.train.loading.loader import Batch
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.network.inference_net import InputNormalisation
from mmpnet.train.network.torch_detector import torch_detector
from mmpnet.train.network.weights import load_weights

FRONT_RATE = 3e-3
BLOCK_WEIGHTS = (0.1, 0.25, 0.5, 1.0)
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def fit_front(narrow: nn.Sequential, wide: nn.Sequential, batches: Iterator[Batch], steps: int) -> float:
    """Teach a narrow front to give what the wide one gives; the remaining error, mean of the last 20 steps."""
    normalise = InputNormalisation()
    optimizer = torch.optim.AdamW(narrow.parameters(), lr=FRONT_RATE, weight_decay=1e-4)
    errors: list[float] = []
    wide.eval()
    narrow.train()
    for step in track(range(steps), description="fitting the front", console=console()):
        for group in optimizer.param_groups:
            group["lr"] = FRONT_RATE * learning_rate_factor(step=step, steps=steps, warmup_steps=min(20, steps))
        images = normalise(next(batches).images_bgr).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(torch.device("cpu"))):
            with torch.no_grad():
                wanted = _block_outputs(wide, images)
            said = _block_outputs(narrow, images)
        shares = [((a - b) ** 2).mean() / b.var() for a, b in zip(said, wanted, strict=True)]
        loss = cast(Tensor, sum(weight * share for weight, share in zip(BLOCK_WEIGHTS, shares, strict=True)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(shares[-1].detach()))
    last = errors[-20:]
    return sum(last) / len(last)


def _block_outputs(front: nn.Sequential, images: Tensor) -> list[Tensor]:
    """What blocks 1 to 4 give."""
    outputs = []
    for index, block in enumerate(front):
        images = block(images)
        if index:
            outputs.append(images.float())
    return outputs


def starting_network(
    candidate: Candidate, weights: str, batches: Iterator[Batch], steps: int
) -> tuple[MmpNet, float | None]:
    """The candidate with ImageNet weights, and its front's remaining error where it has one of its own."""
    torch.manual_seed(0)
    network = candidate.build()
    if candidate.front is None:
        load_weights(network, weights)
        return network, None
    wide = MmpNet(1, 1)
    load_weights(wide, weights)
    own = network.features.state_dict()
    rest = {k: v for k, v in wide.features.state_dict().items() if int(k.split(".")[0]) >= FRONT_BLOCKS}
    network.features.load_state_dict({**own, **rest})
    narrow, front = network.features[:FRONT_BLOCKS], wide.features[:FRONT_BLOCKS].eval()
    prune_front(front, narrow, InputNormalisation()(next(batches).images_bgr))
    return network, fit_front(narrow, front, batches, steps)


def short_run(network: MmpNet, config: TrainConfig, train: Dataset, val: Dataset, folder: Path) -> Evaluation:
    """Train with the recipe and evaluate the averaged weights."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    enter_training_mode(network, freeze=config.freeze)
    state = TrainingState(network, WeightAverage(network, config.ema_decay), build_optimizer(network, config))
    model = config.model(train.class_names)
    provenance = provenance_of(config, train, None)
    # The run's own bar is enough to see; nothing is kept.
    report = TrainingReport(folder, config, model, provenance, Console(stderr=True), writes=False)
    stored = StoredPictures(train.images, 2 * max(config.imgsz))
    TrainingRun(config, model, train, stored, None, report).execute(state)
    detect = torch_detector(state.average.network, model, thresholds=EVALUATION_THRESHOLDS, device=torch.device("cpu"))
    return evaluate(detect, val, model.class_names)


@app.command()
def shape_accuracy(
    data: Annotated[list[Path], typer.Option(help="Labelled pictures; the first with a val split.")],
    weights: Annotated[Path, typer.Option(help="mobilenet_v2 state dict.")],
    shape: Annotated[list[str], typer.Option(help="Name of a candidate; may be repeated.")],
    epochs: Annotated[int, typer.Option(min=1)] = 5,
    front_steps: Annotated[int, typer.Option(min=1)] = 450,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Train some candidates of shapes.py for a few epochs with their first five blocks frozen."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        known = {candidate.name: candidate for candidate in CANDIDATES}
        unknown = [name for name in shape if name not in known]
        if unknown:
            raise typer.BadParameter(f"--shape {unknown[0]!r}: known are {', '.join(known)}")
        train, val = read_data(data, "train"), read_data(data[:1], "val")
        results = []
        for name in shape:
            candidate = known[name]
            side = candidate.side_px
            stored = StoredPictures(train.images, 2 * side)
            batches = endless(train, stored, batch=32, side_px=side, workers=1)
            network, error = starting_network(candidate, str(weights), batches, front_steps)
            config = TrainConfig(
                data=tuple(map(str, data)),
                weights=str(weights),
                epochs=epochs,
                imgsz=(side, side),
                freeze=FRONT_BLOCKS,
                channels=network.predict.in_channels,
            )
            measured = short_run(network, config, train, val, Path(folder))
            results.append({"name": name, "front_error": error, "AP": measured.ap(), "AP50": measured.ap("AP50")})
            console().print(f"{name}: AP {measured.ap():.3f}")  # hours may follow, and end early
        table = Table("shape", "AP", "AP50", "front's error")
        for row in results:
            left = "-" if row["front_error"] is None else f"{row['front_error']:.3f}"
            table.add_row(str(row["name"]), f"{row['AP']:.3f}", f"{row['AP50']:.3f}", left)
        console().print(table)
        if as_json:
            sys.stdout.write(json.dumps({"epochs": epochs, "data": train.name, "shapes": results}, indent=2) + "\n")


if __name__ == "__main__":
    app()
