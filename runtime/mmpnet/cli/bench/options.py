"""Options that the commands of mmp-bench share."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mmpnet.runtime.inference.providers import Provider

TOO_SLOW = 3
"""Exit code if the measured time exceeds the requested one."""
FrameSize = Annotated[
    str | None, typer.Option(help="WIDTHxHEIGHT of the frame in px; default: 1280x720, or the image's own size.")
]
ImageFile = Annotated[
    Path | None, typer.Option("--image", "--picture", help="Image to use instead of the synthetic frame.")
]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="Inference threads; 0 lets ONNX Runtime choose.")]
ProviderChoice = Annotated[
    Provider, typer.Option(help="Execution provider; auto uses CUDA if it starts, otherwise the CPU.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def frame_hw_of(text: str | None) -> tuple[int, int] | None:
    """Parse `1280x720` -> (720, 1280); None stays.

    Raises: typer.BadParameter if the text is not WIDTHxHEIGHT in px.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) < 10_000 for side in sides):
        raise typer.BadParameter(f"frame size is {text!r}, expected WIDTHxHEIGHT in px, such as --frame-size 1280x720")
    return int(sides[1]), int(sides[0])


def write_json(report: msgspec.Struct) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
