"""Change ONNX files in tests."""

from pathlib import Path

import onnx

from mmpnet.contract.seal import SEAL_KEY


def save_unsealed(model: onnx.ModelProto, path: Path | str) -> None:
    """Write a changed model without its old hash."""
    kept = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
