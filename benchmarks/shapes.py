"""What shapes of the network cost: multiply-adds, and milliseconds in fp32 and in int8, on one thread in one run.

Random weights, batch norms folded, the network alone (no normalization, no decoding); int8 is static QDQ with unsigned
activations and signed weights per channel. All sessions take turns. Needs mmpnet[train].
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from harness.script import Json, exit_on_error, progress_bar, script_app, show, write_json
from harness.shapes.candidates import candidates_by_name
from harness.shapes.cost import export_shape, time_shapes
from mmpnet.bench.environment import machine_document

app = script_app()


@app.command()
def shapes(
    rounds: Annotated[int, typer.Option(min=3, help="Timed runs of each file.")] = 40,
    shape: Annotated[list[str] | None, typer.Option(help="Only this candidate; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Time every candidate, round after round."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        try:
            candidates = list(candidates_by_name(shape).values())
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        exported = [export_shape(candidate, Path(folder)) for candidate in progress_bar(candidates, "exporting")]
        rows = time_shapes(exported, rounds)
        show(_table(rows))
        if as_json:
            write_json({"machine": machine_document(), "rounds": rounds, "shapes": rows})


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("shape", "M multiply-adds", "M parameters", "fp32 ms", "int8 ms", "int8 ratio")
    for row in rows:
        millions = (f"{row['multiply_adds'] / 1e6:.0f}", f"{row['parameters'] / 1e6:.2f}")
        ratio = row["int8_ms"] / rows[0]["int8_ms"]
        table.add_row(row["name"], *millions, f"{row['fp32_ms']:.2f}", f"{row['int8_ms']:.2f}", f"{ratio:.2f}")
    return table


if __name__ == "__main__":
    app()
