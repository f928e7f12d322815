"""Correct biases by the mean error that rounded kernels cause (Nagel et al. 2019, section 4.2)."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mmpnet.contract.arrays import UInt8Array
from mmpnet.export.graph import INPUT_NAME
from mmpnet.export.quantization.graph_editor import array, convolutions, int8_convolutions, is_depthwise, set_array
from mmpnet.export.verification.graph_parity import open_graph
from mmpnet.system.progress import Progress, no_progress

MEAN_IMAGES = 64


def input_means(
    prepared: ir.Model, images: Sequence[UInt8Array], progress: Progress = no_progress
) -> dict[str, NDArray[np.float64]]:
    """The mean input (channels,) of each convolution over up to 64 letterboxed images, by the name of the tensor."""
    names = list(dict.fromkeys(str(node.inputs[0].name) for node in convolutions(prepared.graph) if node.inputs[0]))
    model = ir.to_proto(prepared)
    model.graph.ClearField("output")
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = open_graph(model.SerializeToString())
    chosen = images[:: max(len(images) // MEAN_IMAGES, 1)][:MEAN_IMAGES]
    sums: dict[str, NDArray[np.float64]] = {}
    for image in progress(chosen, "mean of each layer"):
        for name, values in zip(names, session.run(names, {INPUT_NAME: image[None]}), strict=True):
            sums[name] = sums.get(name, 0) + values[0].mean(axis=(1, 2), dtype=np.float64)
    return {name: total / len(chosen) for name, total in sums.items()}


def correct_biases(quantized: ir.Graph, prepared: ir.Graph, means: Mapping[str, NDArray[np.float64]]) -> None:
    """Change the biases of the int8 graph in place, so that each channel has the same mean as in the float graph.

    The means leave out that a convolution pads its input. means: of input_means.
    """
    for _, kernel, bias, original in int8_convolutions(quantized, prepared):
        pixels, weights_value, bias_value = original.inputs
        weights = array(weights_value).astype(np.float64)
        codes, scale = (array(value).astype(np.float64) for value in kernel.inputs[:2])
        moved = (codes * scale.reshape(-1, 1, 1, 1) - weights).sum(axis=(2, 3))  # (O, I)
        mean = means[str(pixels and pixels.name)]
        shift = moved[:, 0] * mean if is_depthwise(weights) else moved @ mean
        corrected = array(bias_value).astype(np.float64) - shift
        of_bias = array(bias.inputs[1]).astype(np.float64)
        set_array(bias.inputs[0], np.rint(corrected / of_bias).astype(np.int32))
