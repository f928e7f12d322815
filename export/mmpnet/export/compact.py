"""Store kernels in 16 bits and compute with them in 32: the file has half the size and nearly the same results.

The graph is compared with torch before its kernels are rounded. The effect of the rounding is visible in the comparison
of the written file, which has its own bound, and in the accuracy that --verify measures.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmpnet.contract.errors import ExportError
from mmpnet.train.network.onnx_weights import convolution_inputs

MOST_CHANNELS_LEFT = 3
"""Kernels with at most this many input channels, the first one and the depthwise ones, stay in 32 bits: they are few
numbers, and rounding them costs more accuracy than rounding all others."""
_COMPUTED = "{}.float32"


def round_kernels(model: onnx.ModelProto) -> None:
    """Round the kernels that mix channels to values of float16, in place; they stay float32.

    Raises: ExportError if a value is outside the range of float16.
    """
    kernels = _kernels(model)
    for tensor in model.graph.initializer:
        if tensor.name in kernels:
            values = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                rounded = values.astype(np.float16).astype(np.float32)
            if not np.isfinite(rounded).all():
                raise ExportError(
                    f"{tensor.name}: has a weight of {float(np.abs(values).max()):.3g}, but float16 ends at 65504; "
                    "export without --compact"
                )
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def store_half(model: onnx.ModelProto) -> None:
    """Store the rounded kernels as float16, in place, and cast them to float32 where they are read.

    ONNX Runtime folds the casts when it opens the file. A kernel keeps its name, so that viewers and training find it.
    """
    kernels = _kernels(model)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name in kernels:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            computed = _COMPUTED.format(tensor.name)
            casts.append(helper.make_node("Cast", [tensor.name], [computed], name=computed, to=TensorProto.FLOAT))
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in kernels:
            node.input[1] = _COMPUTED.format(node.input[1])
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)


def _kernels(model: onnx.ModelProto) -> set[str]:
    """The names of the kernels (O, I, h, w) that are stored in 16 bits."""
    of_convolutions = {names[0] for names in convolution_inputs(model)}
    return {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name in of_convolutions and tensor.dims[1] > MOST_CHANNELS_LEFT
    }
