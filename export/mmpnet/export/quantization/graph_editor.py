"""Read and change the convolutions of a quantized graph, and the constants that they read."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from mmpnet.export.graph import NETWORK_SCOPE


def convolutions(graph: ir.Graph) -> list[ir.Node]:
    """The convolutions of the network, in the order of the graph."""
    return [node for node in graph if node.op_type == "Conv" and NETWORK_SCOPE in (node.name or "")]


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes a value, if it is of this type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def dequantized(convolution: ir.Node) -> tuple[ir.Node, ...] | None:
    """The DequantizeLinear nodes of a convolution's input, kernel and bias; None if it computes in float."""
    sources = [producer(value, "DequantizeLinear") for value in convolution.inputs]
    found = tuple(node for node in sources if node is not None)
    return found if len(found) == len(sources) else None


def array(value: ir.Value | None) -> NDArray[Any]:
    """The value of an initializer."""
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def set_array(value: ir.Value | None, new: NDArray[Any]) -> None:
    """Change the value of an initializer."""
    assert value is not None
    value.const_value = ir.tensor(np.ascontiguousarray(new), name=value.name)
    value.shape = ir.Shape(value.const_value.shape.numpy())


def add_constant(graph: ir.Graph, name: str, new: NDArray[Any]) -> ir.Value:
    """Add an initializer."""
    value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(new), name=name))
    graph.register_initializer(value)
    return value


def new_node(op_type: str, inputs: Sequence[ir.Value | None], output: str, name: str, **attributes: Any) -> ir.Node:
    """A node with one output, which is not in the graph yet."""
    return ir.node(op_type, inputs, attributes, outputs=[ir.val(output)], name=name)


def insert_after(node: ir.Node, *new: ir.Node) -> None:
    """Insert new nodes behind a node; the consumers of its output then read the output of the last new node."""
    for consumer, index in tuple(node.outputs[0].uses()):
        if consumer not in new:
            consumer.replace_input_with(index, new[-1].outputs[0])
    node.append(new)


class Int8Convolution(NamedTuple):
    """The DequantizeLinear nodes of a quantized convolution, and its original in the float graph."""

    pixels: ir.Node
    kernel: ir.Node
    bias: ir.Node
    source: ir.Node


def int8_convolutions(quantized: ir.Graph, prepared: ir.Graph) -> Iterator[Int8Convolution]:
    """Every quantized convolution, with its original in the float graph."""
    floats = {convolution.name: convolution for convolution in convolutions(prepared)}
    for convolution in convolutions(quantized):
        sources = dequantized(convolution)
        if sources is not None:
            pixels, kernel, bias = sources
            yield Int8Convolution(pixels, kernel, bias, floats[convolution.name])


def is_depthwise(kernel: NDArray[np.generic]) -> bool:
    """Whether each output of a kernel (O, I, h, w) has one input channel."""
    return bool(kernel.shape[1] == 1)
