"""The gain of computing strided depthwise layers in float32 while the rest of a training step is in bfloat16.

Both settings take turns in one process. CPU only. Needs mmpnet[train].
"""

import copy
import statistics
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.table import Table
from torch import Tensor

from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document
from mmpnet.bench.interleaved import take_turns, timed_ms
from mmpnet.train.engine.malloc import keep_freed_memory
from mmpnet.train.engine.mixed_precision import keep_strided_depthwise_in_float32
from mmpnet.train.model import MmpNet, enter_training_mode

app = script_app()


@app.command()
def strided_depthwise(
    freeze: Annotated[int, typer.Option(min=0, help="Frozen backbone blocks.")] = 4,
    batch: Annotated[int, typer.Option(min=2, help="Images per batch.")] = 16,
    side_px: Annotated[int, typer.Option("--imgsz", min=32, help="Input side in px.")] = 320,
    rounds: Annotated[int, typer.Option(min=1, help="Timed steps of each setting.")] = 5,
    as_json: Json = False,
) -> None:
    """Time forward and backward pass with strided depthwise layers in bfloat16 and in float32."""
    with exit_on_error():
        keep_freed_memory()
        torch.manual_seed(0)
        bfloat16 = MmpNet(5, 3).to(memory_format=torch.channels_last)
        enter_training_mode(bfloat16, freeze=freeze)
        float32 = copy.deepcopy(bfloat16)
        keep_strided_depthwise_in_float32(float32)
        images = torch.randn(batch, 3, side_px, side_px).contiguous(memory_format=torch.channels_last)
        times_ms = take_turns([timed_ms(_step(bfloat16, images)), timed_ms(_step(float32, images))], rounds=rounds)
        speed = {
            name: batch / statistics.median(spent) * 1e3
            for name, spent in zip(("bfloat16", "float32"), times_ms, strict=True)
        }
        table = Table("strided depthwise layers", "images/s", "ratio")
        for name, value in speed.items():
            table.add_row(name, f"{value:.1f}", f"{value / speed['bfloat16']:.2f}")
        show(table)
        if as_json:
            settings = {"freeze": freeze, "batch": batch, "imgsz": side_px, "rounds": rounds}
            versions = {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
            write_json({"machine": machine_document(), **versions, **settings, "images_per_s": speed})


def _step(network: MmpNet, images: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = network(images)
        output.float().square().mean().backward()

    return step


if __name__ == "__main__":
    app()
