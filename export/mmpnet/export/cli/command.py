"""mmp-export: export a checkpoint to one ONNX file with complete metadata."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.console.command import HELP_NAMES, exit_on_error, explain_imports, parse_size_hw, show_version
from mmpnet.console.help import helpful
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.contract.heads import Head
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.thresholds import Thresholds
from mmpnet.export.choices import ALLOWED_LOSS, DEFAULT_OPSET, Activations, Calibrator
from mmpnet.export.cli.checks import chosen_head, chosen_precision, parse_batch, recorded_command, target_of

DEFAULTS = Thresholds()
EXAMPLES = (
    ("mmp-export runs/train/best.pth -o person.onnx", "write one ONNX file with its metadata and a self-test"),
    ("mmp-export runs/train/best.pth --int8 --calib DATA", "write 8-bit integers, if they are as accurate and faster"),
    (
        "mmp-export person-320 --imgsz 288x384 -o wide.onnx",
        "the weights that ship, for the shape of a camera's frames",
    ),
)
app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False)


class ExportCommand(helpful("--out", "--imgsz", "--int8", "--calib", "--verify", examples=EXAMPLES)):  # type: ignore[misc]
    """mmp-export's command: `--int8 always` is typed as two words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; `always` after --int8 becomes an option of its own."""
        words = list(args)
        for at, word in enumerate(words[:-1]):
            if word == "--int8" and words[at + 1] == "always":
                words[at : at + 2] = ["--int8", "--int8-always"]
        rest: list[str] = super().parse_args(ctx, words)
        return rest


@app.command(cls=ExportCommand)
def export(
    model: Annotated[
        Path,
        typer.Argument(help="last.pth or best.pth of mmp-train, a float32 .onnx file of mmp-export, or person-320."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: the checkpoint's name with .onnx.")
    ] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input size in px, N or HEIGHTxWIDTH; default: the size of MODEL.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Images per run: a number, or dynamic.")] = "1",
    head: Annotated[
        Head, typer.Option(help="Outputs. grid: the label grid; boxes: decoded candidates; nms: final detections.")
    ] = "boxes",
    nms: Annotated[bool | None, typer.Option("--nms/--no-nms", help="The same as --head nms or --head boxes.")] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="With --nms: the thresholds cannot be overridden at run time.")
    ] = False,
    input_kind: Annotated[
        InputKind,
        typer.Option("--input", help="Pixels that the file takes. uint8-nhwc: BGR bytes; float-nchw: RGB in [0, 1]."),
    ] = "uint8-nhwc",
    verify: Annotated[
        list[Path] | None,
        typer.Option(help="Labeled images on which the file must be as accurate as the checkpoint; may be repeated."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Compute in float16, for GPUs.")] = False,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Store kernels in 16 bits and compute in 32; this halves the size of the file."),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Quantize to int8; kept only if it is as accurate as float32, and faster on this machine."
        ),
    ] = False,
    int8_always: Annotated[
        bool,
        typer.Option("--int8-always", help="With --int8: keep it however accurate and fast it is; also --int8 always."),
    ] = False,
    int8_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="With --int8: largest part of float32's AP that it may lose."),
    ] = ALLOWED_LOSS,
    calib: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --int8: images that calibrate the ranges, labeled or a folder of images; may be repeated."
        ),
    ] = None,
    activations: Annotated[
        Activations, typer.Option(help="With --int8: type of the activations; uint8 suits x86, int8 suits ARM.")
    ] = "uint8",
    calibrator: Annotated[
        Calibrator, typer.Option(help="With --int8: how the ranges of the activations are chosen.")
    ] = "minmax",
    opset: Annotated[int, typer.Option(min=11, max=20, help="ONNX operator set.")] = DEFAULT_OPSET,
    conf: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Score threshold that the file states as its default. Default: that of the best F1 on --verify; "
            f"without --verify, {DEFAULTS.conf:g}, or that of an .onnx MODEL.",
        ),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="IoU threshold of NMS that the file states as its default. "
            f"Default: {DEFAULTS.iou:g}, or that of an .onnx MODEL.",
        ),
    ] = None,
    max_det: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of boxes per frame that the file states as its default. "
            f"Default: {DEFAULTS.max_det}, or that of an .onnx MODEL.",
        ),
    ] = None,
    weights_license: Annotated[
        str | None,
        typer.Option(
            help="License of the weights, stored in the file. Default: not stated, or that of an .onnx MODEL."
        ),
    ] = None,
    data_license: Annotated[
        str | None,
        typer.Option(help="License of the training data, stored in the file. Default as that of the weights."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Export a checkpoint to one ONNX file, and keep it only if its detections are those of the checkpoint."""
    with exit_on_error():
        override_thresholds(DEFAULTS, conf, iou, max_det)  # refuses impossible ones before the work starts
        input_hw = None if imgsz is None else parse_size_hw(imgsz)
        images_per_run, chosen = parse_batch(batch), chosen_head(head, nms)
        precision = chosen_precision(half=half, int8=int8 or int8_always, compact=compact)
        target = target_of(model, out)
        with explain_imports(extra="train"):
            from mmpnet.export.cli.actions import export_and_report
            from mmpnet.export.metadata_builder import ExportOptions
            from mmpnet.export.quantization.quantizer import QuantizationOptions
            from mmpnet.export.steps import ExportRequest
        options = ExportOptions(
            input_hw=input_hw,
            batch=images_per_run,
            opset=opset,
            conf=conf,
            iou=iou,
            max_det=max_det,
            weights_license=weights_license,
            data_license=data_license,
            head=chosen,
            input_kind=input_kind,
            frozen=frozen,
            compact=compact,
            command=recorded_command(sys.argv),
        )
        request = ExportRequest(
            model=model,
            target=target,
            options=options,
            precision=precision,
            quantization=QuantizationOptions(activations, calibrator, allowed_loss=int8_loss, always=int8_always),
            verify=tuple(verify or ()),
            calib=tuple(calib or ()),
        )
        export_and_report(request)


def main() -> None:
    """Entry point of mmp-export."""
    app()
