"""mmp-export: export a checkpoint to one ONNX file with complete metadata."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mmpnet.console.command import HELP_NAMES, console, exit_on_error, parse_size_hw, show_version
from mmpnet.console.progress import progress_bar
from mmpnet.console.threshold_options import checked_thresholds
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import ExportError, MmpnetError
from mmpnet.contract.heads import Head
from mmpnet.contract.metadata import InputKind, ModelMetadata
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.open import has_split
from mmpnet.datasets.types import Dataset
from mmpnet.export.graph import DEFAULT_OPSET, Batch
from mmpnet.export.half import make_half
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import Activations, Calibrator, QuantizationOptions
from mmpnet.export.quantization.search import make_int8
from mmpnet.export.verification.file_parity import reference_of
from mmpnet.export.writer import export_file
from mmpnet.runtime.inference.self_test import describe_expected
from mmpnet.system.files import atomic_write
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.network.inference_net import TOP_K

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
    model: Annotated[Path, typer.Argument(help="Checkpoint of mmp-train: last.pth or best.pth.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: the checkpoint's name with .onnx.")
    ] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input size in px, N or HEIGHTxWIDTH; default: the size of training.")
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
    calib: Annotated[
        list[Path] | None, typer.Option(help="With --int8: labeled images that calibrate the ranges; may be repeated.")
    ] = None,
    activations: Annotated[
        Activations, typer.Option(help="With --int8: type of the activations; uint8 suits x86, int8 suits ARM.")
    ] = "uint8",
    calibrator: Annotated[
        Calibrator, typer.Option(help="With --int8: how the ranges of the activations are chosen.")
    ] = "minmax",
    opset: Annotated[int, typer.Option(min=11, max=20, help="ONNX operator set.")] = DEFAULT_OPSET,
    conf: Annotated[
        float, typer.Option(min=0, max=1, help="Score threshold that the file states as its default.")
    ] = DEFAULTS.conf,
    iou: Annotated[
        float, typer.Option(min=0, max=1, help="IoU threshold of NMS that the file states as its default.")
    ] = DEFAULTS.iou,
    max_det: Annotated[
        int, typer.Option(min=1, help="Largest number of boxes per frame that the file states as its default.")
    ] = DEFAULTS.max_det,
    weights_licence: Annotated[str, typer.Option(help="License of the weights, stored in the file.")] = "not stated",
    data_licence: Annotated[str, typer.Option(help="License of the training data, stored in the file.")] = "not stated",
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Export a checkpoint to one ONNX file, and keep it only if its detections are those of the checkpoint."""
    with exit_on_error():
        if nms is not None and head not in ("boxes", "nms" if nms else "boxes"):
            raise typer.BadParameter(
                f"--head {head} and --{'' if nms else 'no-'}nms contradict each other; give one of them"
            )
        chosen: Head = "nms" if nms else head
        if frozen and chosen != "nms":
            raise typer.BadParameter(
                "--frozen goes with --nms, because no other head has thresholds in the graph; add --nms"
            )
        count = _parse_batch(batch)
        if max_det > TOP_K:
            raise typer.BadParameter(
                f"--max-det {max_det}: the graph returns at most {TOP_K} boxes; give {TOP_K} or less"
            )
        if verify and count not in (1, "dynamic"):
            raise typer.BadParameter(
                f"--verify with --batch {batch}: a file for several images at once cannot be measured; give --batch 1"
            )
        if opset < DEFAULT_OPSET and (chosen == "nms" or int8):
            raise typer.BadParameter(f"--opset {opset}: --nms and --int8 need {DEFAULT_OPSET} or more")
        if half and count not in (1, "dynamic"):
            raise typer.BadParameter(
                f"--half with --batch {batch}: its scores cannot be compared with those of float32; give --batch 1"
            )
        if half + int8 + compact > 1:
            raise typer.BadParameter("--half, --int8 and --compact exclude each other; give one of them")
        if int8 != bool(calib):
            raise typer.BadParameter("--int8 and --calib IMAGES go together; give both")
        if int8 and (chosen != "boxes" or input_kind != "uint8-nhwc" or count != 1):
            raise typer.BadParameter("--int8 needs --head boxes, --input uint8-nhwc and --batch 1")
        options = ExportOptions(
            input_hw=None if imgsz is None else parse_size_hw(imgsz),
            batch=count,
            opset=opset,
            thresholds=checked_thresholds(conf, iou, max_det),
            weights_licence=weights_licence,
            data_licence=data_licence,
            head=chosen,
            input_kind=input_kind,
            frozen=frozen,
            compact=compact,
            command=_command(sys.argv),
        )
        if not model.name:
            raise typer.BadParameter(f"{model}: expected last.pth or best.pth from mmp-train")
        target = model.with_suffix(".onnx") if out is None else out
        if target.suffix.lower() != ".onnx":
            raise typer.BadParameter(f"-o {target}: expected a file name that ends in .onnx")
        dataset = load_dataset(verify, "val", undivided=True) if verify else None
        calibration = load_dataset(calib, "train", undivided=True) if calib else None
        measured_on = dataset if calibration is None else dataset or _val_splits(calib or ())
        # If any step fails, an older file of this name stays.
        with _one_rename(target) as partial:
            metadata = export_file(model, partial, options, verify=dataset, progress=progress_bar)
            if half or int8:
                reference = reference_of(load_checkpoint(model), metadata.letterbox)
            if calibration is not None and measured_on is not None:
                wanted = QuantizationOptions(activations=activations, calibrator=calibrator)
                metadata = make_int8(
                    partial,
                    calibration,
                    measured_on,
                    reference,
                    wanted,
                    progress=progress_bar,
                    notice=console().print,
                )
            if half:
                metadata = make_half(partial, reference, verify=dataset, progress=progress_bar)
        _summarize(target, metadata)
        if int8 and metadata.precision != "int8":
            verdict = "" if metadata.quantization is None else metadata.quantization.verdict
            raise ExportError(f"{target}: is in float32, because int8 was not kept: {verdict}")


@contextmanager
def _one_rename(target: Path) -> Iterator[Path]:
    """A partial file for several steps, renamed to `target` at the end; errors name the file that the user knows."""
    with atomic_write(target, parents=True) as partial:
        try:
            yield partial
        except MmpnetError as error:
            raise type(error)(str(error).replace(str(partial), str(target))) from error


def _val_splits(calib: Sequence[Path]) -> Dataset:
    """The val splits of the calibration data, on which int8 is measured.

    Raises: ExportError if it has none.
    """
    divided = [path for path in calib if has_split(path, "val")]
    if not divided:
        raise ExportError(f"{calib[0]}: has no val split to measure int8 on; give labeled images with --verify")
    return load_dataset(divided, "val")


def _command(arguments: Sequence[str]) -> str:
    """The command line with the names of files instead of their paths, which differ on other machines."""
    return shlex.join(_named(word) for word in arguments)


def _named(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if os.path.exists(value):  # noqa: PTH110 - a word may not be a path
        value = Path(value).resolve().name
    elif " " not in value:
        value = Path(value).name or value
    return f"{flag}{equals}{value}"


def _summarize(path: Path, metadata: ModelMetadata) -> None:
    height, width = metadata.input.size_hw
    proof, described = metadata.proof, metadata.input
    assert proof is not None
    runtime = metadata.minimum_runtime
    lines = [
        f"{path}  {path.stat().st_size / 1e6:.1f} MB  opset {runtime.opset}, ONNX Runtime {runtime.onnxruntime} and up",
        f"input   {described.name}: {described.dtype} {described.layout} {described.channel_order}, batch "
        f"{described.batch}, {height}x{width}, letterboxed",
        "outputs " + ", ".join(f"{o.name} {list(o.shape)}" for o in metadata.outputs),
        f"torch = exported graph on {proof.n_images} images: grid within {proof.max_grid_difference:.1e}, scores "
        f"within {proof.max_score_difference:.1e}, boxes within {proof.max_box_difference_px:.1e} px",
    ]
    if proof.after_nms is not None:
        final = proof.after_nms
        lines.append(
            f"this file and torch after NMS: {final.n_detections} detections, scores within "
            f"{final.max_score_difference:.1e}, boxes within {final.max_box_difference_px:.1e} px, {final.n_unmatched} "
            "without a partner"
        )
    if proof.accuracy is not None and metadata.precision != "int8":
        same = proof.accuracy
        lines.append(
            f"on {same.dataset}: AP {same.file.AP:.4f} (torch {same.reference.AP:.4f}), AP50 {same.file.AP50:.4f} "
            f"(torch {same.reference.AP50:.4f})"
        )
    if metadata.self_test is not None:
        lines.append(f"self-test: expects {describe_expected(len(metadata.self_test.expected))}")
    if metadata.quantization is not None:
        tried = metadata.quantization
        lines.append(
            f"int8: {tried.verdict}; on {tried.accuracy.dataset} AP {tried.accuracy.file.AP:.4f} (float32 "
            f"{tried.accuracy.reference.AP:.4f}), {tried.latency.int8_ms:.2f} ms (float32 "
            f"{tried.latency.float_ms:.2f} ms) on one thread, {len(tried.float_layers)} layers in float"
        )
    lines += [f"next:   mmp-run {path} --source IMAGE --save out.jpg", f"        mmp-val {path} --data val.json"]
    for line in lines:
        console().print(line)


def main() -> None:
    """Entry point of mmp-export."""
    app()
