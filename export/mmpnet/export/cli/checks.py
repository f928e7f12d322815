"""Turn the options of mmp-export into a request, and reject those that conflict, without loading torch."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmpnet.contract.heads import Head

if TYPE_CHECKING:
    from mmpnet.contract.metadata import Precision
    from mmpnet.export.graph import Batch


def parse_batch(text: str) -> "Batch":
    """`4` -> 4; `dynamic` stays.

    Raises: typer.BadParameter for anything else.
    """
    if text == "dynamic":
        return "dynamic"
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"--batch {text!r}: expected a number above 0, or dynamic")


def chosen_head(head: Head, nms: bool | None) -> Head:
    """The head that --head and --nms ask for; nms is None if it was not given.

    Raises: typer.BadParameter if they contradict each other.
    """
    if nms is not None and head not in ("boxes", "nms" if nms else "boxes"):
        raise typer.BadParameter(
            f"--head {head} and --{'' if nms else 'no-'}nms contradict each other; give one of them"
        )
    return "nms" if nms else head


def chosen_precision(*, half: bool, int8: bool, compact: bool) -> "Precision":
    """The precision that --half and --int8 ask for; a compact file computes in float32.

    Raises: typer.BadParameter for more than one of them.
    """
    if half + int8 + compact > 1:
        raise typer.BadParameter("--half, --int8 and --compact exclude each other; give one of them")
    if half:
        return "float16"
    return "int8" if int8 else "float32"


def target_of(model: Path, out: Path | None) -> Path:
    """The file to write: --out, or the name of the checkpoint with .onnx.

    Raises: typer.BadParameter if one of them cannot be the name of a file.
    """
    if not model.name:
        raise typer.BadParameter(f"{model}: expected last.pth or best.pth from mmp-train, or a float32 .onnx file")
    target = model.with_suffix(".onnx") if out is None else out
    if target.suffix.lower() != ".onnx":
        raise typer.BadParameter(f"-o {target}: expected a file name that ends in .onnx")
    return target


def recorded_command(arguments: Sequence[str]) -> str:
    """The command line with the names of files instead of their paths, which differ on other machines."""
    return shlex.join(_without_folder(word) for word in arguments)


def _without_folder(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if os.path.exists(value):  # noqa: PTH110 - a word may not be a path
        value = Path(value).resolve().name
    elif " " not in value:
        value = Path(value).name or value
    return f"{flag}{equals}{value}"
