"""What it brings that a training step's memory is kept for the next one instead of returned to the system.

Every measurement is a process of its own, the two settings in turns. CPU only. Needs mmpnet[train]. Prints a table on
stderr and, with --json, one JSON document on stdout.
"""

import itertools
import json
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import torch
import typer
from latency import machine
from rich.progress import track
from rich.table import Table
from training_step import Bench, step_config, synthetic_batch

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import DeviceError
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.engine.malloc import keep_freed_memory

SETTINGS = ("returned", "kept")
WARM_UP_STEPS = 2
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def measured(setting: str, config: TrainConfig, *, steps: int) -> tuple[list[float], float]:
    """Seconds of each step, and the most memory this process had, in MB."""
    if setting == "kept" and not keep_freed_memory():
        raise DeviceError("this machine's C library has no mallopt; there is nothing to compare")
    bench, pictures = Bench(config), synthetic_batch(config)
    times = [time.perf_counter()]
    for _ in range(WARM_UP_STEPS + steps):
        bench.step(pictures)
        times.append(time.perf_counter())
    seconds = [end - start for start, end in itertools.pairwise(times)]
    return seconds[WARM_UP_STEPS:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@app.command()
def allocator(
    freeze: Annotated[int, typer.Option(min=0, help="Frozen backbone blocks.")] = 4,
    batch: Annotated[int, typer.Option(min=2)] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32)] = 320,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each process, after two of warm-up.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each setting.")] = 3,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Time training steps with freed memory returned and kept."""
    with exit_on_error():
        config = step_config(torch.device("cpu"), batch=batch, side_px=side_px, freeze=freeze)
        seconds: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        peak_mb: dict[str, float] = {}
        turns = [setting for _ in range(rounds) for setting in SETTINGS]
        for setting in track(turns, description="steps", console=console(), transient=True):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                spent, peak = pool.submit(measured, setting, config, steps=steps).result()
            seconds[setting] += spent
            peak_mb[setting] = max(peak, peak_mb.get(setting, 0.0))
        speed = {setting: batch / statistics.median(spent) for setting, spent in seconds.items()}
        table = Table("freed memory", "images/s", "ratio", "most memory, MB")
        for setting, value in speed.items():
            table.add_row(setting, f"{value:.1f}", f"{value / speed['returned']:.2f}", f"{peak_mb[setting]:.0f}")
        console().print(table)
        if as_json:
            settings = {"freeze": freeze, "batch": batch, "imgsz": side_px, "steps": steps, "rounds": rounds}
            versions = {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
            result = {"machine": machine(), **versions, **settings, "images_per_s": speed, "peak_mb": peak_mb}
            sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    app()
