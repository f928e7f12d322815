"""The oldest ONNX Runtime that opens a file, by its operator set and IR version (onnxruntime.ai, Compatibility)."""

import onnx

_BY_OPSET = {
    11: "1.0",
    12: "1.3",
    13: "1.6",
    14: "1.8",
    15: "1.9",
    16: "1.11",
    17: "1.12",
    18: "1.14",
    19: "1.15",
    20: "1.17",
}
_BY_IR = {6: "1.0", 7: "1.3", 8: "1.10", 9: "1.15", 10: "1.18"}


def oldest_runtime(model: onnx.ModelProto) -> str:
    """Such as `1.6`; `unknown` for an operator set or IR version of which it is not known."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    versions = [_BY_OPSET.get(opset), _BY_IR.get(model.ir_version)]
    known = [version for version in versions if version is not None]
    if len(known) < len(versions):
        return "unknown"
    return max(known, key=lambda version: tuple(map(int, version.split("."))))
