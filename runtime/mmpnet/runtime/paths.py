"""Questions about paths that a user typed."""

import os
from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether a file is there; False, where Path.is_file raises, for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False for names that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112
