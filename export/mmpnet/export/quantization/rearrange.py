"""Rearrange int8 graphs for the kernels of ONNX Runtime: they compute the same integers in less time.

docs/adr/0010 measures what is slow in a quantized MobileNetV2, and why. All changes use standard ONNX operators on
quantized tensors, between a QuantizeLinear and the DequantizeLinear after it, so that every convolution still fuses.
"""

import numpy as np
import onnx
from onnx import helper

from mmpnet.export.graph import drop_unused_initializers
from mmpnet.export.quantization.graph_editor import GraphEditor

PIXELS_IN_GROUP = 4
OUTPUTS_IN_GROUP = 2
CHANNEL_MULTIPLE = 16


def rearrange(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an int8 graph with every rearrangement that fits it; its outputs are the same to the bit."""
    changed = onnx.shape_inference.infer_shapes(model)
    _group_pixels(changed)
    _copy_instead_of_resize(changed)
    _fill_up_last_channels(changed)
    # These are the shapes of tensors that were removed or changed.
    changed.graph.ClearField("value_info")
    drop_unused_initializers(changed)
    return changed


def _group_pixels(model: onnx.ModelProto) -> None:
    """Apply the first convolution (3x3, stride 2, 3 channels) to groups of four pixels, with two outputs at once.

    Memory holds the pixels as (H, W, 3), which is the same as (H, W/4, 12). A 3x2 kernel over groups reads all pixels
    of two neighboring outputs and computes their channels side by side: (H/2, W/4, 2 x O), which is the same in memory
    as (H/2, W/2, O). Half of the new kernel is zeros. It is still three times as fast, because ONNX Runtime's kernels
    process channels in groups of four.
    """
    editor = GraphEditor(model)
    convolution = editor.convolutions()[0]
    sources = editor.dequantized(convolution)
    transpose = None if sources is None else editor.producer(sources[0].input[0])
    if sources is None or transpose is None or transpose.op_type != "Transpose":
        return  # it computes in float, or its bytes are quantized again
    height, width = (dim.dim_value for dim in list(model.graph.input[0].type.tensor_type.shape.dim)[1:3])
    _, kernel_source, bias_source = sources
    kernel = editor.value(kernel_source.input[0])  # (O, 3, 3, 3)
    outputs = len(kernel)
    grouped = np.zeros((OUTPUTS_IN_GROUP * outputs, 3 * PIXELS_IN_GROUP, 3, 2), kernel.dtype)
    for output in range(OUTPUTS_IN_GROUP):
        for tap in (-1, 0, 1):
            group, pixel = divmod(2 * output + tap, PIXELS_IN_GROUP)  # group -1 is the left neighbor
            rows, channels = slice(output * outputs, (output + 1) * outputs), slice(3 * pixel, 3 * pixel + 3)
            grouped[rows, channels, :, group + 1] = kernel[:, :, :, tap + 1]
    editor.set_value(kernel_source.input[0], grouped)
    for name in (*kernel_source.input[1:], *bias_source.input):
        whole = editor.value(name)
        if whole.ndim:  # one value for each channel
            editor.set_value(name, np.concatenate([whole] * OUTPUTS_IN_GROUP))
    for attribute in convolution.attribute:
        if attribute.name in _GROUPED_ATTRIBUTES:
            attribute.ints[:] = _GROUPED_ATTRIBUTES[attribute.name]
    groups = editor.set_value("pixel_groups", np.array([0, height, width // PIXELS_IN_GROUP, -1]))
    transpose_at = list(model.graph.node).index(transpose)
    reshape = helper.make_node("Reshape", [transpose.input[0], groups], ["grouped_pixels"], name="group_pixels")
    model.graph.node.insert(transpose_at, reshape)
    transpose.input[0] = "grouped_pixels"
    (quantize,) = editor.consumers(convolution.output[0])
    single = editor.set_value("single_outputs", np.array([0, height // 2, width // 2, outputs]))
    editor.redirect(quantize.output[0], "first_outputs")
    editor.insert_after(
        quantize,
        helper.make_node("Transpose", [quantize.output[0]], ["grouped_last"], name="group_outputs", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["grouped_last", single], ["single_last"], name="ungroup_outputs"),
        helper.make_node("Transpose", ["single_last"], ["first_outputs"], name="order_outputs", perm=[0, 3, 1, 2]),
    )


_GROUPED_ATTRIBUTES = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 0], "dilations": [1, 1]}


def _copy_instead_of_resize(model: onnx.ModelProto) -> None:
    """Replace nearest-neighbor upsampling of a quantized tensor by two concatenations, which only copy bytes."""
    editor = GraphEditor(model)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    for resize in [node for node in model.graph.node if node.op_type == "Resize"]:
        dequantize, consumers = editor.producer(resize.input[0]), editor.consumers(resize.output[0])
        if (
            dequantize is None
            or dequantize.op_type != "DequantizeLinear"
            or [node.op_type for node in consumers] != ["QuantizeLinear"]
        ):
            continue
        (quantize,) = consumers
        sizes = [[dim.dim_value for dim in shapes[name]] for name in (resize.input[0], resize.output[0])]
        (channels, height, width), large = sizes[0][1:], sizes[1][1:]
        if large != [channels, 2 * height, 2 * width] or editor.scales(dequantize) != editor.scales(quantize):
            continue
        name = resize.name.rpartition("/")[2]
        wide = editor.set_value(f"{name}_wide", np.array([0, height, 1, 2 * width * channels]))
        tall = editor.set_value(f"{name}_tall", np.array([0, 2 * height, 2 * width, channels]))
        tensors = [
            f"{name}_{part}" for part in ("last", "wide_pixels", "wide_rows", "tall_rows", "tall_pixels", "first")
        ]
        editor.insert_after(
            quantize,
            helper.make_node("Transpose", [dequantize.input[0]], [tensors[0]], f"{name}_0", perm=[0, 2, 3, 1]),
            helper.make_node("Concat", [tensors[0], tensors[0]], [tensors[1]], f"{name}_1", axis=3),
            helper.make_node("Reshape", [tensors[1], wide], [tensors[2]], f"{name}_2"),
            helper.make_node("Concat", [tensors[2], tensors[2]], [tensors[3]], f"{name}_3", axis=2),
            helper.make_node("Reshape", [tensors[3], tall], [tensors[4]], f"{name}_4"),
            helper.make_node("Transpose", [tensors[4]], [tensors[5]], f"{name}_5", perm=[0, 3, 1, 2]),
        )
        editor.redirect(quantize.output[0], tensors[5])
        for node in (resize, quantize):
            model.graph.node.remove(node)
        if not editor.consumers(dequantize.output[0]):
            model.graph.node.remove(dequantize)


def _fill_up_last_channels(model: onnx.ModelProto) -> None:
    """Pad the outputs of the last convolution to a multiple of 16, and cut the padding off again.

    This is twice as fast as with 90 outputs.
    """
    editor = GraphEditor(model)
    convolution = editor.convolutions()[-1]
    sources = editor.dequantized(convolution)
    if sources is None:
        return
    _, kernel_source, bias_source = sources
    outputs = len(editor.value(kernel_source.input[0]))
    missing = -outputs % CHANNEL_MULTIPLE
    if not missing:
        return
    for name in (*kernel_source.input, *bias_source.input):
        whole = editor.value(name)
        if whole.ndim:
            # Repeat the last scale: that of a bias must stay the product of the scales of kernel and input.
            last = whole[-1:] if whole.dtype == np.float32 else np.zeros_like(whole[-1:])
            editor.set_value(name, np.concatenate([whole, *[last] * missing]))
    (quantize,) = editor.consumers(convolution.output[0])
    (dequantize,) = editor.consumers(quantize.output[0])
    limits = [
        editor.set_value(f"last_{what}", np.array([n])) for what, n in (("from", 0), ("to", outputs), ("axis", 1))
    ]
    editor.redirect(dequantize.output[0], "last_outputs")
    # Cut behind the DequantizeLinear; before it, the convolution would no longer fuse.
    editor.insert_after(
        dequantize,
        helper.make_node("Slice", [dequantize.output[0], *limits], ["last_outputs"], name="cut_last_outputs"),
    )
