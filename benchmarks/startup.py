"""Time fresh processes up to the first detection, by part: the interpreter, imports, the session, the first frame.
With --commands, time `-h` of every command instead.

Each sample is a process of its own; medians are reported. Exit code 1 where the whole takes longer than --most-s, so
that CI notices.
"""

import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.system.machine import cpu_name

CHILD = """
import json, sys, time
started = time.time()
import numpy
from mmpnet.runtime.inference.detector import Detector
imported = time.time()
detector = Detector(sys.argv[1], provider="cpu")
opened = time.time()
detector(numpy.zeros((720, 1280, 3), numpy.uint8))
done = time.time()
print(json.dumps({"interpreter": started, "imports": imported, "session": opened, "first frame": done}))
"""
HELP = "import importlib, sys; sys.argv[1:] = ['-h']; getattr(importlib.import_module({module!r}), {name!r})()"

app = script_app()


@app.command()
def startup(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Processes.")] = 7,
    most_s: Annotated[float | None, typer.Option(min=0, help="Fail if the median is more than this.")] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Time the help of every command.")] = False,
    as_json: Json = False,
) -> None:
    """Start fresh processes and time their parts."""
    with exit_on_error():
        if commands:
            if model is not None or most_s is not None:
                raise typer.BadParameter("--commands times the help; it goes with neither a model nor --most-s")
            _time_help(repeats, as_json=as_json)
            return
        path = model_path(model)
        samples = [_sample(path) for _ in range(repeats)]
        medians = {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
        _show_medians("part", medians)
        if as_json:
            rounded = {name: round(seconds, 4) for name, seconds in medians.items()}
            write_json({"model": path.name, "repeats": repeats, "seconds": rounded, "cpu": cpu_name()})
        if most_s is not None and medians["all"] > most_s:
            raise MmpnetError(
                f"the first detection comes after {medians['all']:.2f} s; at most {most_s:g} s are allowed"
            )


def _time_help(repeats: int, *, as_json: bool) -> None:
    """Show the median seconds that `-h` of each command takes, in turns."""
    scripts = importlib.metadata.entry_points(group="console_scripts")
    commands = {one.name: one for one in scripts if one.module.startswith("mmpnet.")}
    samples: dict[str, list[float]] = {name: [] for name in sorted(commands)}
    for _ in range(repeats):
        for name, taken in samples.items():
            child = HELP.format(module=commands[name].module, name=commands[name].attr)
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", child], check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in samples.items()}
    _show_medians("command -h", medians)
    if as_json:
        rounded = {name: round(seconds, 3) for name, seconds in medians.items()}
        write_json({"repeats": repeats, "help_seconds": rounded, "cpu": cpu_name()})


def _show_medians(what: str, medians: Mapping[str, float]) -> None:
    table = Table(what, "median s")
    for name, seconds in medians.items():
        table.add_row(name, f"{seconds:.3f}")
    show(table)


def _sample(path: Path) -> dict[str, float]:
    """Seconds of each part of one process, and of all."""
    began = time.time()
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=True, stdout=subprocess.PIPE, text=True)
    parts, before = {}, began
    for name, at in json.loads(done.stdout).items():
        parts[name], before = at - before, at
    return {**parts, "all": before - began}


if __name__ == "__main__":
    app()
