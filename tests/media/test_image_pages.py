"""Files with several images say so; 16 bits keep their contrast."""

import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpnet.contract.errors import SourceError
from mmpnet.media.image_pages import image_count
from mmpnet.media.images import read_image
from mmpnet.media.sixteen_bits import to_8_bits
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.open import open_source
from support.frames import make_noise


def png(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    encoded, content = cv2.imencode(".png", image)
    assert encoded
    return content.tobytes()


def animated(content: bytes, frames: int) -> bytes:
    """A PNG with an animation control chunk before its image data."""
    data = struct.pack(">II", frames, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + data + struct.pack(">I", zlib.crc32(b"acTL" + data))
    at = content.index(b"IDAT") - 4
    return content[:at] + chunk + content[at:]


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_pages_of_a_tiff_are_counted_and_only_the_first_is_used(tmp_path: Path, pages: int) -> None:
    path = tmp_path / "a.tiff"
    images = [make_noise(number, (16, 24)) for number in range(pages)]
    assert cv2.imwritemulti(str(path), images)
    assert image_count(path.read_bytes()) == pages
    events: list[Event] = []
    (frame,) = open_source(str(path)).frames(threading.Event(), events.append)
    np.testing.assert_array_equal(frame.pixels_bgr, images[0])
    assert [event.reason for event in events] == (
        [f"{path}: contains {pages} images, of which only the first is used; convert it to a video or to files"]
        if pages > 1
        else []
    )


def test_frames_of_animated_images_are_counted() -> None:
    content = png(make_noise(0, (16, 24)))
    assert image_count(content) == 1
    assert image_count(animated(content, 7)) == 7
    still = b"RIFF\0\0\0\0WEBPVP8X" + bytes(14)
    assert image_count(still) == 1
    assert image_count(still + b"ANMF....ANMF....ANMF") == 3


def test_damaged_directories_of_a_tiff_end() -> None:
    assert image_count(b"II*\0\x08\0\0\0\0\0\x08\0\0\0") > 1, "a circle"
    assert image_count(b"II*\0\xff\xff\xff\xff") == 1
    assert image_count(b"II*\0") == 1


def test_a_thermal_image_keeps_its_contrast(tmp_path: Path) -> None:
    values = np.linspace(29_000, 31_000, 16 * 24).reshape(16, 24).astype(np.uint16)
    encoded, content = cv2.imencode(".png", values)
    assert encoded
    (tmp_path / "a.png").write_bytes(content.tobytes())
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (16, 24, 3)
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert len(np.unique(pixels)) > 200


def test_a_photo_of_16_bits_is_that_of_8_bits(tmp_path: Path) -> None:
    photo = make_noise(0, (16, 24))
    encoded, content = cv2.imencode(".png", photo.astype(np.uint16) * 257)
    assert encoded
    (tmp_path / "a.png").write_bytes(content.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), photo)


def test_one_value_stays_its_upper_byte() -> None:
    assert to_8_bits(np.full((4, 4), 0x1234, np.uint16)).tolist() == [[0x12] * 4] * 4


def test_an_image_of_floats_is_one_line(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.tiff"), np.linspace(0, 1, 384, dtype=np.float32).reshape(16, 24))
    with pytest.raises(SourceError, match=r"a\.tiff: (its values are float32; expected|is not)"):
        read_image(tmp_path / "a.tiff")
