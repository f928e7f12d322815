"""An image file is read completely or refused, and replaced completely or kept."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import DatasetError, OutputError, SourceError
from mmpnet.media.image_header import stated_size
from mmpnet.media.images import IMAGE_SUFFIXES, is_truncated, read_image, write_image
from support.frames import make_noise

ENCODINGS: dict[str, list[int]] = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
}


def app1(payload: bytes) -> bytes:
    """A JPEG segment, as used for EXIF."""
    return b"\xff\xe1" + struct.pack(">H", 2 + len(payload)) + payload


def jpeg_with_thumbnail(frame_bgr: UInt8Array, encoding: str) -> tuple[bytes, bytes]:
    """A JPEG, and the same with a complete small JPEG, including its end marker, in an APP1 segment."""
    plain = cv2.imencode(".jpg", frame_bgr, ENCODINGS[encoding])[1].tobytes()
    thumbnail = cv2.imencode(".jpg", cv2.resize(frame_bgr, (8, 8)))[1].tobytes()
    assert thumbnail.endswith(b"\xff\xd9")
    return plain, plain[:2] + app1(b"Exif\0\0" + thumbnail + b"\xff\xd9") + plain[2:]


def decoded(content: bytes) -> UInt8Array:
    """OpenCV's result for a file's bytes."""
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_jpeg_cut_anywhere_is_refused(tmp_path: Path, encoding: str) -> None:
    _, content = jpeg_with_thumbnail(make_noise(0, (40, 56)), encoding)
    whole = [cut for cut in range(3, len(content)) if not is_truncated(content[:cut])]
    assert whole == []
    path = tmp_path / "cut.jpg"
    for cut in (0, 1, 2, 3, 30, *range(100, len(content), 400), len(content) - 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(SourceError, match=r"cut short|not an image") as caught:
            read_image(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("tail", [b"", b"\xff", bytes(64), b"\xff\xd8\xff\xe0 a second image, cut", b"plain text"])
def test_a_complete_jpeg_is_read_whatever_follows_it(tmp_path: Path, encoding: str, tail: bytes) -> None:
    plain, content = jpeg_with_thumbnail(make_noise(1, (40, 56)), encoding)
    path = tmp_path / "whole.jpg"
    path.write_bytes(content + tail)
    np.testing.assert_array_equal(read_image(path), decoded(plain))


def test_an_image_is_turned_upright_as_its_exif_says(tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", make_noise(2, (40, 56)))[1].tobytes()
    quarter_turn = struct.pack("<2sHIHHHIIHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    path = tmp_path / "turned.jpg"
    path.write_bytes(plain[:2] + app1(b"Exif\0\0" + quarter_turn) + plain[2:])
    np.testing.assert_array_equal(read_image(path), np.rot90(decoded(plain), k=-1))


def test_a_png_is_read_or_refused_where_it_is_cut(tmp_path: Path) -> None:
    frame = make_noise(3, (40, 56))
    content = cv2.imencode(".png", frame)[1].tobytes()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path), frame)
    for cut in (8, 20, *range(40, len(content) - 12, 500), len(content) - 9):
        path.write_bytes(content[:cut])
        with pytest.raises(SourceError, match="cut short"):
            read_image(path)


def test_an_end_marker_in_a_comment_does_not_end_a_png(tmp_path: Path) -> None:
    frame = make_noise(4, (40, 56))
    content = cv2.imencode(".png", frame)[1].tobytes()
    text = b"tEXt" + b"Comment\0the last chunk is IEND"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    commented = content[:33] + chunk + content[33:]
    path = tmp_path / "a.png"
    path.write_bytes(commented)
    np.testing.assert_array_equal(read_image(path), frame)
    path.write_bytes(commented[: len(commented) // 2])
    with pytest.raises(SourceError):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"just some words", b"%PDF-1.4 \xff\xd9"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is not an image") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_the_caller_chooses_the_kind_of_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.jpg: cannot be read"):
        read_image(tmp_path / "gone.jpg", error=DatasetError)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES | {".JPG", ".Png"}))
def test_a_written_image_is_read_back(tmp_path: Path, suffix: str) -> None:
    frame = cv2.GaussianBlur(make_noise(5, (31, 45)), (9, 9), 0)
    path = tmp_path / f"out{suffix}"
    write_image(path, np.asarray(frame, np.uint8))
    back = read_image(path)
    if suffix.lower() in (".png", ".bmp", ".tif", ".tiff"):
        np.testing.assert_array_equal(back, frame)
    else:
        assert back.shape == frame.shape
        assert np.abs(back.astype(int) - frame.astype(int)).mean() < 8
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["out.gif", "out.txt", "out", "out.mp4"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.jpg.*\.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def full_disk(path: Path, content: bytes) -> int:
    """Path.write_bytes on a disk with room for half of the data."""
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(28, "No space left on device")


def refused_rename(_path: Path, _target: Path) -> Path:
    """Path.replace as if the system did not allow it."""
    raise OSError(13, "Permission denied")


@pytest.mark.parametrize(("method", "failure"), [("write_bytes", full_disk), ("replace", refused_rename)])
def test_an_existing_image_survives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, failure: Callable[..., object]
) -> None:
    path = tmp_path / "out.png"
    write_image(path, np.full((8, 8, 3), 7, np.uint8))
    monkeypatch.setattr(Path, method, failure)
    with pytest.raises(OutputError, match=r"out\.png: cannot be written"):
        write_image(path, np.full((8, 8, 3), 200, np.uint8))
    monkeypatch.undo()
    assert (read_image(path) == 7).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_an_existing_image_survives_one_that_cannot_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jpg"
    write_image(path, make_noise(6, (20, 20)))
    before = path.read_bytes()
    monkeypatch.setattr(cv2, "imencode", lambda *_: (True, np.frombuffer(before[: len(before) // 2], np.uint8)))
    with pytest.raises(OutputError, match="cut short"):
        write_image(path, make_noise(7, (20, 20)))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jpg"]


def test_an_absent_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "gone" / "out.png", np.zeros((4, 4, 3), np.uint8))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    encoded, content = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))
    assert encoded
    bomb = bytearray(content.tobytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    with pytest.raises(SourceError, match=r"bomb\.png: the image has 60000x60000 px, expected at most 128 million"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".png", ".jpg"])
@pytest.mark.parametrize("frame_hw", [(48, 64), (1, 7), (301, 2)])
def test_the_size_in_the_header_is_that_of_the_pixels(tmp_path: Path, suffix: str, frame_hw: tuple[int, int]) -> None:
    path = tmp_path / f"image{suffix}"
    for flags in ([], [cv2.IMWRITE_WEBP_QUALITY, 80]) if suffix == ".webp" else ([],):
        cv2.imwrite(str(path), make_noise(seed=0, size_hw=frame_hw), flags)
        with path.open("rb") as file:
            stated = stated_size(file)
        assert stated is not None
        assert stated[0] == read_image(path).shape[:2] == frame_hw


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".bmp", b"BM" + bytes(16) + struct.pack("<ii", 30_000, -16_000) + bytes(64)),
        (".webp", b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + b"\xff\x3f\0\xff\x3f\0" + bytes(64)),
        (".webp", b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(5) + struct.pack("<I", (1 << 28) - 1) + bytes(64)),
        (".tif", b"II*\0" + struct.pack("<IHHHIIHHII", 8, 2, 256, 4, 1, 30_000, 257, 4, 1, 16_000) + bytes(64)),
        (".tif", b"MM\0*" + struct.pack(">IHHHIHHHHIHH", 8, 2, 256, 3, 1, 30_000, 0, 257, 3, 1, 16_000, 0) + bytes(64)),
    ],
)
def test_other_formats_of_too_many_pixels_are_rejected_too(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="expected at most 128 million pixels"):
        read_image(path)
