"""Files that end before their container's end are found, in each container, and complete ones are not."""

import struct
from pathlib import Path

import pytest

from mmpnet.media.container import missing_bytes
from mmpnet.media.video_writer import VideoFile
from support.frames import make_noise


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_a_whole_file_misses_nothing_and_a_cut_one_its_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    video = VideoFile(path, fps=10, frame_hw=(48, 64))
    for number in range(12):
        video.write(make_noise(number, (48, 64)))
    video.close()
    assert missing_bytes(path) == 0
    content = path.read_bytes()
    for kept in (len(content) - 1, len(content) // 2):
        path.write_bytes(content[:kept])
        # The last box of an MP4 is its index, of which a file that was cut earlier does not know.
        missing = missing_bytes(path)
        assert missing is not None
        assert missing == len(content) - kept or (suffix in (".mp4", ".mov") and 0 < missing <= len(content) - kept)
    path.write_bytes(content + bytes(100))
    assert missing_bytes(path) == 0


def box(name: bytes, length: int, *, stated: int | None = None) -> bytes:
    return struct.pack(">I4s", length if stated is None else stated, name) + bytes(length - 8)


def test_a_box_may_have_a_long_size_or_end_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(box(b"ftyp", 24) + struct.pack(">I4sQ", 1, b"mdat", 1000) + bytes(484))
    assert missing_bytes(path) == 500
    path.write_bytes(box(b"ftyp", 24) + box(b"mdat", 100, stated=0))
    assert missing_bytes(path) == 0


def test_a_recording_that_was_stopped_hard_states_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    header = b"\x1a\x45\xdf\xa3\x84abcd"
    path.write_bytes(header + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(50))
    assert missing_bytes(path) is None
    path.write_bytes(header + b"\x18\x53\x80\x67\x41\x00" + bytes(56))
    assert missing_bytes(path) == 200
    path.write_bytes(b"RIFF\0\0\0\0AVI " + bytes(50))
    assert missing_bytes(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"\0\0\1\xba" * 9, b"words", b"\x1a\x45\xdf\xa3\0"]
)
def test_other_content_states_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert missing_bytes(path) is None
