"""The kinds of input that an exported graph can have."""

from typing import Literal, TypeAlias

InputKind: TypeAlias = Literal["uint8-nhwc", "float-nchw"]
"""Either letterboxed BGR bytes, or the classic tensor: RGB in [0, 1]."""
