"""Time the exported graph beside the bare network, and int8 beside float32; all files take turns on one thread.

The weights are those of the shipped model. The bare network has no normalization, no decoding and no NMS. int8 is timed
as ONNX Runtime's tool writes it and as `mmp-export --int8` rearranges it, both by operator. Further ONNX files can be
timed in the same run. Needs mmpnet[train].
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.exported_versions import BARE, QUANTIZED, REARRANGED, time_by_operator, time_files, write_versions
from harness.script import Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document

app = script_app()


@app.command()
def export_graph_cost(
    data: Annotated[Path, typer.Option(help="Labeled images that calibrate int8, as for mmp-train.")],
    beside: Annotated[list[Path] | None, typer.Option(help="Another ONNX file to time; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=5, help="Timed runs of each file.")] = 60,
    as_json: Json = False,
) -> None:
    """Time every version of the shipped network, and the operators of both int8 versions."""
    with exit_on_error(), tempfile.TemporaryDirectory() as folder:
        paths = write_versions(data, Path(folder))
        paths |= {path.stem: path for path in beside or ()}
        medians = time_files(paths, rounds)
        show(_files_table(medians))
        operators = {}
        for name in (QUANTIZED, REARRANGED):
            totals, slowest = time_by_operator(paths[name], rounds)
            operators[name] = {"us_by_operator": totals, "slowest_us": slowest}
            show(_operators_table(name, slowest))
        if as_json:
            machine = machine_document()
            write_json({"machine": machine, "rounds": rounds, "median_ms": medians, "operators": operators})


def _files_table(medians: dict[str, float]) -> Table:
    table = Table("file", "median ms", f"of {BARE}", f"of {REARRANGED}")
    for name, value in medians.items():
        ratios = (f"{value / medians[base]:.3f}" for base in (BARE, REARRANGED))
        table.add_row(name, f"{value:.2f}", *ratios)
    return table


def _operators_table(title: str, slowest: Iterable[tuple[str, str, int]]) -> Table:
    table = Table("operator", "node", "median us", title=title)
    for row in slowest:
        table.add_row(*map(str, row))
    return table


if __name__ == "__main__":
    app()
