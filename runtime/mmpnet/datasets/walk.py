"""List files below a folder, by one rule for all readers of images and labels."""

import os
from pathlib import Path

from mmpnet.contract.errors import DatasetError
from mmpnet.system.files import is_hidden


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and of the folders below it, in the order of their paths.

    Files and folders whose names start with a dot are left out, as tools keep their copies there. Linked folders are
    entered, each folder once, so that links in a circle end.

    Raises: DatasetError if a folder cannot be listed.
    """
    entered: set[str] = set()
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        identity = os.path.realpath(place)
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [Path(place, name) for name in names if not is_hidden(name)]
    return sorted(found)


def file_names(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones.

    Raises: DatasetError if it cannot be listed.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not is_hidden(name))  # noqa: PTH208 - twice as fast
    except OSError as error:
        raise _unlisted(folder, error) from error


def _refuse(error: OSError) -> None:
    raise _unlisted(Path(error.filename), error) from error


def _unlisted(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{folder}: cannot be listed ({error.strerror}); expected a folder")
