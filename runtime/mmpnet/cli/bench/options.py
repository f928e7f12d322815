"""What the commands of mmp-bench share on the command line."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mmpnet.runtime.inference.providers import Provider

TOO_SLOW = 3
"""Exit code where what was measured is slower than what was asked for."""
FrameSize = Annotated[
    str | None, typer.Option(help="WIDTHxHEIGHT of the frame in px; default: 1280x720, or the picture's own.")
]
Picture = Annotated[Path | None, typer.Option(help="A picture in the place of the synthetic frame.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="Inference threads; 0 is ONNX Runtime's choice.")]
Wanted = Annotated[Provider, typer.Option(help="auto: CUDA where it starts, else the CPU.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def frame_hw_of(text: str | None) -> tuple[int, int] | None:
    """`1280x720` -> (720, 1280)."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) < 10_000 for side in sides):
        raise typer.BadParameter(f"{text!r}: expected --frame-size WIDTHxHEIGHT in px, such as 1280x720")
    return int(sides[1]), int(sides[0])


def write_json(report: msgspec.Struct) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
