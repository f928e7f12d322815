"""A SHA-256 of an ONNX file in the file itself, so that a flipped bit in graph, weights or metadata is noticed.

The hash is one more entry of the model's properties. It covers every other field of the file, as its bytes are.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mmpnet.contract.errors import ContractError

SEAL_KEY = "mmpnet_sha256"
_PROPERTIES_TAG = 14 << 3 | 2
"""Of `metadata_props` in onnx.proto's ModelProto: field 14, a message."""
_KEY_FIELD = b"\x0a" + bytes([len(SEAL_KEY)]) + SEAL_KEY.encode()


def seal(model: bytes) -> bytes:
    """A serialized ONNX model without a seal -> the same with one."""
    value = hashlib.sha256(model).hexdigest().encode()
    entry = _KEY_FIELD + b"\x12" + bytes([len(value)]) + value
    return model + bytes([_PROPERTIES_TAG, len(entry)]) + entry


def check_seal(path: Path) -> None:
    """Compare a file with the hash that it states; one without is taken as it is, as one that cannot be read.

    Raises: ContractError where they differ.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return  # whoever opens it says what is wrong
    if SEAL_KEY.encode() in content and not _is_whole(content):
        raise ContractError(
            f"{path}: is damaged, or was changed after its export: its SHA-256 is not the one that it states; copy it "
            "again, or export it again with mmp-export"
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
    """Where each top-level field begins, where its body begins, and where it ends.

    Raises: IndexError or ValueError where the bytes are no protobuf message.
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
