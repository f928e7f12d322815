"""Files appear completely or not at all, under temporary names that cannot be guessed."""

import errno
import os
import secrets
from pathlib import Path

import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.system.files import atomic_write, beginning, temporary_file, what_to_do


def test_a_file_takes_its_name_when_all_went_well(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    out.write_text("yesterday")
    with atomic_write(out) as partial:
        assert (partial.parent, partial.suffix) == (tmp_path, ".txt")
        partial.write_text("today")
        assert out.read_text() == "yesterday"
    assert out.read_text() == "today"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208 - the name as the system has it


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    out.write_text("yesterday")
    with pytest.raises(OutputError), atomic_write(out) as partial:
        (tmp_path / partial).write_text(str(tmp_path.read_bytes()))
    assert out.read_text() == "yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_stands_at_a_temporary_name_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    tokens = iter(["0", "1"])
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: next(tokens))
    (tmp_path / ".mmpnet-0.txt").symlink_to(victim)
    assert temporary_file(tmp_path / "a.txt").name == ".mmpnet-1.txt"
    assert victim.read_text() == "precious"


def test_names_differ_from_call_to_call_and_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 120 + ".mkv")
    first, second = (temporary_file(path, marked=True) for _ in range(2))
    assert first != second
    assert first.name.startswith("ä" * 90 + ".partial-")
    assert first.suffix == ".mkv"


def test_a_beginning_has_whole_characters() -> None:
    assert beginning("äöü", 3) == "ä"
    assert beginning("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free space"), (errno.ENAMETOOLONG, "choose a shorter name"), (errno.ENOENT, "make it first")],
)
def test_the_advice_belongs_to_the_error(number: int, advice: str) -> None:
    assert advice in what_to_do(OSError(number, os.strerror(number)))


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 260 + ".txt")
    too_long = r"cannot be written \(File name too long\); choose a shorter name"
    with pytest.raises(OutputError, match=too_long), atomic_write(path) as partial:
        partial.write_text("x")
