"""mmp-export: a checkpoint becomes one ONNX file that says what it is."""

from pathlib import Path
from typing import Annotated

import typer

from mmpnet.contract.detections import Thresholds
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.export.describe import ExportOptions
from mmpnet.export.graph import DEFAULT_OPSET, Batch
from mmpnet.export.writer import export_file
from mmpnet.runtime.command import HELP_NAMES, checked_thresholds, exit_on_error, parse_size_hw, people, show_version

DEFAULTS = Thresholds()
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


def _parse_batch(text: str) -> Batch:
    if text == "dynamic":
        return "dynamic"
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"--batch {text!r}: expected a number above 0, or dynamic")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="last.pth or best.pth from mmp-train.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Default: beside the checkpoint, .onnx.")] = None,
    imgsz: Annotated[str | None, typer.Option(help="N or HEIGHTxWIDTH in px; default: the size of training.")] = None,
    batch: Annotated[str, typer.Option(help="Pictures per run: a number, or dynamic.")] = "1",
    opset: Annotated[int, typer.Option(min=11, max=20, help="ONNX operator set.")] = DEFAULT_OPSET,
    conf: Annotated[
        float, typer.Option(min=0, max=1, help="Default score threshold, stored in the file.")
    ] = DEFAULTS.conf,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Default NMS threshold, stored in the file.")] = DEFAULTS.iou,
    max_det: Annotated[
        int, typer.Option(min=1, help="Default most boxes per frame, stored in the file.")
    ] = DEFAULTS.max_det,
    weights_licence: Annotated[str, typer.Option(help="Terms of the weights, stored in the file.")] = "not stated",
    data_licence: Annotated[str, typer.Option(help="Terms of the training data, stored in the file.")] = "not stated",
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Export a checkpoint to one ONNX file, and keep it only if ONNX Runtime gives torch's numbers."""
    with exit_on_error():
        options = ExportOptions(
            input_hw=None if imgsz is None else parse_size_hw(imgsz),
            batch=_parse_batch(batch),
            opset=opset,
            thresholds=checked_thresholds(conf, iou, max_det),
            weights_licence=weights_licence,
            data_licence=data_licence,
        )
        if not model.name:
            raise typer.BadParameter(f"{model}: expected last.pth or best.pth from mmp-train")
        target = model.with_suffix(".onnx") if out is None else out
        if target.suffix.lower() != ".onnx":
            raise typer.BadParameter(f"-o {target}: expected a file name that ends in .onnx")
        metadata = export_file(model, target, options)
        _summarise(target, metadata)


def _summarise(path: Path, metadata: ModelMetadata) -> None:
    height, width = metadata.input.size_hw
    parity = metadata.parity
    assert parity is not None
    lines = [
        f"{path}  {path.stat().st_size / 1e6:.1f} MB  opset {metadata.minimum_runtime.opset}",
        f"input   {metadata.input.name}: uint8 BGR, batch {metadata.input.batch}, {height}x{width}, letterboxed",
        "outputs " + ", ".join(f"{o.name} {list(o.shape)}" for o in metadata.outputs),
        f"torch = ONNX Runtime on {parity.n_images} pictures: scores within {parity.max_score_difference:.1e}, "
        f"boxes within {parity.max_box_difference_px:.1e} px",
        f"next:   mmp-run {path} --source PICTURE --save out.jpg",
        f"        mmp-val {path} --data val.json",
    ]
    for line in lines:
        people().print(line)


def main() -> None:
    """Entry point of mmp-export."""
    app()
