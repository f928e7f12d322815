"""Keep convolutions in float that ONNX Runtime would convert to int8.

Since 1.21 its optimizer `WeightBiasQuantization` rounds the kernel of every float convolution between a
DequantizeLinear and a QuantizeLinear, with one scale for the whole kernel, and does not report it. Depthwise kernels,
whose channels differ by orders of magnitude, lose most of their channels. The optimizer skips convolutions whose input
has one scale for each channel.
"""

import numpy as np
import onnx
from onnx import helper

from mmpnet.export.quantization.graph_editor import GraphEditor

CHANNEL_AXIS = 1


def keep_in_float(model: onnx.ModelProto) -> None:
    """Give each float convolution that reads a quantized tensor its own DequantizeLinear, in place.

    It repeats the tensor's scale for each channel, so that the results stay the same.
    """
    editor = GraphEditor(model)
    for convolution in editor.convolutions():
        dequantize = editor.producer(convolution.input[0])
        if (
            editor.dequantized(convolution) is not None
            or dequantize is None
            or dequantize.op_type != "DequantizeLinear"
        ):
            continue
        groups = next((one.i for one in convolution.attribute if one.name == "group"), 1)
        channels = groups * editor.value(convolution.input[1]).shape[1]
        parameters = [
            editor.set_value(f"{convolution.name}_{what}", np.repeat(editor.value(name).reshape(1), channels))
            for what, name in zip(("scales", "zero_points"), dequantize.input[1:], strict=True)
        ]
        floats = f"{convolution.name}_floats"
        editor.insert_after(
            dequantize,
            helper.make_node(
                "DequantizeLinear",
                [dequantize.input[0], *parameters],
                [floats],
                name=f"{convolution.name}_dequantize",
                axis=CHANNEL_AXIS,
            ),
        )
        shared, convolution.input[0] = convolution.input[0], floats
        if not editor.consumers(shared):
            model.graph.node.remove(dequantize)
