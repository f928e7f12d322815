"""Rearrange int8 graphs for the kernels of ONNX Runtime: they compute the same integers in less time.

docs/adr/0010 measures what is slow in a quantized MobileNetV2, and why. All changes use standard ONNX operators on
quantized tensors, between a QuantizeLinear and the DequantizeLinear after it, so that every convolution still fuses.
"""

import numpy as np
import onnx
import onnx_ir as ir

from mmpnet.export.graph import drop_unused_initializers
from mmpnet.export.quantization.graph_editor import (
    add_constant,
    array,
    convolutions,
    dequantized,
    insert_after,
    new_node,
    producer,
    set_array,
)

PIXELS_IN_GROUP = 4
OUTPUTS_IN_GROUP = 2
CHANNEL_MULTIPLE = 16


def rearrange(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an int8 graph with every rearrangement that fits it; its outputs are the same to the bit."""
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    _group_pixels(inferred.graph)
    _copy_instead_of_resize(inferred.graph)
    _fill_up_last_channels(inferred.graph)
    changed = ir.to_proto(inferred)
    # These are the shapes of tensors that were removed or changed.
    changed.graph.ClearField("value_info")
    drop_unused_initializers(changed)
    return changed


def _group_pixels(graph: ir.Graph) -> None:
    """Apply the first convolution (3x3, stride 2, 3 channels) to groups of four pixels, with two outputs at once.

    Memory holds the pixels as (H, W, 3), which is the same as (H, W/4, 12). A 3x2 kernel over groups reads all pixels
    of two neighboring outputs and computes their channels side by side: (H/2, W/4, 2 x O), which is the same in memory
    as (H/2, W/2, O). Half of the new kernel is zeros. It is still three times as fast, because ONNX Runtime's kernels
    process channels in groups of four.
    """
    convolution = convolutions(graph)[0]
    sources = dequantized(convolution)
    transpose = None if sources is None else producer(sources[0].inputs[0], "Transpose")
    if sources is None or transpose is None:
        return  # it computes in float, or its bytes are quantized again
    height, width = _sizes(graph.inputs[0])[1:3]
    _, kernel_source, bias_source = sources
    kernel = array(kernel_source.inputs[0])  # (O, 3, 3, 3)
    outputs = len(kernel)
    grouped = np.zeros((OUTPUTS_IN_GROUP * outputs, 3 * PIXELS_IN_GROUP, 3, 2), kernel.dtype)
    for output in range(OUTPUTS_IN_GROUP):
        for tap in (-1, 0, 1):
            group, pixel = divmod(2 * output + tap, PIXELS_IN_GROUP)  # group -1 is the left neighbor
            rows, channels = slice(output * outputs, (output + 1) * outputs), slice(3 * pixel, 3 * pixel + 3)
            grouped[rows, channels, :, group + 1] = kernel[:, :, :, tap + 1]
    set_array(kernel_source.inputs[0], grouped)
    for value in (*kernel_source.inputs[1:], *bias_source.inputs):
        if array(value).ndim:  # one value for each channel
            set_array(value, np.concatenate([array(value)] * OUTPUTS_IN_GROUP))
    for name in _GROUPED_ATTRIBUTES.keys() & convolution.attributes.keys():
        convolution.attributes.add(ir.AttrInt64s(name, _GROUPED_ATTRIBUTES[name]))
    groups = add_constant(graph, "pixel_groups", np.array([0, height, width // PIXELS_IN_GROUP, -1]))
    grouped_pixels = new_node("Reshape", [transpose.inputs[0], groups], "grouped_pixels", "group_pixels")
    transpose.prepend(grouped_pixels)
    transpose.replace_input_with(0, grouped_pixels.outputs[0])
    (quantize,) = convolution.outputs[0].consumers()
    single = add_constant(graph, "single_outputs", np.array([0, height // 2, width // 2, outputs]))
    last = new_node("Transpose", quantize.outputs, "grouped_last", "group_outputs", perm=[0, 2, 3, 1])
    single_last = new_node("Reshape", [*last.outputs, single], "single_last", "ungroup_outputs")
    first = new_node("Transpose", single_last.outputs, "first_outputs", "order_outputs", perm=[0, 3, 1, 2])
    insert_after(quantize, last, single_last, first)


_GROUPED_ATTRIBUTES = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 0], "dilations": [1, 1]}


def _copy_instead_of_resize(graph: ir.Graph) -> None:
    """Replace nearest-neighbor upsampling of a quantized tensor by two concatenations, which only copy bytes."""
    for resize in [node for node in graph if node.op_type == "Resize"]:
        dequantize = producer(resize.inputs[0], "DequantizeLinear")
        quantize, *others = resize.outputs[0].consumers()
        if dequantize is None or others or quantize.op_type != "QuantizeLinear":
            continue
        (channels, height, width), large = _sizes(resize.inputs[0])[1:], _sizes(resize.outputs[0])[1:]
        scales = [[array(value) for value in node.inputs[1:]] for node in (dequantize, quantize)]
        if large != [channels, 2 * height, 2 * width] or scales[0] != scales[1]:
            continue
        name = str(resize.name).rpartition("/")[2]
        wide = add_constant(graph, f"{name}_wide", np.array([0, height, 1, 2 * width * channels]))
        tall = add_constant(graph, f"{name}_tall", np.array([0, 2 * height, 2 * width, channels]))
        last = new_node("Transpose", [dequantize.inputs[0]], f"{name}_last", f"{name}_0", perm=[0, 2, 3, 1])
        wide_pixels = new_node("Concat", [*last.outputs, *last.outputs], f"{name}_wide_pixels", f"{name}_1", axis=3)
        wide_rows = new_node("Reshape", [*wide_pixels.outputs, wide], f"{name}_wide_rows", f"{name}_2")
        tall_rows = new_node(
            "Concat", [*wide_rows.outputs, *wide_rows.outputs], f"{name}_tall_rows", f"{name}_3", axis=2
        )
        tall_pixels = new_node("Reshape", [*tall_rows.outputs, tall], f"{name}_tall_pixels", f"{name}_4")
        first = new_node("Transpose", tall_pixels.outputs, f"{name}_first", f"{name}_5", perm=[0, 3, 1, 2])
        insert_after(quantize, last, wide_pixels, wide_rows, tall_rows, tall_pixels, first)
        graph.remove([resize, quantize], safe=True)
        if not dequantize.outputs[0].uses():
            graph.remove(dequantize, safe=True)


def _fill_up_last_channels(graph: ir.Graph) -> None:
    """Pad the outputs of the last convolution to a multiple of 16, and cut the padding off again.

    This is twice as fast as with 90 outputs.
    """
    convolution = convolutions(graph)[-1]
    sources = dequantized(convolution)
    if sources is None:
        return
    _, kernel_source, bias_source = sources
    outputs = len(array(kernel_source.inputs[0]))
    missing = -outputs % CHANNEL_MULTIPLE
    if not missing:
        return
    for value in (*kernel_source.inputs, *bias_source.inputs):
        whole = array(value)
        if whole.ndim:
            # Repeat the last scale: that of a bias must stay the product of the scales of kernel and input.
            last = whole[-1:] if whole.dtype == np.float32 else np.zeros_like(whole[-1:])
            set_array(value, np.concatenate([whole, *[last] * missing]))
    (quantize,) = convolution.outputs[0].consumers()
    (dequantize,) = quantize.outputs[0].consumers()
    limits = [
        add_constant(graph, f"last_{what}", np.array([n])) for what, n in (("from", 0), ("to", outputs), ("axis", 1))
    ]
    # Cut behind the DequantizeLinear; before it, the convolution would no longer fuse.
    insert_after(dequantize, new_node("Slice", [*dequantize.outputs, *limits], "last_outputs", "cut_last_outputs"))


def _sizes(value: ir.Value | None) -> list[int]:
    """The shape that shape inference has found."""
    assert value is not None
    assert value.shape is not None
    return [int(size) for size in value.shape.numpy()]
