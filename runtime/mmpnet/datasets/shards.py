"""Images in tar files (shards): where the bytes of an image are, and how shards are written.

A shard is a plain tar file, so that other programs read it too. The labels, and the place of each image, are in a COCO
JSON beside the shards: an image is read alone and in any order, as if it were a file.
"""

import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DatasetError
from mmpnet.system.addresses import is_address, read_range
from mmpnet.system.files import require_regular

SHARD_BYTES = 1 << 28
"""A shard is closed when it has this size: few enough files for a bucket, small enough to copy one again."""


@dataclass(frozen=True, slots=True)
class ShardPart:
    """The bytes of one image: path or address of the shard, the first byte, their number and their CRC-32."""

    shard: str
    offset: int
    size: int
    crc32: int

    def read(self, name: str) -> bytes:
        """The bytes; name: of the image, for messages.

        Raises: DatasetError if the shard is missing, cut short, or has other bytes there.
        """
        end = self.offset + self.size
        if is_address(self.shard):
            content = read_range(self.shard, self.offset, end, error=DatasetError)
        else:
            content = self._read_file()
        if len(content) < self.size:
            raise DatasetError(f"{self.shard}: is cut short: the image {name} ends at byte {end}; copy the shard again")
        if zlib.crc32(content) != self.crc32:
            raise DatasetError(
                f"{self.shard}: is damaged, or belongs to other labels: the bytes of the image {name} have changed; "
                "copy the shard and its labels again"
            )
        return content

    def absolute(self) -> "ShardPart":
        """The same place with the whole path of the shard."""
        return self if is_address(self.shard) else replace(self, shard=os.path.abspath(self.shard))  # noqa: PTH100

    def _read_file(self) -> bytes:
        try:
            require_regular(Path(self.shard))
            with open(self.shard, "rb") as file:  # noqa: PTH123 - each image of an epoch passes here
                # A number from a damaged entry must not reserve more memory than the shard has bytes.
                left = os.fstat(file.fileno()).st_size - self.offset
                if left <= 0:
                    return b""
                file.seek(self.offset)
                return file.read(min(left, self.size))
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise DatasetError(f"{self.shard}: cannot be read ({said}); expected a shard of images") from error


def write_shards(
    images: Iterable[tuple[str, bytes]],
    open_shard: Callable[[int], AbstractContextManager[tuple[str, Any]]],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Iterator[ShardPart]:
    """Write images, by name and content, into one shard after the other, and yield the place of each.

    open_shard: gives the name and the binary file of the shard of this number. The bytes are the same each time.
    """
    waiting = iter(images)
    one = next(waiting, None)
    number = 0
    while one is not None:
        with open_shard(number) as (shard, file), tarfile.open(fileobj=file, mode="w") as archive:
            while one is not None and archive.offset < shard_bytes:
                name, content = one
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                yield ShardPart(shard, archive.offset - padded, len(content), zlib.crc32(content))
                one = next(waiting, None)
        number += 1
