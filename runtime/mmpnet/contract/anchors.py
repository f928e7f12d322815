"""The anchors of the label grid: every size and aspect ratio in every cell of one grid with one stride."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from mmpnet.contract.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class AnchorSpec:
    """Sizes sqrt(w*h) in input pixels, aspect ratios h/w, and the stride of the label grid.

    Flat anchor order everywhere is (size, ratio, row, col), C-order.

    Raises: ValueError if a size, a ratio or the stride is missing, not finite or not positive.
    """

    sizes_px: tuple[float, ...]
    aspect_ratios: tuple[float, ...]
    stride: int

    def __post_init__(self) -> None:
        for name, values in (("sizes_px", self.sizes_px), ("aspect_ratios", self.aspect_ratios)):
            if not values or not all(math.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"{name} must hold at least one number, each finite and above 0; got {values}")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must differ from each other; got {values}")
        if not isinstance(self.stride, int) or self.stride < 1:
            raise ValueError(f"stride must be a whole number of pixels, at least 1; got {self.stride}")

    @property
    def num_sizes(self) -> int:
        return len(self.sizes_px)

    @property
    def num_aspect_ratios(self) -> int:
        return len(self.aspect_ratios)

    def grid_hw(self, input_hw: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the label grid for an input of (height, width) px.

        Raises: ValueError if a side is not a positive multiple of the stride.
        """
        height, width = input_hw
        if height < 1 or width < 1 or height % self.stride or width % self.stride:
            raise ValueError(f"input {height}x{width} must be positive multiples of the stride {self.stride}")
        return height // self.stride, width // self.stride

    def grid_shape(self, input_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape of the label grid: (sizes, ratios, rows, cols)."""
        return (self.num_sizes, self.num_aspect_ratios, *self.grid_hw(input_hw))

    def boxes_xyxy(self, input_hw: tuple[int, int]) -> FloatArray:
        """All anchors in flat order: (sizes * ratios * rows * cols, 4) xyxy in input px, not clipped to the input."""
        rows, cols = self.grid_hw(input_hw)
        size = np.asarray(self.sizes_px, np.float64)[:, None]
        root = np.sqrt(np.asarray(self.aspect_ratios, np.float64))[None, :]
        half_wh = np.stack([size / root, size * root], axis=-1)[:, :, None, None, :] / 2  # (S, R, 1, 1, 2)
        y, x = np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij")
        center_xy = (np.stack([x, y], axis=-1) + 0.5) * self.stride  # (rows, cols, 2)
        corners = np.concatenate([center_xy - half_wh, center_xy + half_wh], axis=-1)  # (S, R, rows, cols, 4)
        return corners.reshape(-1, 4).astype(np.float32)

    def fingerprint(self) -> str:
        """Twelve hex digits that change when a size, a ratio or the stride changes."""
        numbers = {
            "aspect_ratios": [float(ratio) for ratio in self.aspect_ratios],  # 1 and 1.0 are the same anchor
            "sizes_px": [float(size) for size in self.sizes_px],
            "stride": self.stride,
        }
        text = json.dumps(numbers, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
