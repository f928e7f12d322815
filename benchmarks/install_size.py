"""The size of what `pip install mmpnet[cpu]` downloads: every wheel, our own included.

Exit code 1 where the wheels are more than --most-mb together, or the four that carry the runtime more than
--most-core-mb, so that CI notices. Needs pip and an index.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.contract.errors import MmpnetError

PROJECT = Path(__file__).parents[1]
MOST_MB = 131.0
"""Today's size, rounded up, so that a dependency that grows is noticed."""
CORE = ("mmpnet", "numpy", "onnxruntime", "opencv_python")
MOST_CORE_MB = 125.0

app = script_app()


@app.command()
def install_size(
    extra: Annotated[str, typer.Option(help="Extras, separated by commas.")] = "cpu",
    most_mb: Annotated[float, typer.Option(min=0, help="Fail if all wheels are more than this.")] = MOST_MB,
    most_core_mb: Annotated[float, typer.Option(min=0, help=f"The same for {', '.join(CORE)}.")] = MOST_CORE_MB,
    as_json: Json = False,
) -> None:
    """Collect the wheels and add up their sizes."""
    with exit_on_error():
        sizes_mb = _wheel_sizes_mb(extra)
        total_mb = sum(sizes_mb.values())
        core_mb = sum(size_mb for name, size_mb in sizes_mb.items() if name.split("-")[0] in CORE)
        show(_table(sizes_mb, core_mb, total_mb))
        if as_json:
            wheels = {name: round(size_mb, 2) for name, size_mb in sorted(sizes_mb.items())}
            totals = {"total_mb": round(total_mb, 1), "core_mb": round(core_mb, 1)}
            write_json({"extra": extra, **totals, "wheels": wheels})
        for what, size_mb, most in ((f"mmpnet[{extra}]", total_mb, most_mb), (", ".join(CORE), core_mb, most_core_mb)):
            if size_mb > most:
                raise MmpnetError(f"{what}: {size_mb:.1f} MB of wheels; at most {most:g} MB are allowed")


def _wheel_sizes_mb(extra: str) -> dict[str, float]:
    """Sizes of all wheels by file name. Raises: MmpnetError if pip cannot collect them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "-w", folder]
        done = subprocess.run(
            [*command, "-c", str(PROJECT / "constraints.txt"), f"{PROJECT}[{extra}]"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MmpnetError(f"pip could not collect the wheels ({done.stderr.strip().splitlines()[-1:]})")
        return {path.name: path.stat().st_size / 1e6 for path in Path(folder).glob("*.whl")}


def _table(sizes_mb: dict[str, float], core_mb: float, total_mb: float) -> Table:
    table = Table("wheel", "MB")
    for name, size_mb in sorted(sizes_mb.items(), key=lambda item: -item[1]):
        package, version = name.split("-")[:2]
        table.add_row(f"{package} {version}", f"{size_mb:.1f}")
    table.add_section()
    table.add_row(", ".join(CORE), f"{core_mb:.1f}")
    table.add_row(f"all {len(sizes_mb)}", f"{total_mb:.1f}")
    return table


if __name__ == "__main__":
    app()
