"""The self-test of the shipped files on ONNX Runtime 1.10 for Node, the oldest release that a package registry still
has completely. `make oldest` installs it and passes the folder of its package."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmpnet.console.command import console
from mmpnet.contract.detections import select_detections
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS, model_path
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.runtime.inference.self_test import SelfTestResult, compare, synthetic_frame

SCRIPT = Path(__file__).with_name("candidates.cjs")


def on_oldest(path: Path, packages: Path) -> SelfTestResult:
    """Raises: RuntimeError if ONNX Runtime 1.10 does not run the file."""
    metadata = read_model_file(path).metadata
    if metadata is None or metadata.self_test is None:
        raise RuntimeError(f"{path}: has no self-test")
    record = metadata.self_test
    pixels, transform = metadata.letterbox.apply(synthetic_frame(record.seed, record.frame_hw))
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame"
        frame.write_bytes(pixels.tobytes())
        done = subprocess.run(
            ["node", SCRIPT, path, frame, *map(str, metadata.input.size_hw)],
            env={**os.environ, "NODE_PATH": str(packages)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{path}: {done.stderr.strip()}")
    outputs = json.loads(done.stdout.splitlines()[-1])
    found = select_detections(
        np.array(outputs["boxes"], np.float32).reshape(-1, 4),
        np.array(outputs["scores"], np.float32),
        np.array(outputs["class_ids"], np.int64),
        transform=transform,
        thresholds=replace(metadata.thresholds, conf=record.conf),
    )
    return compare(record, found)


if __name__ == "__main__":
    results = {name: on_oldest(model_path(name), Path(sys.argv[1])) for name in EMBEDDED_MODELS}
    for name, result in results.items():
        console().print(
            f"{name} on ONNX Runtime 1.10: {result.n_expected} expected, {result.n_unmatched} without a partner, "
            f"scores within {result.max_score_difference:.1e}"
        )
    sys.exit(any(not result.n_expected or result.n_unmatched for result in results.values()))
