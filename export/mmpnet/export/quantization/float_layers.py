"""Keep convolutions in float that ONNX Runtime would convert to int8.

Since 1.21 its optimizer `WeightBiasQuantization` rounds the kernel of every float convolution between a
DequantizeLinear and a QuantizeLinear, with one scale for the whole kernel, and does not report it. Depthwise kernels,
whose channels differ by orders of magnitude, lose most of their channels. The optimizer skips convolutions whose input
has one scale for each channel.
"""

import numpy as np
import onnx_ir as ir

from mmpnet.export.quantization.graph_editor import add_constant, array, convolutions, dequantized, new_node, producer

CHANNEL_AXIS = 1


def keep_in_float(graph: ir.Graph) -> None:
    """Give each float convolution that reads a quantized tensor its own DequantizeLinear, in place.

    It repeats the tensor's scale for each channel, so that the results stay the same.
    """
    for convolution in convolutions(graph):
        dequantize = producer(convolution.inputs[0], "DequantizeLinear")
        if dequantized(convolution) is not None or dequantize is None:
            continue
        channels = convolution.attributes.get_int("group", 1) * array(convolution.inputs[1]).shape[1]
        parameters = [
            add_constant(graph, f"{convolution.name}_{what}", np.repeat(array(value).reshape(1), channels))
            for what, value in zip(("scales", "zero_points"), dequantize.inputs[1:], strict=True)
        ]
        own = new_node(
            "DequantizeLinear",
            [dequantize.inputs[0], *parameters],
            f"{convolution.name}_floats",
            f"{convolution.name}_dequantize",
            axis=CHANNEL_AXIS,
        )
        dequantize.append(own)
        convolution.replace_input_with(0, own.outputs[0])
        if not dequantize.outputs[0].uses():
            graph.remove(dequantize, safe=True)
