"""The gain of keeping a training step's freed memory for the next step, instead of returning it to the system.

Every measurement is a process of its own, the two settings in turns. CPU only. Needs mmpnet[train].
"""

import statistics
from typing import Annotated

import torch
import typer
from rich.table import Table

from harness.script import Json, exit_on_error, script_app, show, write_json
from harness.training.allocator import measure_settings
from harness.training.step import step_config
from mmpnet.bench.environment import machine_document

app = script_app()


@app.command()
def allocator(
    freeze: Annotated[int, typer.Option(min=0, help="Frozen backbone blocks.")] = 4,
    batch: Annotated[int, typer.Option(min=2, help="Images per batch.")] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32, help="Input side in px.")] = 320,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each process, after two warm-up steps.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each setting.")] = 3,
    as_json: Json = False,
) -> None:
    """Time training steps with freed memory returned and kept."""
    with exit_on_error():
        try:
            config = step_config(torch.device("cpu"), batch=batch, side_px=side_px, freeze=freeze)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        seconds, peak_mb = measure_settings(config, steps=steps, rounds=rounds)
        speed = {setting: batch / statistics.median(spent) for setting, spent in seconds.items()}
        table = Table("freed memory", "images/s", "ratio", "most memory, MB")
        for setting, value in speed.items():
            table.add_row(setting, f"{value:.1f}", f"{value / speed['returned']:.2f}", f"{peak_mb[setting]:.0f}")
        show(table)
        if as_json:
            settings = {"freeze": freeze, "batch": batch, "imgsz": side_px, "steps": steps, "rounds": rounds}
            versions = {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
            machine = {"machine": machine_document()}
            write_json({**machine, **versions, **settings, "images_per_s": speed, "peak_mb": peak_mb})


if __name__ == "__main__":
    app()
