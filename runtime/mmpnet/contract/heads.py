"""The heads that an exported graph can end in: the outputs of each, and the steps that the graph itself computes."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Head: TypeAlias = Literal["grid", "boxes", "nms"]
"""The last stage of the graph: the raw anchor grid, decoded candidates, or final detections."""
Meaning: TypeAlias = Literal["grid", "boxes", "scores", "class_ids", "detections", "num_dets"]
"""The content of one output; OutputDescription gives the shapes."""


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One head. The caller has to do the steps that the graph does not: decoding, suppression or both."""

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
