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

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text is an address, and not the path of a file."""
    return _ADDRESS.match(text) is not None


def list_address(pattern: str, *, error: type[MmpnetError]) -> list[tuple[str, int, int]]:
    """Address, size and a number that differs when it has changed, of each file behind a folder, file or pattern.

    Raises: `error` if they cannot be listed, MissingExtraError if the address needs another package.
    """
    with _explained(pattern, "listed", error):
        system, path = _system(pattern)
        listed = system.glob(path, detail=True) if glob.has_magic(path) else system.find(path, detail=True)
        return [
            (system.unstrip_protocol(name), int(facts.get("size") or 0), _stamp(facts))
            for name, facts in listed.items()
            if facts.get("type", "file") == "file"
        ]


def fetch(address: str, path: Path, *, error: type[MmpnetError]) -> None:
    """Copy a file to a path on this machine.

    Raises: `error` if it cannot be fetched, MissingExtraError; OSError if this disk is full.
    """
    with _explained(address, "fetched", error):
        system, remote = _system(address)
        system.get_file(remote, str(path))


def read_range(address: str, start: int, end: int, *, error: type[MmpnetError]) -> bytes:
    """The bytes of a file from `start` up to `end`, fewer if it is shorter. Raises: `error`, MissingExtraError."""
    with _explained(address, "read", error):
        system, remote = _system(address)
        content: bytes = system.cat_file(remote, start=start, end=end)
        return content


@contextmanager
def writing(address: str, *, error: type[MmpnetError]) -> Iterator[Any]:
    """A binary file to write to, which is there as a whole when the block ends.

    Raises: `error` if it cannot be written, MissingExtraError.
    """
    with _explained(address, "written", error):
        system, remote = _system(address)
        with system.open(remote, "wb") as file:
            yield file


def _system(address: str) -> tuple[Any, str]:
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    return found


@contextmanager
def _explained(address: str, done: str, error: type[MmpnetError]) -> Iterator[None]:
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
