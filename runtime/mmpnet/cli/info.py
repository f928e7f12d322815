"""mmp-info: show the metadata of a model file, and the cost of each layer."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mmpnet.bench.profile.layer_costs import Layer, read_layers
from mmpnet.console.command import HELP_NAMES, exit_on_error, parse_size_hw, results, show_version
from mmpnet.console.help import helpful
from mmpnet.contract.metadata import METADATA_KEY
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES, model_path
from mmpnet.runtime.inference.model_file import ModelFile, read_model_file, rows, summary_rows

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)

EXAMPLES = (
    ("mmp-info person.onnx", "what the file finds, what it needs, how accurate it is, and its licenses"),
    ("mmp-info person.onnx --all", "every entry of the metadata"),
    ("mmp-info person.onnx --layers", "the cost of each layer; works with any ONNX file"),
)
CAPTION = (
    "parameters: kernels and biases. A folded batch norm counts as the bias of its convolution, one number per "
    "channel; in training it has two, so torch counts more for the same network. multiply-adds: those of convolutions "
    "and matrix products in one run, without biases."
)


@app.command(cls=helpful("--all", "--layers", "--imgsz", "--json", examples=EXAMPLES))
def info(
    model: Annotated[
        Path | None,
        typer.Argument(help=f"An ONNX file, or a model of this package: {OTHER_NAMES}; default: {DEFAULT_MODEL}."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every entry of the metadata.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="List shapes, parameters and multiply-adds of each layer.")
    ] = False,
    imgsz: Annotated[
        str | None, typer.Option(help="For --layers: input size N or HEIGHTxWIDTH in px, if the file does not fix it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Show the input, outputs and metadata of a model file, or its layers. Needs neither torch nor onnx."""
    with exit_on_error():
        if imgsz is not None and not layers:
            raise typer.BadParameter("--imgsz needs --layers; add it, or leave --imgsz out")
        file = read_model_file(model_path(model))
        input_hw = None if imgsz is None else parse_size_hw(imgsz)
        if imgsz is not None and all(isinstance(side, int) for port in file.inputs for side in port.shape):
            raise typer.BadParameter(f"{file.path.name} has a fixed input size; leave --imgsz out")
        counted = read_layers(file.path, input_hw=input_hw) if layers else None
        if as_json:
            sys.stdout.write(json.dumps(_document(file, counted)) + "\n")
        elif counted is not None:
            results().print(_layer_table(file, counted))
        else:
            _show(file, everything=everything)


def _document(file: ModelFile, layers: Sequence[Layer] | None) -> dict[str, object]:
    document = file.as_dict()
    if layers is not None:
        document["layers"] = [layer.as_dict() for layer in layers]
        document["parameters"] = sum(layer.parameters for layer in layers)
        document["multiply_adds"] = sum(layer.multiply_adds for layer in layers)
    return document


def _show(file: ModelFile, *, everything: bool) -> None:
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a truncated hash would be useless
    for name, value in rows(file) if everything or file.metadata is None else summary_rows(file, file.metadata):
        table.add_row(name, value)
    results().print(table)
    if file.metadata is None:
        results().print(
            f"no '{METADATA_KEY}' metadata: class names, anchors, thresholds, training and licenses are not stated; "
            "mmp-run and mmp-val need files from mmp-export. --layers works"
        )


def _layer_table(file: ModelFile, layers: Sequence[Layer]) -> Table:
    parameters = sum(layer.parameters for layer in layers)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    # No borders, so that most names fit into 80 columns.
    table = Table(
        title=f"{file.path.name}: {counted(len(layers), 'layer')}",
        caption=CAPTION,
        show_footer=True,
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", "total", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("output")
    table.add_column("parameters", f"{parameters:,}", justify="right", no_wrap=True)
    table.add_column("multiply-adds", f"{multiply_adds:,}", justify="right", no_wrap=True)
    for layer in layers:
        shape = "x".join(map(str, layer.output_shape)) or "scalar"
        table.add_row(layer.name, layer.op, shape, f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
    return table


def main() -> None:
    """Entry point of mmp-info."""
    app()
