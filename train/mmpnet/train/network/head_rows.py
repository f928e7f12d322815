"""What the rows of the last layer mean, and how they move to a network with other classes.

A row belongs to a class and an anchor. Two layers of one shape may have classes in another order or other anchors, so
rows are matched by names and sizes, never by their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import CheckpointError

LOGITS, OFFSETS = "predict", "predict_offsets"


@dataclass(frozen=True, slots=True)
class HeadMeaning:
    """The classes (index 0 is background) and anchors of a network's outputs."""

    class_names: tuple[str, ...]
    anchors: AnchorSpec

    @property
    def num_kinds(self) -> int:
        """Number of anchors in a cell."""
        return self.anchors.num_sizes * self.anchors.num_aspect_ratios

    @property
    def num_logits(self) -> int:
        return len(self.class_names) * self.num_kinds


@dataclass(frozen=True, slots=True)
class MovedHead:
    """The tensors of the last layer by name, and a sentence about what starts at random; empty if nothing does."""

    tensors: dict[str, Tensor]
    remark: str


def move_head(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], head: HeadMeaning | None, other: HeadMeaning, *, source: str
) -> MovedHead:
    """Return the last layer of a network with the rows of another one, class by class.

    Args:
        own: the state of the network, whose rows stay where the other one has none.
        given: the state of the other network.
        head: the meaning of the network's rows; None, if it is not known, keeps all of them.
        other: that of the other network's rows.
        source: name of the file with the other network.

    Raises: CheckpointError if the other network does not have the rows that its classes and anchors need.
    """
    tensors = {name: tensor for name, tensor in own.items() if name.startswith(LOGITS)}
    shared = () if head is None else [name for name in head.class_names[1:] if name in other.class_names]
    if head is None or head.anchors != other.anchors or not shared:
        return MovedHead(tensors, f"the last layer starts at random: {_difference(head, other)}")
    for part in ("weight", "bias"):
        rows = given[f"{LOGITS}.{part}"]
        if len(rows) < other.num_logits:
            raise CheckpointError(f"{source}: its last layer has {len(rows)} rows, expected {other.num_logits} or more")
        tensors[f"{LOGITS}.{part}"] = _by_class(own[f"{LOGITS}.{part}"], rows, head, other)
        if f"{OFFSETS}.{part}" in tensors:
            tensors[f"{OFFSETS}.{part}"] = given[f"{OFFSETS}.{part}"]
    return MovedHead(tensors, _remark(head, other))


def _by_class(own: Tensor, given: Tensor, head: HeadMeaning, other: HeadMeaning) -> Tensor:
    """Return rows (classes * kinds + offsets, ...); those of classes that only the network has stay its own."""
    rows, kinds = own.clone(), head.num_kinds
    for index, name in enumerate(head.class_names):
        if name in other.class_names:
            start = other.class_names.index(name) * kinds
            rows[index * kinds : (index + 1) * kinds] = given[start : start + kinds]
    if len(own) - head.num_logits == len(given) - other.num_logits:
        rows[head.num_logits :] = given[other.num_logits :]
    return rows


def _difference(head: HeadMeaning | None, other: HeadMeaning) -> str:
    if head is None:
        return "the classes of this network have no names"
    if head.anchors == other.anchors:
        return f"it was trained for {', '.join(other.class_names[1:])}"
    anchors = other.anchors
    return f"it was trained for anchor sizes {anchors.sizes_px} and ratios {anchors.aspect_ratios}"


def _remark(head: HeadMeaning, other: HeadMeaning) -> str:
    new = [name for name in head.class_names if name not in other.class_names]
    unused = [name for name in other.class_names if name not in head.class_names]
    parts = [f"in the last layer, {', '.join(new)} starts at random"] if new else []
    parts += [f"what it knows of {', '.join(unused)} is left out"] if unused else []
    if not parts and head.class_names != other.class_names:
        parts = ["its classes have another order: the rows of the last layer are moved by name"]
    return "; ".join(parts)
