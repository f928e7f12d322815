"""The size in an image's header is the size that OpenCV decodes, including EXIF rotation."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import DatasetError
from mmpnet.media import image_size as image_size
from mmpnet.media.image_size import image_size_hw, is_turned
from mmpnet.media.images import read_image


def encoded(suffix: str, *, size_hw: tuple[int, int] = (23, 57), flags: tuple[int, ...] = ()) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    content: bytes = cv2.imencode(suffix, pixels, list(flags))[1].tobytes()
    return content


def with_segment(jpeg: bytes, marker: int, body: bytes, *, fill: int = 0) -> bytes:
    segment = b"\xff" * fill + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    return jpeg[:2] + segment + jpeg[2:]


def exif(orientation: int, order: str) -> bytes:
    """The smallest EXIF block that states an orientation."""
    start = b"MM\0\x2a" if order == "big" else b"II\x2a\0"
    entry = ((0x0112, 2), (3, 2), (1, 4), (orientation, 2), (0, 2))
    fields = ((8, 4), (1, 2), *entry, (0, 4))
    return b"Exif\0\0" + start + b"".join(value.to_bytes(size, order) for value, size in fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("size_hw", [(23, 57), (1, 1), (300, 2)])
def test_the_size_is_that_of_the_decoded_image(tmp_path: Path, suffix: str, size_hw: tuple[int, int]) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, size_hw=size_hw))
    assert image_size_hw(path) == read_image(path).shape[:2] == size_hw


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_jpegs_have_the_size_of_the_upright_image(tmp_path: Path, orientation: int, order: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segment(encoded(".jpg"), 0xE1, exif(orientation, order)))
    assert image_size_hw(path) == read_image(path).shape[:2]
    assert (image_size_hw(path) == (57, 23)) == (orientation > 4), "the test must turn some of them"


def test_damaged_exif_has_the_size_that_opencv_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    two_values = exif(6, "little").replace((1).to_bytes(4, "little") + (6).to_bytes(2, "little"), b"\2\0\0\0\6\0")
    path.write_bytes(with_segment(encoded(".jpg"), 0xE1, two_values))
    assert image_size_hw(path) == read_image(path).shape[:2]
    content = encoded(".jpg")
    scan = content.index(b"\xff\xda")
    body = exif(6, "big")
    late = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    path.write_bytes(content[:scan] + late + content[scan:])
    assert image_size_hw(path) == read_image(path).shape[:2]
    assert is_turned(path.read_bytes())
    path.write_bytes(content)
    assert not is_turned(path.read_bytes())


def test_progressive_jpegs_fill_bytes_and_other_segments_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = encoded(".jpg", flags=(cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    path.write_bytes(with_segment(with_segment(content, 0xFE, b"\xff\xc0\0\x11\x08" * 9), 0xE2, b"", fill=3))
    assert image_size_hw(path) == read_image(path).shape[:2] == (23, 57)


def test_a_huffman_table_before_the_frame_is_not_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = encoded(".jpg")
    start = content.index(b"\xff\xc4") + 4
    table = content[start : start - 2 + int.from_bytes(content[start - 2 : start], "big")]
    path.write_bytes(with_segment(content, 0xC4, table))
    assert image_size_hw(path) == read_image(path).shape[:2] == (23, 57)


@pytest.mark.parametrize("orientation", [1, 6])
def test_pngs_with_an_orientation_have_the_size_that_opencv_gives_them(tmp_path: Path, orientation: int) -> None:
    """OpenCV versions differ in which of them they rotate, so the test asks the decoder."""
    path = tmp_path / "a.png"
    content = encoded(".png")
    body = b"eXIf" + exif(orientation, "big").removeprefix(b"Exif\0\0")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    header_end = 8 + 25  # signature and IHDR
    path.write_bytes(content[:header_end] + chunk + content[header_end:])
    assert image_size_hw(path) == read_image(path).shape[:2]


def test_jpeg_and_png_are_not_decoded_for_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(image_size, "read_image", never)
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(suffix))
        assert image_size_hw(path) == (23, 57)
    path = tmp_path / "upright.jpg"
    path.write_bytes(with_segment(encoded(".jpg"), 0xE1, exif(1, "big")))
    assert image_size_hw(path) == (23, 57)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 20])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_that_ends_in_its_header_is_named(tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix)[:length])
    with pytest.raises(DatasetError, match=f"a{suffix}: "):
        image_size_hw(path, error=DatasetError)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png: cannot be read"):
        image_size_hw(tmp_path / "gone.png", error=DatasetError)
