"""Quantize kernels so that int8 convolutions saturate on no CPU.

On x86 CPUs without VNNI, which multiplies bytes and sums them in 32 bits, kernels multiply unsigned by signed bytes and
add neighbors in 16 bits (VPMADDUBSW). The sum saturates: 255 * 127 + 255 * 127 becomes 32767, without an error. Two
neighbors whose weights sum to at most 128 cannot saturate. ONNX Runtime's own remedy, `reduce_range`, takes one bit
from every weight; here the scale of each output's weights grows only as far as its own neighbors require.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from mmpnet.export.quantization.graph_editor import array, int8_convolutions, is_depthwise, set_array

LARGEST_PAIR = 128
"""255 * 128 is the largest multiple of 255 that 16 bits hold, either sign."""


def without_saturation(quantized: ir.Graph, prepared: ir.Graph) -> None:
    """Quantize kernels again from those of the float graph, in place, where neighbors could saturate.

    Depthwise kernels keep their weights, because their products are summed in 32 bits.

    quantized: the int8 graph. prepared: the float graph from which it was made.
    """
    for pixels, kernel, bias, original in int8_convolutions(quantized, prepared):
        weights = array(original.inputs[1]).astype(np.float64)
        if is_depthwise(weights):
            continue
        scale = array(kernel.inputs[1]).astype(np.float64)
        needed = largest_pairs(weights) / LARGEST_PAIR
        if (needed <= scale).all():
            continue
        scale = np.maximum(scale, needed if scale.ndim else needed.max()).astype(np.float32).astype(np.float64)
        codes = np.rint(weights / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        of_bias = scale * float(array(pixels.inputs[1]))
        biases = np.rint(array(original.inputs[2]).astype(np.float64) / of_bias).astype(np.int32)
        for value, new in (
            (kernel.inputs[0], codes),
            (kernel.inputs[1], scale.astype(np.float32)),
            (bias.inputs[0], biases),
            (bias.inputs[1], of_bias.astype(np.float32)),
        ):
            set_array(value, new.reshape(array(value).shape))


def largest_pairs(kernel: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
    """The largest sum of two neighbors of one sign in the weights of each output: kernel (O, I, h, w) -> (O,).

    Neighbors are in the order in which kernels read them: channel after channel, then tap after tap.
    """
    rows = kernel.astype(np.float64).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    rows = np.pad(rows, ((0, 0), (0, 1)))
    sums = [side[:, 1:] + side[:, :-1] for side in (rows.clip(min=0), -rows.clip(max=0))]
    largest: NDArray[np.float64] = np.maximum(*sums).max(axis=1)
    return largest
