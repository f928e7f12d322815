"""Questions about paths that a user typed, and files that appear whole or not at all."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmpnet.contract.errors import OutputError


def is_file(path: Path) -> bool:
    """Whether a file is there; False, where Path.is_file raises, for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False for names that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def partial_path(path: Path) -> Path:
    """Where a file is written before it takes its name; the suffix stays, for writers that go by it."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def check_output(path: Path, suffixes: Collection[str]) -> None:
    """Find out before the work whether its result has a place.

    Raises: OutputError if the suffix is another or the folder is missing.
    """
    if path.suffix.lower() not in suffixes:
        raise OutputError(f"{path}: ends in {path.suffix or 'nothing'}; expected {' '.join(sorted(suffixes))}")
    if not is_folder(path.parent):
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")


def check_folder(folder: Path, *, option: str) -> None:
    """Folders that are not there yet are made later, so the nearest that is there counts.

    Raises: OutputError if it is no folder, or nothing can be written into it.
    """
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not is_folder(nearest):
        raise OutputError(f"{option}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{option}: nothing can be written into {nearest}; choose another folder")


def remove(path: Path) -> None:
    """Remove a file if it is there; what cannot be removed is left."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path this gives; it takes its name when the block ends well, and is removed when it does not.

    Raises: OutputError if the file cannot be written.
    """
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free space, or choose another"
        ) from error
    finally:
        remove(partial)
