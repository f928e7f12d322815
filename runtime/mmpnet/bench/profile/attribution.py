"""Assign each kernel to the layer of the file that it computes.

ONNX Runtime fuses nodes and renames them, so kernels are matched by name first, and then by order of execution.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from mmpnet.bench.profile.kernels import Kernel
from mmpnet.bench.profile.layer_costs import Layer
from mmpnet.contract.node_names import module_name

_MULTIPLIES = re.compile("Conv|MatMul|Gemm")


@dataclass(slots=True)
class Part:
    """A module of the network, or a node outside all modules: its kernels, and the layers that they compute."""

    name: str
    kernels: list[Kernel] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)

    @property
    def ms(self) -> float:
        """The total time of its kernels."""
        return sum(kernel.median_ms for kernel in self.kernels)


def attribute(kernels: Sequence[Kernel], layers: Sequence[Layer]) -> list[Part]:
    """Assign every kernel, and every layer with multiply-adds, to exactly one part; in the order of execution."""
    named = [
        _layer_in_name(kernel.name, {layer.name: index for index, layer in enumerate(layers)}) for kernel in kernels
    ]
    owned = _owned_layers(kernels, named, layers)
    parts: dict[str, Part] = {}
    for position, (kernel, index) in enumerate(zip(kernels, named, strict=True)):
        layer = owned.get(position)
        label = layer.name if layer is not None else kernel.name if index is None else layers[index].name
        part = parts.setdefault(module_name(label), Part(module_name(label)))
        part.kernels.append(kernel)
        if layer is not None:
            part.layers.append(layer)
    kept = {id(layer) for layer in owned.values()}
    for layer in layers:
        if layer.multiply_adds and id(layer) not in kept:
            name = module_name(layer.name)
            parts.setdefault(name, Part(name)).layers.append(layer)
    return list(parts.values())


def _layer_in_name(kernel_name: str, index_of: dict[str, int]) -> int | None:
    """Index of the layer in a kernel's name: `/x/Clip_output_0_nchwc` is named after the output of `/x/Clip`."""
    end = len(kernel_name)
    while end > 0:
        if kernel_name[:end] in index_of:
            return index_of[kernel_name[:end]]
        end = max(kernel_name.rfind("_", 0, end), kernel_name.rfind("/", 0, end))
    return None


def _owned_layers(kernels: Sequence[Kernel], named: Sequence[int | None], layers: Sequence[Layer]) -> dict[int, Layer]:
    """For each kernel position, the layer whose multiply-adds that kernel does."""
    free = [index for index, layer in enumerate(layers) if layer.multiply_adds]
    multiplying = [position for position, kernel in enumerate(kernels) if _MULTIPLIES.search(kernel.op)]
    owned: dict[int, Layer] = {}
    for by_name in (True, False):
        for position in multiplying:
            if position in owned:
                continue
            index = named[position]
            if by_name:
                found = None if index is None else _fused_into(index, layers, free)
            else:
                numbers = math.prod(kernels[position].output_shape)
                found = next((one for one in free if math.prod(layers[one].output_shape) == numbers), None)
            if found is not None:
                free.remove(found)
                owned[position] = layers[found]
    return owned


def _fused_into(index: int, layers: Sequence[Layer], free: Sequence[int]) -> int | None:
    """The layer itself if it multiplies, else the earlier layer that its activation is fused into."""
    if layers[index].multiply_adds:
        return index if index in free else None
    before = [one for one in free if one < index and layers[one].output_shape == layers[index].output_shape]
    return max(before, key=lambda one: (_shared_scopes(layers[one].name, layers[index].name), one), default=None)


def _shared_scopes(a: str, b: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.split("/"), b.split("/"), strict=False)))
