"""The model files that a search compares: as they are, or made from a checkpoint at several sizes and precisions.

Making them is mmp-export's work, which needs torch: it runs as a process of its own, so that searching among files that
were made elsewhere does not.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from mmpnet.bench.search.report import LeftOut
from mmpnet.contract.errors import ContractError, ExportError, MissingExtraError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.system.files import is_file

Exported: TypeAlias = Literal["fp32", "int8"]
SHARES = (0.9, 0.8, 0.7, 0.6)
"""Of the size of training: what is tried where no size is given."""
SIDE_STEP_PX = 32
"""The network's coarsest stride."""
_EXPORTER = "from mmpnet.export.entry import export; export()"


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to make of a checkpoint: sizes_hw empty is the size of training and SHARES of it; calib for int8."""

    sizes_hw: tuple[tuple[int, int], ...]
    precisions: tuple[Exported, ...]
    calib: tuple[Path, ...]
    folder: Path


def collect(models: Sequence[str], wanted: ExportPlan, tell: Callable[[str], None]) -> tuple[list[Path], list[LeftOut]]:
    """Every file to compare, and those that could not be made; `tell` hears what is being made.

    Raises: ContractError for what is neither model nor checkpoint, or where nothing is left; ExportError where a
    checkpoint cannot be exported at the size of training; MissingExtraError for a checkpoint without torch.
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
        else:
            made, failed = _make(path, wanted, tell)
            paths += made
            left_out += failed
    if not paths:
        raise ContractError("nothing to compare: " + "; ".join(f"{one.what}: {one.why}" for one in left_out))
    return paths, left_out


def _make(checkpoint: Path, wanted: ExportPlan, tell: Callable[[str], None]) -> tuple[list[Path], list[LeftOut]]:
    require_exporter(checkpoint)
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    sizes_hw: Sequence[tuple[int, int]] = wanted.sizes_hw
    if not sizes_hw:
        first = wanted.folder / f"{checkpoint.stem}.onnx"
        if _metadata_of(first, sha256) is None:
            tell(f"exporting {first.name}")
            _export(checkpoint, first)
        metadata = _metadata_of(first, sha256)
        if metadata is None:
            raise ExportError(f"{first}: is not what mmp-export made of {checkpoint}; remove it")
        sizes_hw = derived_sizes(metadata.input.size_hw)
    made: list[Path] = []
    left_out: list[LeftOut] = []
    for size_hw in sizes_hw:
        for precision in wanted.precisions:
            out = wanted.folder / file_name(checkpoint.stem, size_hw, precision)
            why = _file_of(checkpoint, sha256, out, size_hw, precision, wanted.calib, tell)
            if why is None:
                made.append(out)
            else:
                left_out.append(LeftOut(what=out.name, why=why))
    return made, left_out


def _file_of(
    checkpoint: Path,
    sha256: str,
    out: Path,
    size_hw: tuple[int, int],
    precision: Exported,
    calib: Sequence[Path],
    tell: Callable[[str], None],
) -> str | None:
    """Make one file unless an earlier search has; why it is not to be had, None if it is."""
    if _metadata_of(out, sha256) is None:
        tell(f"exporting {out.name}")
        quantised = [f"--calib={path}" for path in calib] if precision == "int8" else []
        flags = [f"--imgsz={size_hw[0]}x{size_hw[1]}", *(["--int8", *quantised] if precision == "int8" else [])]
        try:
            _export(checkpoint, out, *flags)
        except ExportError as error:
            if _metadata_of(out, sha256) is None:
                return str(error)
    metadata = _metadata_of(out, sha256)
    if metadata is None:
        return f"is not what mmp-export made of {checkpoint.name}; remove it"
    if precision == "int8" and metadata.precision != "int8":
        return "int8 is not worth it: " + ("" if metadata.quantization is None else metadata.quantization.verdict)
    return None


def derived_sizes(trained_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """The size of training and SHARES of it, in steps of SIDE_STEP_PX, each once, largest first."""
    height, width = (
        [max(SIDE_STEP_PX, round(side * share / SIDE_STEP_PX) * SIDE_STEP_PX) for share in SHARES]
        for side in trained_hw
    )
    return list(dict.fromkeys([trained_hw, *zip(height, width, strict=True)]))


def file_name(stem: str, size_hw: tuple[int, int], precision: Exported) -> str:
    """`best`, (320, 320), int8 -> `best-320-int8.onnx`."""
    height, width = size_hw
    size = str(height) if height == width else f"{height}x{width}"
    return f"{stem}-{size}{'-int8' if precision == 'int8' else ''}.onnx"


def require_exporter(checkpoint: Path) -> None:
    """Raises: MissingExtraError where mmp-export cannot run."""
    for package in ("torch", "torchvision", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"{checkpoint}: a checkpoint needs {package}: pip install 'mmpnet[train]'; or export it elsewhere and "
                "search among the .onnx files"
            )


def _metadata_of(path: Path, checkpoint_sha256: str) -> ModelMetadata | None:
    """What a file says of itself; None where it is missing or of another checkpoint."""
    if not is_file(path):
        return None
    try:
        metadata = read_model_file(path).metadata
    except ContractError:
        return None
    return metadata if metadata is not None and metadata.checkpoint_sha256 == checkpoint_sha256 else None


def _export(checkpoint: Path, out: Path, *flags: str) -> None:
    """Run mmp-export. Raises: ExportError with its words where it fails."""
    command = [sys.executable, "-c", _EXPORTER, str(checkpoint), "-o", str(out), *flags]
    done = subprocess.run(
        command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = next((line for line in reversed(said) if line.startswith("error: ")), said[-1] if said else "")
        raise ExportError(last.removeprefix("error: ") or f"mmp-export ended with exit code {done.returncode}")
