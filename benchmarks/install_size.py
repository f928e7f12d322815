"""What `pip install mmpnet[cpu]` downloads: every wheel by size, our own included.

Ends with exit code 1 where the wheels are more than --most-mb together, or the four that carry the runtime more than
--most-core-mb, so that CI notices. Needs pip and an index.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import MmpnetError

PROJECT = Path(__file__).parents[1]
MOST_MB = 131.0
"""What it is today, rounded up: a dependency that grows is to be noticed."""
CORE = ("mmpnet", "numpy", "onnxruntime", "opencv_python")
MOST_CORE_MB = 125.0
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def install_size(
    extra: Annotated[str, typer.Option(help="Extras, with commas.")] = "cpu",
    most_mb: Annotated[float, typer.Option(min=0, help="More than this is an error.")] = MOST_MB,
    most_core_mb: Annotated[float, typer.Option(min=0, help=f"The same for {', '.join(CORE)}.")] = MOST_CORE_MB,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Collect the wheels and add them up."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "-w", folder]
        done = subprocess.run(
            [*command, "-c", str(PROJECT / "constraints.txt"), f"{PROJECT}[{extra}]"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MmpnetError(f"pip could not collect the wheels ({done.stderr.strip().splitlines()[-1:]})")
        sizes = {path.name: path.stat().st_size / 1e6 for path in Path(folder).glob("*.whl")}
        total_mb = sum(sizes.values())
        core_mb = sum(size_mb for name, size_mb in sizes.items() if name.split("-")[0] in CORE)
        table = Table("wheel", "MB")
        for name, size_mb in sorted(sizes.items(), key=lambda item: -item[1]):
            table.add_row(name.split("-")[0] + " " + name.split("-")[1], f"{size_mb:.1f}")
        table.add_section()
        table.add_row(", ".join(CORE), f"{core_mb:.1f}")
        table.add_row(f"all {len(sizes)}", f"{total_mb:.1f}")
        console().print(table)
        if as_json:
            wheels = {name: round(size_mb, 2) for name, size_mb in sorted(sizes.items())}
            totals = {"total_mb": round(total_mb, 1), "core_mb": round(core_mb, 1)}
            sys.stdout.write(json.dumps({"extra": extra, **totals, "wheels": wheels}) + "\n")
        for what, size_mb, most in ((f"mmpnet[{extra}]", total_mb, most_mb), (", ".join(CORE), core_mb, most_core_mb)):
            if size_mb > most:
                raise MmpnetError(f"{what}: {size_mb:.1f} MB of wheels; at most {most:g} MB are allowed")


if __name__ == "__main__":
    app()
