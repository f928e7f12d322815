"""Files behind an address, such as s3://bucket/door/video.mp4, by fsspec."""

import errno
import glob
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import MissingExtraError, MmpnetError, first_line
from mmpnet.system.files import is_hidden

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_PASSWORD = re.compile(
    r"(?:(?:s3a?|gc?s|az|abfss?)://[^@]*|[a-z][a-z0-9+.-]+://[^/@]*(?=:[^/@]*@)):[^@]*@", re.IGNORECASE
)
"""Keys of buckets may have slashes; the addresses of buckets have no ports."""
_MAGIC = re.compile(r"[*?\[]")
_SIGNED = re.compile(r"https?://[^?]*\?[^/?]*=", re.IGNORECASE)
"""With a query, which may be a signature; without `=`, a question mark stands for any character of a name."""


def is_address(text: str) -> bool:
    """Whether a text is an address, and not the path of a file."""
    return _ADDRESS.match(text) is not None


def check_no_secret(address: str, *, error: type[MmpnetError]) -> None:
    """Raises: `error` if there is a password or a signature in the address, which would be in every result; it is not
    repeated."""
    if _PASSWORD.match(address):
        protocol = address.split("://", 1)[0]
        raise error(
            f"a password is in an address of {protocol}://; leave it out, and give it in the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if _SIGNED.match(address):
        raise error(
            f"{address.partition('?')[0]}?...: what follows the question mark, such as a signature, would be in every "
            "result; fetch the file first, or use an address whose keys come from the environment, such as s3://"
        )


def list_address(pattern: str, *, error: type[MmpnetError]) -> list[tuple[str, int, int]]:
    """Address, size and a number that differs when it has changed, of each file behind a folder, file or pattern.

    Hidden files and folders below it are left out, unless the pattern names them.

    Raises: `error` if they cannot be listed, MissingExtraError if the address needs another package.
    """
    with explained(pattern, "listed", error):
        system, path = _system(pattern)
        listed = system.glob(path, detail=True) if glob.has_magic(path) else system.find(path, detail=True)
        base, names_hidden = _base_of(path)
        return [
            (system.unstrip_protocol(name), int(facts.get("size") or 0), _stamp(facts))
            for name, facts in listed.items()
            if facts.get("type", "file") == "file"
            and (names_hidden or not any(map(is_hidden, name.removeprefix(base).split("/"))))
        ]


def _base_of(path: str) -> tuple[str, bool]:
    """The folder in which a path is searched, and whether the rest of the path names hidden files."""
    magic = _MAGIC.search(path)
    if magic is None:
        return path, False
    base = path[: path.rfind("/", 0, magic.start()) + 1]
    return base, any(map(is_hidden, path.removeprefix(base).split("/")))


def fetch(address: str, path: Path, *, error: type[MmpnetError]) -> None:
    """Copy a file to a path on this machine.

    Raises: `error` if it cannot be fetched, MissingExtraError; OSError if this disk is full.
    """
    with explained(address, "fetched", error):
        system, remote = _system(address)
        system.get_file(remote, str(path))


def read_range(address: str, start: int, end: int, *, error: type[MmpnetError]) -> bytes:
    """The bytes of a file from `start` up to `end`, fewer if it is shorter. Raises: `error`, MissingExtraError."""
    with explained(address, "read", error):
        system, remote = _system(address)
        content: bytes = system.cat_file(remote, start=start, end=end)
        return content


@contextmanager
def writing(address: str, *, error: type[MmpnetError]) -> Iterator[Any]:
    """A binary file to write to, which is there as a whole when the block ends.

    Raises: `error` if it cannot be written, MissingExtraError.
    """
    with explained(address, "written", error):
        system, remote = _system(address)
        with system.open(remote, "wb") as file:
            yield file


def _system(address: str) -> tuple[Any, str]:
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    return found


@contextmanager
def explained(address: str, done: str, error: type[MmpnetError]) -> Iterator[None]:
    """Errors of a file system in this block become one line: the address cannot be `done`, and why.

    Raises: `error`, MissingExtraError if a package is missing, OSError if this disk is full.
    """
    try:
        yield
    except MmpnetError:
        raise
    except ImportError as reason:
        protocol = address.split("://", 1)[0]
        raise MissingExtraError(f"{protocol}:// needs another package: {first_line(reason)}") from reason
    except Exception as reason:
        if getattr(reason, "errno", None) == errno.ENOSPC:
            raise
        said = first_line(reason) or type(reason).__name__
        raise error(f"{address}: cannot be {done} ({said}); check address and access") from reason


def _stamp(facts: dict[str, object]) -> int:
    stated = next((facts[key] for key in ("ETag", "mtime", "LastModified", "last_modified") if facts.get(key)), 0)
    return int.from_bytes(hashlib.sha256(str(stated).encode()).digest()[:6], "big")
