"""mmp-info: show the metadata of a model file, and the cost of each layer."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmpnet.console.command import HELP_NAMES, exit_on_error, explain_imports, parse_size_hw, results, show_version
from mmpnet.console.help import helpful
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES, model_path

app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)

EXAMPLES = (
    ("mmp-info person.onnx", "what the file finds, what it needs, how accurate it is, and its licenses"),
    ("mmp-info person.onnx --all", "every entry of the metadata"),
    ("mmp-info person.onnx --layers", "the cost of each layer; works with any ONNX file"),
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
        input_hw = None if imgsz is None else parse_size_hw(imgsz)
        with explain_imports(extra="cpu"):
            from mmpnet.bench.profile.layer_costs import read_layers
            from mmpnet.cli.info_tables import document, layer_table, metadata_tables
            from mmpnet.runtime.inference.model_file import read_model_file
        file = read_model_file(model_path(model))
        if imgsz is not None and all(isinstance(side, int) for port in file.inputs for side in port.shape):
            raise typer.BadParameter(f"{file.path.name} has a fixed input size; leave --imgsz out")
        counted = read_layers(file.path, input_hw=input_hw) if layers else None
        if as_json:
            sys.stdout.write(json.dumps(document(file, counted)) + "\n")
        elif counted is not None:
            results().print(layer_table(file, counted))
        else:
            for shown in metadata_tables(file, everything=everything):
                results().print(shown)


def main() -> None:
    """Entry point of mmp-info."""
    app()
