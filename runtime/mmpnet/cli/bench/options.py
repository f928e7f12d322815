"""Options that the commands of mmp-bench share."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mmpnet.bench.latency import parse_frame_size
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
    """Parse `1280x720` -> (720, 1280).

    Raises: typer.BadParameter if the text is not WIDTHxHEIGHT.
    """
    try:
        return None if text is None else parse_frame_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def write_json(report: msgspec.Struct) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
