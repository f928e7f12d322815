"""MmpNet: MobileNetV2 features, a light top-down path, and one label grid of class logits and box offsets."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import mobilenet_v2

BACKGROUND_BIAS = 3.0
"""Starts every anchor at 5 % foreground, so that 24,000 background anchors do not flood the first steps."""
BACKBONE_BLOCKS = 18
STRIDES = (8, 16)
_TAPS = {8: 6, 16: 13, 32: 17}
"""Index of the last MobileNetV2 block of each stride."""


class MmpNet(nn.Module):
    """Predict every anchor's class, and its box offsets, from pictures.

    Input (B, 3, H, W): RGB, normalised with ImageNet's mean and deviation; H and W multiples of the stride.
    Output (B, C, num_sizes, num_aspect_ratios, rows, cols): C is num_classes logits (class 0 = background), then,
    unless `box_regression` is off, four offsets in the order of `mmpnet.contract.boxes`.
    separate_towers gives class logits and offsets layers of their own before the last one (Ge et al. 2021, section
    2.1); tower_depth is the number of depthwise-separable layers in each tower.
    MobileNetV2: Sandler et al. 2018; the top-down path: Lin et al. 2017.

    Raises: ValueError if a count is not positive or the stride is neither 8 nor 16.
    """

    def __init__(
        self,
        num_sizes: int,
        num_aspect_ratios: int,
        *,
        num_classes: int = 2,
        box_regression: bool = True,
        stride: int = 8,
        channels: int = 96,
        width_mult: float = 1.0,
        separate_towers: bool = False,
        tower_depth: int = 1,
    ) -> None:
        super().__init__()
        if min(num_sizes, num_aspect_ratios, channels, tower_depth) < 1 or num_classes < 2:
            raise ValueError(
                "need at least 1 size, 1 aspect ratio, 1 channel, 1 tower layer and 2 classes (0 = background), got "
                f"{num_sizes}, {num_aspect_ratios}, {channels}, {tower_depth} and {num_classes}"
            )
        if stride not in STRIDES:
            raise ValueError(f"stride must be 8 or 16, got {stride}")
        self.num_sizes = num_sizes
        self.num_aspect_ratios = num_aspect_ratios
        self.num_classes = num_classes
        self.box_regression = box_regression
        self.stride = stride
        # The last 1x1 convolution, to 1280 channels, serves classification only.
        self.features = cast(nn.Sequential, mobilenet_v2(weights=None, width_mult=width_mult).features)[
            :BACKBONE_BLOCKS
        ]
        taps = [tap for tap_stride, tap in _TAPS.items() if tap_stride >= stride]
        self._taps = frozenset(taps)
        self.lateral = nn.ModuleList(_lateral(self._width(tap), channels) for tap in taps)
        self.smooth = nn.ModuleList(_depthwise_separable(channels) for _ in taps)
        self.tower = _depthwise_separable(channels, tower_depth)
        kinds = num_sizes * num_aspect_ratios
        of_boxes = 4 * kinds if box_regression else 0
        self.box_tower: nn.Sequential | None = None
        self.predict_offsets: nn.Conv2d | None = None
        if separate_towers and box_regression:
            self.box_tower = _depthwise_separable(channels, tower_depth)
            self.predict_offsets = nn.Conv2d(channels, of_boxes, kernel_size=1)
            of_boxes = 0
        self.predict = nn.Conv2d(channels, num_classes * kinds + of_boxes, kernel_size=1)
        self._init_head()

    def forward(self, images: Tensor) -> Tensor:
        pyramid = []
        features = images
        for index, block in enumerate(self.features):
            features = block(features)
            if index in self._taps:
                pyramid.append(features)
        grid = self._top_down(pyramid)
        raw: Tensor = self.predict(self.tower(grid))  # (B, C * S * R, rows, cols)
        if self.box_tower is not None and self.predict_offsets is not None:
            raw = torch.cat([raw, self.predict_offsets(self.box_tower(grid))], dim=1)
        batch, _, rows, cols = raw.shape
        return raw.view(batch, -1, self.num_sizes, self.num_aspect_ratios, rows, cols)

    def _top_down(self, pyramid: list[Tensor]) -> Tensor:
        grid: Tensor | None = None
        for features, lateral, smooth in zip(
            reversed(pyramid), reversed(self.lateral), reversed(self.smooth), strict=True
        ):
            merged = lateral(features)
            if grid is not None:
                # Plain numbers, so that an exported graph has no shape arithmetic here.
                size_hw = (int(merged.shape[-2]), int(merged.shape[-1]))
                merged = merged + functional.interpolate(grid, size=size_hw, mode="nearest")
            grid = smooth(merged)
        assert grid is not None
        return grid

    def _width(self, tap: int) -> int:
        projection_norm = [m for m in self.features[tap].modules() if isinstance(m, nn.BatchNorm2d)][-1]
        return projection_norm.num_features

    def _init_head(self) -> None:
        for module in (self.lateral, self.smooth, self.tower, self.box_tower):
            for layer in module.modules() if module is not None else ():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        for predict in (self.predict, self.predict_offsets):
            if predict is not None and predict.bias is not None:
                nn.init.normal_(predict.weight, std=0.01)
                nn.init.zeros_(predict.bias)
        assert self.predict.bias is not None
        self.predict.bias.data[: self.num_sizes * self.num_aspect_ratios] = BACKGROUND_BIAS


def enter_training_mode(network: MmpNet, *, freeze: int, freeze_norms: bool = False) -> None:
    """Training mode for all but the first `freeze` backbone blocks, whose weights and batch norms stay as they are.

    Those blocks see the largest maps, so freezing a few of them saves much of a step (benchmarks/training.py).
    freeze_norms keeps the statistics of the whole backbone: those of a small batch would be worse.
    """
    network.train()
    if freeze_norms:
        for module in network.features.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    frozen = network.features[:freeze]
    frozen.eval()
    frozen.requires_grad_(requires_grad=False)


def _lateral(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=1, bias=False), nn.BatchNorm2d(channels))


def _depthwise_separable(channels: int, depth: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
        ]
    return nn.Sequential(*layers)
