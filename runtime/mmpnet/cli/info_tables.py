"""Show a model file's metadata and layers as tables."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from mmpnet.bench.profile.layer_costs import Layer
from mmpnet.contract.metadata import METADATA_KEY
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.model_file import ModelFile, rows, summary_rows

CAPTION = (
    "parameters: kernels and biases. A folded batch norm counts as the bias of its convolution, one number per "
    "channel; in training it has two, so torch counts more for the same network. multiply-adds: those of convolutions "
    "and matrix products in one run, without biases."
)


def document(file: ModelFile, layers: Sequence[Layer] | None) -> dict[str, object]:
    """What --json prints; layers: those of --layers."""
    facts = file.as_dict()
    if layers is not None:
        facts["layers"] = [layer.as_dict() for layer in layers]
        facts["parameters"] = sum(layer.parameters for layer in layers)
        facts["multiply_adds"] = sum(layer.multiply_adds for layer in layers)
    return facts


def metadata_tables(file: ModelFile, *, everything: bool) -> Iterator[Table | str]:
    """The metadata as a table, and for a file without it a sentence; everything: every entry."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a truncated hash would be useless
    for name, value in rows(file) if everything or file.metadata is None else summary_rows(file, file.metadata):
        table.add_row(name, value)
    yield table
    if file.metadata is None:
        yield (
            f"no '{METADATA_KEY}' metadata: class names, anchors, thresholds, training and licenses are not stated; "
            "mmp-run and mmp-val need files from mmp-export. --layers works"
        )


def layer_table(file: ModelFile, layers: Sequence[Layer]) -> Table:
    """The cost of each layer, and their sums."""
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
