"""A backbone gives maps of the strides and channels that it states."""

import pytest
import torch

from mmpnet.train.backbone import BACKBONES, BackboneName
from mmpnet.train.choices import BACKBONE_BLOCKS


@pytest.mark.parametrize("name", list(BACKBONES))
@pytest.mark.parametrize("width_mult", [0.25, 1.0])
def test_the_maps_have_the_strides_and_channels_that_it_names(name: BackboneName, width_mult: float) -> None:
    backbone = BACKBONES[name](width_mult)
    assert len(backbone.blocks) == BACKBONE_BLOCKS
    assert [one.stride for one in backbone.maps] == [8, 16, 32]
    features = torch.randn(1, 3, 64, 96)
    shapes = []
    for block in backbone.blocks.eval():
        features = block(features)
        shapes.append(tuple(features.shape))
    for one in backbone.maps:
        assert shapes[one.block] == (1, one.channels, 64 // one.stride, 96 // one.stride)
