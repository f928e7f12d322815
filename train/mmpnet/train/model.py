"""MmpNet: features of a backbone, a light top-down path, and one label grid of class logits and box offsets."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpnet.train.backbone import BACKBONES, BackboneName

BACKGROUND_BIAS = 3.0
"""Starts every anchor at 5 % foreground, so that 24,000 background anchors do not dominate the first steps."""
STRIDES = (8, 16)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the exercises do not vary: the backbone, and the layers between it and the last one.

    separate_towers: class logits and box offsets get a tower each (Ge et al. 2021, section 2.1); tower_depth: the
    number of depthwise-separable layers in each tower; kernel_size: the side of the depthwise kernels of the top-down
    path and the towers (5 in RTMDet, Lyu et al. 2022, section 3.2).

    Raises: ValueError if a tower has no layer, or the kernels have no center.
    """

    backbone: BackboneName = "mobilenet_v2"
    separate_towers: bool = False
    tower_depth: int = 1
    kernel_size: int = 3

    def __post_init__(self) -> None:
        if self.tower_depth < 1:
            raise ValueError(f"a tower needs at least 1 tower layer, got {self.tower_depth}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"a kernel has an odd side, got {self.kernel_size}")


DEFAULT_ARCHITECTURE = Architecture()


class MmpNet(nn.Module):
    """Predicts the class of every anchor, and its box offsets, from images: the network of the MMP exercises.

    MobileNetV2: Sandler et al. 2018; the top-down path: Lin et al. 2017.

    Args:
        num_sizes: anchor sizes S.
        num_aspect_ratios: anchor aspect ratios R.
        num_classes: classes K; class 0 is background.
        box_regression: whether four box offsets are predicted beside the logits.
        stride: pixels between two cells of the label grid, 8 or 16.
        channels: channels of the top-down path.
        width_mult: factor on the channels of the backbone.
        architecture: backbone and towers.

    Shapes:
        Input (B, 3, H, W): RGB, normalized with ImageNet's mean and deviation; H and W are multiples of the stride.
        Output (B, C, S, R, H / stride, W / stride): K logits, then, with box_regression, four offsets in the order of
        `mmpnet.contract.boxes`, so that C is K + 4 or K.

    Raises: ValueError if a count is not positive or the stride is neither 8 nor 16.

    Example:
        >>> network = MmpNet(5, 3, width_mult=0.25).eval()
        >>> network(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 6, 5, 3, 8, 12])
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
        architecture: Architecture = DEFAULT_ARCHITECTURE,
    ) -> None:
        super().__init__()
        if min(num_sizes, num_aspect_ratios, channels) < 1 or num_classes < 2:
            raise ValueError(
                "need at least 1 size, 1 aspect ratio, 1 channel and 2 classes (0 = background), got "
                f"{num_sizes}, {num_aspect_ratios}, {channels} and {num_classes}"
            )
        if stride not in STRIDES:
            raise ValueError(f"stride must be 8 or 16, got {stride}")
        self.num_sizes = num_sizes
        self.num_aspect_ratios = num_aspect_ratios
        self.num_classes = num_classes
        self.box_regression = box_regression
        self.stride = stride
        backbone = BACKBONES[architecture.backbone](width_mult)
        self.features = backbone.blocks
        maps = [one for one in backbone.maps if one.stride >= stride]
        self._taps = frozenset(one.block for one in maps)
        self.lateral = nn.ModuleList(_lateral(one.channels, channels) for one in maps)
        self.smooth = nn.ModuleList(_depthwise_separable(channels, architecture.kernel_size) for _ in maps)
        self._add_head(channels, architecture)

    def _add_head(self, channels: int, architecture: Architecture) -> None:
        kinds = self.num_sizes * self.num_aspect_ratios
        num_logits, num_offsets = self.num_classes * kinds, 4 * kinds if self.box_regression else 0
        self.tower = _depthwise_separable(channels, architecture.kernel_size, architecture.tower_depth)
        self.box_tower: nn.Sequential | None = None
        self.predict_offsets: nn.Conv2d | None = None
        if architecture.separate_towers and self.box_regression:
            self.box_tower = _depthwise_separable(channels, architecture.kernel_size, architecture.tower_depth)
            self.predict_offsets = nn.Conv2d(channels, num_offsets, kernel_size=1)
            num_offsets = 0
        self.predict = nn.Conv2d(channels, num_logits + num_offsets, kernel_size=1)
        self._init_head()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits and offsets of every anchor: (B, 3, H, W) -> (B, C, S, R, rows, cols)."""
        return self.predict_anchors(self.grid_map(images))

    def grid_map(self, images: Tensor) -> Tensor:
        """Return the map of the label grid: (B, 3, H, W) -> (B, channels, rows, cols)."""
        pyramid = []
        features = images
        for index, block in enumerate(self.features):
            features = block(features)
            if index in self._taps:
                pyramid.append(features)
        return self._top_down(pyramid)

    def predict_anchors(self, grid: Tensor) -> Tensor:
        """Return the logits and offsets of every anchor: (B, channels, rows, cols) -> (B, C, S, R, rows, cols)."""
        raw: Tensor = self.predict(self.tower(grid))  # (B, C * S * R, rows, cols)
        if self.box_tower is not None and self.predict_offsets is not None:
            raw = torch.cat([raw, self.predict_offsets(self.box_tower(grid))], dim=1)
        batch, _, rows, cols = raw.shape
        return raw.view(batch, -1, self.num_sizes, self.num_aspect_ratios, rows, cols)

    def _top_down(self, pyramid: list[Tensor]) -> Tensor:
        """Return the map of the label grid (B, channels, rows, cols) from the backbone's maps, finest first."""
        grid: Tensor | None = None
        for features, lateral, smooth in zip(
            reversed(pyramid), reversed(self.lateral), reversed(self.smooth), strict=True
        ):
            merged = lateral(features)
            if grid is not None:
                # The size is plain numbers, so that an exported graph has no shape arithmetic here.
                size_hw = (int(merged.shape[-2]), int(merged.shape[-1]))
                merged = merged + functional.interpolate(grid, size=size_hw, mode="nearest")
            grid = smooth(merged)
        assert grid is not None
        return grid

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
            if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
                module.eval()
    frozen = network.features[:freeze]
    frozen.eval()
    frozen.requires_grad_(requires_grad=False)


def _lateral(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=1, bias=False), nn.BatchNorm2d(channels))


def _depthwise_separable(channels: int, kernel_size: int, depth: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
        ]
    return nn.Sequential(*layers)
