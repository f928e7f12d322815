"""A trained network as a function from frame to Detections, through the same contract as the runtime."""

from collections.abc import Callable

import torch

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections, select_detections
from mmpnet.contract.thresholds import Thresholds
from mmpnet.train.artifacts.config import ModelConfig
from mmpnet.train.model import MmpNet
from mmpnet.train.network.inference_net import CandidateNet


def torch_detector(
    network: MmpNet, config: ModelConfig, *, thresholds: Thresholds, device: torch.device
) -> Callable[[UInt8Array], Detections]:
    """Return a function that detects with the network in float32 and evaluation mode: frame (H, W, 3) BGR ->
    Detections."""
    letterbox = config.letterbox
    candidates = CandidateNet(network, config.anchors, config.input_hw).to(device).eval()

    def detect(frame_bgr: UInt8Array) -> Detections:
        pixels, transform = letterbox.apply(frame_bgr)
        # TF32 would round numbers that the exported file on a CPU does not round.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            boxes, scores, class_ids = candidates(torch.from_numpy(pixels)[None].to(device))
        return select_detections(
            boxes[0].cpu().numpy(),
            scores[0].cpu().numpy(),
            class_ids[0].cpu().numpy(),
            transform=transform,
            thresholds=thresholds,
        )

    return detect
