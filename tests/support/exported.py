"""Exported files that tests only read; each is made once."""

import hashlib
from pathlib import Path

import onnxruntime
from filelock import FileLock

from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.writer import export_file


class ExportCache:
    """(checkpoint, options) -> the ONNX file, alone in its folder. Read only: other tests get the same file.

    The key is the content of the checkpoint and the frozen options. All workers of pytest-xdist share the folder; the
    first worker that needs a file exports it, and the others wait.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, checkpoint: Path, options: ExportOptions) -> Path:
        key = hashlib.sha256(checkpoint.read_bytes() + repr(options).encode()).hexdigest()[:16]
        path = self._folder / key / f"{checkpoint.stem}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / f"{key}.lock"):
            if not path.exists():
                export_file(checkpoint, path, options)
        return path


def open_graph(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A plain session on the CPU with one thread, for a file or its content."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
