"""Names and bounds of the options of an export. They are apart from the code that uses them, because the help of
mmp-export shows them without loading torch."""

from typing import Literal, TypeAlias

Activations: TypeAlias = Literal["uint8", "int8"]
Calibrator: TypeAlias = Literal["minmax", "entropy", "percentile"]

DEFAULT_OPSET = 13
"""The lowest one with every operator of the graph and of its int8 version, so that old runtimes open the file."""

ALLOWED_LOSS = 0.01
"""Largest part of float32's AP that an int8 file may lose unless a larger loss is accepted."""
