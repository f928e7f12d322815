"""The heads that an exported graph can end in: which outputs each has, and what the graph computes itself."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Head: TypeAlias = Literal["grid", "boxes", "nms"]
"""What the graph ends in: the bare anchor grid, decoded candidates, or final detections."""
Meaning: TypeAlias = Literal["grid", "boxes", "scores", "class_ids", "detections", "num_dets"]
"""What one output holds; OutputDescription gives the shapes."""


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One head. What the graph does not do itself, decoding or suppression, is left to the caller."""

    outputs: tuple[Meaning, ...]
    """The outputs, in the order in which a runtime fetches them."""
    decodes: bool
    """Whether the graph turns offsets into boxes in px of the input, and logits into scores and class ids."""
    suppresses: bool
    """Whether the graph applies the thresholds and NMS, so that its rows are the final detections."""


HEADS: dict[Head, HeadSpec] = {
    "grid": HeadSpec(("grid",), decodes=False, suppresses=False),
    "boxes": HeadSpec(("boxes", "scores", "class_ids"), decodes=True, suppresses=False),
    "nms": HeadSpec(("detections", "num_dets"), decodes=True, suppresses=True),
}
