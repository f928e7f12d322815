"""The model files that a search compares: given files, and exports of a checkpoint at several sizes and precisions.

mmp-export needs torch, so it runs as a separate process: a search among existing files does not need torch.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpnet.bench.search.choices import Exported
from mmpnet.bench.search.report import LeftOut
from mmpnet.contract.errors import ContractError, ExportError, MissingExtraError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.system.files import file_sha256, is_file
from mmpnet.system.progress import Notice

SHARES = (0.9, 0.8, 0.7, 0.6)
"""Fractions of the training size to try if no size is given."""
SIDE_STEP_PX = 32
"""The network's coarsest stride."""
_EXPORTER = "from mmpnet.export.entry import export; export()"


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """How to export a checkpoint; without sizes_hw at the training size and SHARES of it. calib: images for int8."""

    sizes_hw: tuple[tuple[int, int], ...]
    precisions: tuple[Exported, ...]
    calib: tuple[Path, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class CheckpointExports:
    """The exported files of one checkpoint; a file of an earlier search is reused."""

    checkpoint: Path
    sha256: str
    plan: ExportPlan
    notice: Notice

    def make_all(self) -> tuple[list[Path], list[LeftOut]]:
        """Make every size in every precision; returns the files, and those that could not be made.

        Raises: ExportError if the checkpoint cannot be exported at the training size.
        """
        made: list[Path] = []
        left_out: list[LeftOut] = []
        for size_hw in self.plan.sizes_hw or derived_sizes(self._training_size()):
            for precision in self.plan.precisions:
                out = self.plan.folder / file_name(self.checkpoint.stem, size_hw, precision)
                why = self._make(out, size_hw, precision)
                if why is None:
                    made.append(out)
                else:
                    left_out.append(LeftOut(what=out.name, why=why))
        return made, left_out

    def _training_size(self) -> tuple[int, int]:
        """The training input's (height, width), read from a file exported at that size."""
        first = self.plan.folder / f"{self.checkpoint.stem}.onnx"
        if self._metadata_of(first) is None:
            self.notice(f"exporting {first.name}")
            _export(self.checkpoint, first)
        metadata = self._metadata_of(first)
        if metadata is None:
            raise ExportError(f"{first}: was not exported from {self.checkpoint}; remove it, so that it is made again")
        return metadata.input.size_hw

    def _make(self, out: Path, size_hw: tuple[int, int], precision: Exported) -> str | None:
        """Make one file unless it exists; returns the reason if it cannot be used, else None."""
        if self._metadata_of(out) is None:
            self.notice(f"exporting {out.name}")
            int8_flags = ["--int8", *(f"--calib={path}" for path in self.plan.calib)] if precision == "int8" else []
            try:
                _export(self.checkpoint, out, f"--imgsz={size_hw[0]}x{size_hw[1]}", *int8_flags)
            except ExportError as error:
                if self._metadata_of(out) is None:
                    return str(error)
        metadata = self._metadata_of(out)
        if metadata is None:
            return f"was not exported from {self.checkpoint.name}; remove it, so that it is made again"
        if precision == "int8" and metadata.precision != "int8":
            return "int8 has no advantage: " + ("" if metadata.quantization is None else metadata.quantization.verdict)
        return None

    def _metadata_of(self, path: Path) -> ModelMetadata | None:
        """The metadata of a file; None if it is missing or was exported from another checkpoint."""
        if not is_file(path):
            return None
        try:
            metadata = read_model_file(path).metadata
        except ContractError:
            return None
        return metadata if metadata is not None and metadata.checkpoint_sha256 == self.sha256 else None


def collect(models: Sequence[str], plan: ExportPlan, notice: Notice) -> tuple[list[Path], list[LeftOut]]:
    """All files to compare, and those that could not be made; `notice` receives the name of each file being made.

    Raises: ContractError for a path that is neither model nor checkpoint, or if no file is left to compare;
    ExportError if a checkpoint cannot be exported at the training size; MissingExtraError for a checkpoint without
    torch.
    """
    paths: list[Path] = []
    left_out: list[LeftOut] = []
    for model in models:
        path = model_path(model)
        if path.suffix.lower() not in (".onnx", ".pth"):
            raise ContractError(f"{path}: expected a checkpoint .pth, an exported .onnx or an embedded model's name")
        if not is_file(path):
            raise ContractError(f"{path}: no such file; expected last.pth or best.pth from mmp-train, or an .onnx")
        if path.suffix.lower() == ".onnx":
            paths.append(path)
            continue
        require_exporter(path)
        sha256 = file_sha256(path)
        made, failed = CheckpointExports(path, sha256, plan, notice).make_all()
        paths += made
        left_out += failed
    if not paths:
        raise ContractError("no file is left to compare: " + "; ".join(f"{one.what}: {one.why}" for one in left_out))
    return paths, left_out


def derived_sizes(trained_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """The training size and SHARES of it, in steps of SIDE_STEP_PX, without repeats, largest first."""
    height, width = (
        [max(SIDE_STEP_PX, round(side * share / SIDE_STEP_PX) * SIDE_STEP_PX) for share in SHARES]
        for side in trained_hw
    )
    return list(dict.fromkeys([trained_hw, *zip(height, width, strict=True)]))


def file_name(stem: str, size_hw: tuple[int, int], precision: Exported) -> str:
    """Name of an exported file: `best`, (320, 320), int8 -> `best-320-int8.onnx`."""
    height, width = size_hw
    size = str(height) if height == width else f"{height}x{width}"
    return f"{stem}-{size}{'-int8' if precision == 'int8' else ''}.onnx"


def require_exporter(checkpoint: Path) -> None:
    """Raises: MissingExtraError if mmp-export cannot run."""
    for package in ("torch", "torchvision", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"{checkpoint}: a checkpoint needs {package}: pip install 'mmpnet[train]'; or export it elsewhere and "
                "search among the .onnx files"
            )


def _export(checkpoint: Path, out: Path, *flags: str) -> None:
    """Run mmp-export. Raises: ExportError with its message if it fails."""
    command = [sys.executable, "-c", _EXPORTER, str(checkpoint), "-o", str(out), *flags]
    done = subprocess.run(
        command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        last = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
        raise ExportError(last.removeprefix("error: ") or f"mmp-export ended with exit code {done.returncode}")
