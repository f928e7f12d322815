"""The place of the results: a folder, or the objects of an S3 bucket below one name.

A file takes its final name when it is complete: in a folder it is renamed, in a bucket it is put.
"""

import errno
import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mmpnet.contract.errors import MmpnetError, OutputError
from mmpnet.system.addresses import check_no_secret, is_address
from mmpnet.system.bucket_claims import BucketClaim
from mmpnet.system.buckets import (
    SCHEME,
    BucketPath,
    download,
    objects_below,
    open_object,
    read_object,
    remove_object,
    upload,
    version_of,
    write_object,
)
from mmpnet.system.claims import Claim
from mmpnet.system.files import atomic_write, check_folder, is_file, remove
from mmpnet.system.progress import Notice

Place: TypeAlias = Path | BucketPath
PlaceClaim: TypeAlias = Claim | BucketClaim
_P = TypeVar("_P", bound=Place)


def place_of(text: str) -> Place:
    """The folder or address that a user typed. Raises: OutputError for an address that is not s3://bucket/..."""
    if not is_address(text):
        return Path(text)
    check_no_secret(text, error=OutputError)
    bucket = text[len(SCHEME) :].partition("/")[0]
    if not text.lower().startswith(SCHEME) or not bucket:
        raise OutputError(f"{text}: results go to a folder, or to s3://BUCKET/NAME; choose one of them")
    return BucketPath(SCHEME + text[len(SCHEME) :].rstrip("/"))


def absolute(place: Place) -> Place:
    """The same place, whatever folder the program is in."""
    return place.absolute() if isinstance(place, Path) else place


def prepare_place(place: Place, *, option: str) -> None:
    """Check a folder and make it; a bucket must be there already. Raises: OutputError if it cannot be made."""
    if isinstance(place, BucketPath):
        return
    check_folder(place, option=option)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place}: cannot be made ({error.strerror or error}); choose another folder") from error


def claimed(place: Place, notify: Notice) -> PlaceClaim:
    """Claim a file or object for this run. Raises: OutputError if another run holds it."""
    return Claim(place) if isinstance(place, Path) else BucketClaim(place, notify=notify)


@contextmanager
def writing(place: Place, *, unfinished: Place | None = None) -> Iterator[Path]:
    """A local file to write to, which is put into place if the block succeeds.

    unfinished: the folder in which the file is until then, if `place` is a file.

    Raises: OutputError if it cannot be written, or the disk for temporary files is full.
    """
    if isinstance(place, Path):
        folder = unfinished if isinstance(unfinished, Path) else None
        with atomic_write(place, parents=True, unfinished=folder) as partial:
            yield partial
        return
    with _temporary(place) as local:
        yield local
        upload(local, place)


@contextmanager
def reading(place: Place) -> Iterator[Path]:
    """The file, or a local copy of the object until the end of the block. Raises: OutputError."""
    if isinstance(place, Path):
        yield place
        return
    with _temporary(place) as local:
        download(place, local)
        yield local


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """A binary file to read parts of. Raises: OSError."""
    with place.open("rb") if isinstance(place, Path) else open_object(place) as file:
        yield file


def read_bytes(place: Place) -> bytes | None:
    """The content; None if there is no such file. Raises: OSError, OutputError."""
    if isinstance(place, BucketPath):
        return read_object(place)
    return place.read_bytes() if is_file(place) else None


def exists(place: Place) -> bool:
    """Whether there is such a file. Raises: OutputError if a bucket cannot be asked."""
    return is_file(place) if isinstance(place, Path) else version_of(place) is not None


def touch(place: Place) -> None:
    """Make an empty file. Raises: OSError, OutputError."""
    if isinstance(place, BucketPath):
        write_object(place, b"")
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def files_in(place: _P, beginning: str = "") -> list[_P]:
    """Files in a folder and its subfolders whose first name begins with `beginning`, in order of name.

    Raises: OutputError if a bucket cannot be listed.
    """
    found: Any
    if isinstance(place, BucketPath):
        found = objects_below(place, beginning)
    else:
        first = place.glob(f"{glob.escape(beginning)}*")
        found = sorted(path for one in first for path in (one, *one.rglob("*")) if is_file(path))
    return list(found)


def discard(place: Place) -> None:
    """Remove a file that may exist; errors are ignored."""
    if isinstance(place, Path):
        remove(place)
        return
    with suppress(MmpnetError):
        remove_object(place)


def discard_all(place: Place) -> None:
    """Remove a folder with its files, or all objects below a name; errors are ignored."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
        return
    with suppress(MmpnetError):
        for one in objects_below(place):
            remove_object(one)


@contextmanager
def _temporary(place: BucketPath) -> Iterator[Path]:
    """A file of the same name in a temporary folder."""
    try:
        with tempfile.TemporaryDirectory(prefix="mmpnet-") as folder:
            yield Path(folder) / place.name
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            f"{tempfile.gettempdir()}: has no space for temporary files; free space or set TMPDIR, then use --resume"
        ) from error
