"""Put the weights of a network into a larger one with the same output (Net2Net: Chen et al. 2016).

The larger network may have more channels in the top-down path and larger depthwise kernels. New channels start at
random, but no channel of the smaller network reads them, and the last layer reads them with weight zero; the new taps
of a kernel are zero.
"""

from collections.abc import Mapping

from torch import Tensor

from mmpnet.contract.errors import CheckpointError
from mmpnet.train.network.head_rows import LOGITS

GROWING = ("lateral.", "smooth.", "tower.", "box_tower.", LOGITS)
"""The parts of the network whose width or kernels are options; the backbone has another one, its width_mult."""


def grown(given: Mapping[str, Tensor], own: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Return the weights `given` in the shapes of `own`; the rows of the last layer stay as many as they are.

    Args:
        given: the state of the smaller network, or of one of the same size.
        own: the state of the larger network, which gives the values of new channels.
        source: name of the file with the smaller network.

    Raises: CheckpointError if a tensor of `given` is larger, or belongs to a part that cannot grow.
    """
    return {name: _grown(name, tensor, own[name], source) for name, tensor in given.items()}


def _grown(name: str, given: Tensor, own: Tensor, source: str) -> Tensor:
    of_head = name.startswith(LOGITS)
    shape = (*given.shape[:1], *own.shape[1:]) if of_head else own.shape
    if given.shape == shape:
        return given
    sides = list(zip(given.shape, shape, strict=True)) if given.dim() == len(shape) else []
    odd_taps = all((large - small) % 2 == 0 for small, large in sides[2:])
    if not name.startswith(GROWING) or not sides or not odd_taps or any(small > large for small, large in sides):
        raise CheckpointError(
            f"{source}: a checkpoint of another architecture ({name} is {tuple(given.shape)}, here "
            f"{tuple(own.shape)}); give at least its --channels and --kernel-size, and the --width-mult it was "
            "trained with"
        )
    larger = given.new_zeros(shape) if of_head else own.to(given).clone()
    outputs = slice(len(given))
    larger[outputs] = 0
    # A kernel keeps its center.
    taps = [slice((large - small) // 2, (large + small) // 2) for small, large in sides[2:]]
    larger[(outputs, *(slice(small) for small, _ in sides[1:2]), *taps)] = given
    return larger
