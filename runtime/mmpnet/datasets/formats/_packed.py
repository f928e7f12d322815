"""The place of an image in a shard, as the COCO JSON of packed images states it."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mmpnet.datasets.formats._folders import converted
from mmpnet.datasets.shards import ShardPart
from mmpnet.system.addresses import is_address

_LARGEST_FILE = 2**62


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    offset: Annotated[int, Meta(ge=0, le=_LARGEST_FILE)]
    size: Annotated[int, Meta(ge=1, le=_LARGEST_FILE)]
    crc32: Annotated[int, Meta(ge=0, lt=2**32)]


def shard_part(stated: dict[str, Any], shards: Any, *, json_path: Path, where: str) -> ShardPart:
    """The place of an image; `shards` is where the JSON says that its shards are, by default its own folder.

    Raises: DatasetError, beginning with `where`, if the entry is malformed.
    """
    place = converted(stated, _Place, where=f"{where}: shard", expected="pack the images again")
    folder = shards if isinstance(shards, str) else ""
    if is_address(place.path):
        shard = place.path
    elif is_address(folder):
        shard = f"{folder.rstrip('/')}/{place.path}"
    else:
        shard = os.fspath(json_path.parent / folder / place.path)
    return ShardPart(shard, place.offset, place.size, place.crc32)
