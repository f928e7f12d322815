"""export: write a model file from a program."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from mmpnet.contract.metadata import ModelMetadata, Precision
from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import QuantizationOptions
from mmpnet.export.steps import ExportRequest, check_request, export_checkpoint
from mmpnet.system.progress import Notice, no_notice

Places: TypeAlias = Path | str | Sequence[Path | str]


def export(
    checkpoint: Path | str,
    out: Path | str | None = None,
    *,
    precision: Precision = "float32",
    verify: Places = (),
    calib: Places = (),
    options: ExportOptions | None = None,
    notice: Notice = no_notice,
) -> ModelMetadata:
    """Export a checkpoint to one ONNX file, as mmp-export does, and return the metadata of the file.

        export("runs/door/best.pth", "door.onnx", precision="int8", calib="door/")

    checkpoint: last.pth or best.pth, or a float32 file that was exported before, which needs another `out`. out: by
    default the checkpoint's name with .onnx. verify: labeled images on which the file must be as accurate as
    the checkpoint. calib: with int8, images that calibrate it, with or without labels. If int8 is no gain, the file is
    in float32, and `quantization` in its metadata tells why. notice: receives lines about the work.

    Raises: ValueError for options that do not go together; an MmpnetError child for a bad checkpoint or bad data, and
    for a file that does not pass its checks or cannot be written.
    """
    model = Path(checkpoint)
    request = ExportRequest(
        model=model,
        target=model.with_suffix(".onnx") if out is None else Path(out),
        options=options or ExportOptions(),
        precision=precision,
        quantization=QuantizationOptions(),
        verify=_places(verify),
        calib=_places(calib),
    )
    check_request(request)
    return export_checkpoint(request, notice=notice)


def _places(given: Places) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, Path | str) else tuple(map(Path, given))
