"""Execution providers by their short names."""

from typing import Literal, TypeAlias

Provider: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]

PROVIDER_NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
