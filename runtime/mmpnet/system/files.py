"""Checks of paths that a user typed, and atomic writing of files."""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmpnet.contract.errors import OutputError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
HASH_BLOCK_BYTES = 1 << 20
LONGEST_BEGINNING = 180
"""Largest part in bytes of the original name in a temporary name; file systems allow 255 bytes."""


def is_file(path: Path) -> bool:
    """Whether a file exists; returns False for invalid names, for which Path.is_file raises."""
    return os.path.isfile(path)  # noqa: PTH113


def require_regular(path: Path) -> None:
    """Raises: OSError if the path is missing, or is a device, a pipe or a socket, whose bytes may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket", str(path))


def is_folder(path: Path) -> bool:
    """Whether a folder exists; returns False for invalid names."""
    return os.path.isdir(path)  # noqa: PTH112


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden; programs keep unfinished files and copies of their own under such names."""
    return name.startswith(".")


def temporary_file(path: Path, *, marked: bool = False) -> Path:
    """Make an empty file beside `path` with an unpredictable name and the same suffix, which some writers require.

    marked: the name begins with the name of `path`, so that a user finds the file if the program is killed. An existing
    file or link is never opened.

    Raises: OSError if the file cannot be made.
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
    """Shorten a name to at most `most_bytes` bytes, in whole characters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


def check_output(path: Path, suffixes: Collection[str]) -> None:
    """Check the path of an output before the work starts.

    Raises: OutputError if the suffix is not one of `suffixes` or the folder is missing.
    """
    if path.suffix.lower() not in suffixes:
        raise OutputError(f"{path}: ends in {path.suffix or 'no suffix'}; expected {' '.join(sorted(suffixes))}")
    if not is_folder(path.parent):
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")


def check_folder(folder: Path, *, option: str) -> None:
    """Check a folder that may be made later; the check uses its nearest existing parent.

    Raises: OutputError if that is not a folder, or is not writable.
    """
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not is_folder(nearest):
        raise OutputError(f"{option}: {nearest} is not a folder; choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{option}: the folder {nearest} is not writable; choose another folder")


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, as hex. Raises: OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remove(path: Path) -> None:
    """Remove a file if it exists; errors are ignored."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path, *, parents: bool = False, unfinished: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to `path` if the block succeeds, and removed if it fails.

    parents: make missing folders. unfinished: the folder of the temporary file, on the same disk; it is made if it is
    missing. By default the file is beside `path`, where it stays if the program is killed.

    Raises: OutputError if the file cannot be written.
    """
    partial: Path | None = None
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        if unfinished is not None:
            unfinished.mkdir(parents=True, exist_ok=True)
        partial = temporary_file(path if unfinished is None else unfinished / path.name)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); {what_to_do(error)}") from error
    finally:
        if partial is not None:
            remove(partial)


def what_to_do(error: OSError) -> str:
    """Advice for an error of writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space, or choose another place"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno == errno.ENOENT:
        return "its folder does not exist; make it first"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "its folder is a file; choose another folder"
    return "choose another place"
