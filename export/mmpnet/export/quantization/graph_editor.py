"""Read and change a quantized graph by the names of its nodes and tensors."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mmpnet.export.graph import NETWORK_SCOPE


class GraphEditor:
    """Access to the nodes and initializers of one graph; a tensor has one producer and any number of consumers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for an input and an initializer."""
        return next((node for node in self.graph.node if tensor in node.output), None)

    def dequantized(self, convolution: onnx.NodeProto) -> tuple[onnx.NodeProto, ...] | None:
        """The DequantizeLinear nodes of a convolution's input, kernel and bias; None if it computes in float."""
        sources = [self.producer(name) for name in convolution.input]
        found = tuple(node for node in sources if node is not None and node.op_type == "DequantizeLinear")
        return found if len(found) == len(sources) else None

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.graph.node if tensor in node.input]

    def convolutions(self) -> list[onnx.NodeProto]:
        """The convolutions of the network, in the order of the graph."""
        return [node for node in self.graph.node if node.op_type == "Conv" and NETWORK_SCOPE in node.name]

    def value(self, name: str) -> NDArray[np.generic]:
        """The value of an initializer."""
        return numpy_helper.to_array(self._tensors[name])

    def set_value(self, name: str, value: NDArray[np.generic]) -> str:
        """Change the value of an initializer, or add one; returns its name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        if name in self._tensors:
            self._tensors[name].CopyFrom(tensor)
        else:
            self.graph.initializer.append(tensor)
            self._tensors[name] = self.graph.initializer[-1]
        return name

    def scales(self, dequantize: onnx.NodeProto) -> tuple[float, int]:
        """Scale and zero point of a tensor that has one of each."""
        return float(self.value(dequantize.input[1])), int(self.value(dequantize.input[2]))

    def insert_after(self, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
        """Insert nodes behind a node, in their order."""
        at = next(index for index, other in enumerate(self.graph.node) if other is node or other.name == node.name) + 1
        for offset, one in enumerate(new):
            self.graph.node.insert(at + offset, one)

    def redirect(self, old: str, new: str) -> None:
        """Redirect all consumers of the tensor `old` to the tensor `new`."""
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new


class Int8Convolution(NamedTuple):
    """The DequantizeLinear nodes of a quantized convolution, and its original in the float graph."""

    pixels: onnx.NodeProto
    kernel: onnx.NodeProto
    bias: onnx.NodeProto
    source: onnx.NodeProto


def int8_convolutions(quantized: GraphEditor, prepared: GraphEditor) -> Iterator[Int8Convolution]:
    """Every quantized convolution, with its original in the float graph."""
    floats = {convolution.name: convolution for convolution in prepared.convolutions()}
    for convolution in quantized.convolutions():
        sources = quantized.dequantized(convolution)
        if sources is not None:
            pixels, kernel, bias = sources
            yield Int8Convolution(pixels, kernel, bias, floats[convolution.name])


def is_depthwise(kernel: NDArray[np.generic]) -> bool:
    """Whether each output of a kernel (O, I, h, w) has one input channel."""
    return bool(kernel.shape[1] == 1)
