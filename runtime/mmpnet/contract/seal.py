"""A SHA-256 stored in the ONNX file itself, so that a flipped bit in graph, weights or metadata is detected.

The hash is an additional entry of the model's properties. It covers the bytes of all other fields of the file.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mmpnet.contract.errors import ContractError

SEAL_KEY = "mmpnet_sha256"
_PROPERTIES_TAG = 14 << 3 | 2
"""Protobuf tag of `metadata_props` in onnx.proto's ModelProto: field 14, a message."""
_KEY_FIELD = b"\x0a" + bytes([len(SEAL_KEY)]) + SEAL_KEY.encode()


def seal(model: bytes) -> bytes:
    """Returns a serialized ONNX model with the seal appended; the model must not have one yet."""
    value = hashlib.sha256(model).hexdigest().encode()
    entry = _KEY_FIELD + b"\x12" + bytes([len(value)]) + value
    return model + bytes([_PROPERTIES_TAG, len(entry)]) + entry


def check_seal(path: Path) -> None:
    """Compare a file with the hash that it states; a file without a hash, or one that cannot be read, passes.

    Raises: ContractError if the hashes differ.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return  # opening the file gives the error
    if SEAL_KEY.encode() in content and not _is_whole(content):
        raise ContractError(
            f"{path}: the file is damaged or was changed after its export, as its SHA-256 differs from the one that "
            "it states; copy it again, or export it again with mmp-export"
        )


def _is_whole(content: bytes) -> bool:
    hashed, stated = hashlib.sha256(), []
    try:
        for begin, body, end in _fields(content):
            if content[begin] == _PROPERTIES_TAG and content[body:end].startswith(_KEY_FIELD):
                stated.append(content[body + len(_KEY_FIELD) + 2 : end])
            else:
                hashed.update(content[begin:end])
    except (IndexError, ValueError):
        return False
    return stated == [hashed.hexdigest().encode()]


def _fields(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Positions of each top-level field: begin of the field, begin of its body, end.

    Raises: IndexError or ValueError if the bytes are not a protobuf message.
    """
    position = 0
    while position < len(content):
        begin = position
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == 0:
            body, (_, position) = position, _varint(content, position)
        elif kind == 2:
            length, position = _varint(content, position)
            body, position = position, position + length
        elif kind in (1, 5):
            body, position = position, position + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if position > len(content):
            raise ValueError("cut short")
        yield begin, body, position


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")
