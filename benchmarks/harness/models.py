"""Model files that a benchmark compares."""

from collections.abc import Sequence
from pathlib import Path

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.embedded import model_path


def files_by_name(models: Sequence[Path | str]) -> dict[str, Path]:
    """Model files by their names without suffix; a model is a path or an embedded model's name.

    Raises: MmpnetError if two files have the same name.
    """
    paths = {path.stem: path for path in map(model_path, models)}
    if len(paths) != len(models):
        raise MmpnetError(f"models must have different names, got {', '.join(str(model) for model in models)}")
    return paths
