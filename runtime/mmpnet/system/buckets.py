"""Objects of an S3 bucket: written as a whole or not at all, and under a condition where two programs may write."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import OutputError
from mmpnet.system.addresses import explained

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class BucketPath:
    """Address of an object, or of all objects below it, as in s3://bucket/detections. `/` adds a name."""

    address: str

    def __truediv__(self, name: str) -> "BucketPath":
        return BucketPath(f"{self.address.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.address

    @property
    def key(self) -> str:
        """Bucket and name of the object, as fsspec has them."""
        return self.address.removeprefix(SCHEME)

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.address.rstrip("/").rpartition("/")[2]


def read_object(path: BucketPath) -> bytes | None:
    """The bytes of an object; None if there is none. Raises: OutputError, MissingExtraError."""
    with explained(str(path), "read", OutputError):
        try:
            content: bytes = file_system().cat_file(path.key)
        except FileNotFoundError:
            return None
        return content


def open_object(path: BucketPath) -> Any:
    """A binary file that reads the parts of the object that it is asked for. Raises: OSError."""
    return file_system().open(path.key, "rb")


def download(path: BucketPath, local: Path) -> None:
    """Copy an object to a file. Raises: OutputError, MissingExtraError; OSError if the disk is full."""
    with explained(str(path), "read", OutputError), open_object(path) as remote, local.open("wb") as file:
        shutil.copyfileobj(remote, file, 1 << 20)


def upload(local: Path, path: BucketPath) -> None:
    """Copy a file to an object, which others see when it is complete. Raises: OutputError, MissingExtraError."""
    with explained(str(path), "written", OutputError):
        file_system().put_file(str(local), path.key)


def write_object(path: BucketPath, content: bytes) -> None:
    """Raises: OutputError, MissingExtraError."""
    with explained(str(path), "written", OutputError):
        file_system().pipe_file(path.key, content)


def write_if(path: BucketPath, content: bytes, *, version: str | None) -> str | None:
    """Write an object only if its version is the given one, or, with None, only if there is none yet.

    Returns its new version; None if the condition was not met.

    Raises: OutputError, MissingExtraError.
    """
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
    bucket, _, key = path.key.partition("/")
    with explained(str(path), "written", OutputError):
        try:
            written = file_system().call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except OSError as error:
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                return None
            if version is not None and _code(error) in ("NoSuchKey", "404"):
                return None
            raise
        return str(written["ETag"])


def version_of(path: BucketPath) -> str | None:
    """What changes whenever an object is written; None if there is no object. Raises: OutputError."""
    with explained(str(path), "read", OutputError):
        try:
            return str(file_system().info(path.key)["ETag"])
        except FileNotFoundError:
            return None


def objects_below(path: BucketPath, beginning: str = "") -> list[BucketPath]:
    """All objects whose names go on with a slash and `beginning` after this one, in order of name.

    Raises: OutputError, MissingExtraError.
    """
    with explained(str(path), "listed", OutputError):
        try:
            return [BucketPath(SCHEME + key) for key in sorted(file_system().find(path.key + "/", prefix=beginning))]
        except FileNotFoundError:
            return []


def remove_object(path: BucketPath) -> None:
    """Remove an object, which may be gone already. Raises: OutputError, MissingExtraError."""
    with explained(str(path), "removed", OutputError):
        file_system().rm_file(path.key)


def file_system() -> Any:
    """The file system of fsspec; it takes keys and addresses of servers from the environment.

    Its lists of objects are not kept, as other machines write to the same bucket.

    Raises: ImportError if s3fs is missing.
    """
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


def _code(error: OSError) -> str:
    """S3's name of an error, which s3fs keeps as the cause."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
