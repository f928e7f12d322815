"""Checks of paths that a user typed, and files that are written completely or not at all."""

import errno
import hashlib
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmpnet.contract.errors import OutputError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
LONGEST_BEGINNING = 180
"""Bytes of a name that a temporary name begins with: names have 255 at most."""


def is_file(path: Path) -> bool:
    """Whether a file is there; False, where Path.is_file raises, for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False for names that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def temporary_file(path: Path, *, marked: bool = False) -> Path:
    """Make an empty file beside `path` whose name nobody can guess, with its suffix, for writers that go by it.

    marked: the name begins like that of `path`, for what is of use where the program is killed. A file or a link that
    stands there is never opened.

    Raises: OSError as it comes.
    """
    while True:
        token = secrets.token_hex(8)
        name = f"{beginning(path.stem, LONGEST_BEGINNING)}.partial-{token}" if marked else f".mmpnet-{token}"
        partial = path.with_name(f"{name}{path.suffix}")
        try:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666))
        except FileExistsError:
            continue
        return partial


def beginning(name: str, most_bytes: int) -> str:
    """The beginning of a name that is too long, in whole characters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


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


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, as hex. Raises: OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file if it is there; what cannot be removed is left."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path, *, parents: bool = False) -> Iterator[Path]:
    """Write to the path this gives; it takes its name when the block ends well, and is removed when it does not.

    parents: make the folders that are missing.

    Raises: OutputError if the file cannot be written.
    """
    partial: Path | None = None
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        partial = temporary_file(path)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); {what_to_do(error)}") from error
    finally:
        if partial is not None:
            remove(partial)


def what_to_do(error: OSError) -> str:
    """The advice that belongs to an error of writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space, or choose another"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno == errno.ENOENT:
        return "its folder is not there; make it first"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "its folder is a file; choose another"
    return "choose another"
