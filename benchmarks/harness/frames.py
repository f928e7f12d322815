"""Frames in memory for benchmarks of detectors and live runs."""

from pathlib import Path

import numpy as np

from mmpnet.bench.latency import sample_frame
from mmpnet.cli.bench.options import frame_hw_of
from mmpnet.contract.arrays import UInt8Array

SAMPLE_IMAGE = Path(__file__).parents[2] / "docs" / "images" / "astronaut.jpg"
SHIFTS_PX = range(0, 40, 5)


def camera_frame(size: str) -> UInt8Array:
    """The sample image as a frame (H, W, 3) BGR of this WIDTHxHEIGHT.

    Raises: typer.BadParameter if the text is not a size.
    """
    return sample_frame(SAMPLE_IMAGE, frame_hw_of(size))


def shifted_frames(frame_bgr: UInt8Array) -> list[UInt8Array]:
    """The frame moved sideways by each of SHIFTS_PX: a source that repeats one frame counts as a frozen camera."""
    return [np.ascontiguousarray(np.roll(frame_bgr, shift, axis=1)) for shift in SHIFTS_PX]
