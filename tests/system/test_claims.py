"""A second run with the same output name is refused."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.system.claims import Claim, check_unclaimed, claimed_folder, is_claimed

HOLD = """
import sys
from pathlib import Path
from mmpnet.system.claims import Claim
claim = Claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from mmpnet.system.claims import Claim
claim = Claim(Path(sys.argv[1]))
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, b"forked")
    time.sleep(60)
os.read(reading, 6)  # the child has done what is done after a fork
print(child, flush=True)
sys.stdin.read()
"""


def test_a_claim_is_exclusive_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    with Claim(path):
        with pytest.raises(OutputError, match=r"out\.mkv: another run writes to it; stop that one, or choose another"):
            Claim(path)
        with pytest.raises(OutputError, match="another run"):
            check_unclaimed(path)
        Claim(tmp_path / "other.mkv").close()
    check_unclaimed(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "new", "new/work", "new/deep/work"])
def test_a_folder_is_held_under_every_name_it_has_and_leaves_nothing(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder need not exist, nor those above it; the working directory has no name of its own."""
    working_directory = tmp_path / "cwd"
    working_directory.mkdir()
    monkeypatch.chdir(working_directory)
    with claimed_folder(Path(below)):
        with pytest.raises(OutputError, match="another run writes to it"), claimed_folder(working_directory / below):
            pass
        assert is_claimed(working_directory / below)
    assert not is_claimed(working_directory / below)
    assert [path.name for path in tmp_path.rglob("*")] == ["cwd"]


def test_what_was_written_below_a_new_folder_stays(tmp_path: Path) -> None:
    with claimed_folder(tmp_path / "new" / "deep" / "work"):
        (tmp_path / "new" / "kept.txt").write_text("kept")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept.txt", "new"]


def test_the_root_of_the_file_system_cannot_be_held() -> None:
    with pytest.raises(OutputError, match="/: is the root of the file system"), claimed_folder(Path("/")):
        pass


def test_the_claim_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run"):
            Claim(path)
        holder.kill()
        holder.wait()
    with Claim(path):
        assert not path.exists()


def test_a_killed_process_whose_forked_child_lives_on_holds_no_claim(tmp_path: Path) -> None:
    """As the loader processes of a training that is killed, which end some seconds after it."""
    path = tmp_path / "train"
    command = [sys.executable, "-c", f"{HOLD_AND_FORK}", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(OutputError, match="another run"):
                Claim(path)
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            Claim(path).close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_claim_whose_folder_was_removed_leaves_the_lock_of_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    first = Claim(folder / "last.pth")
    shutil.rmtree(folder)
    folder.mkdir()
    second = Claim(folder / "last.pth")
    first.close()
    with pytest.raises(OutputError, match="another run"):
        Claim(folder / "last.pth")
    second.close()
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_not_claimed(tmp_path: Path) -> None:
    Claim(tmp_path / "absent" / "out.mkv").close()


def test_a_link_at_the_locks_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / ".out.mkv.lock").symlink_to(victim)
    Claim(tmp_path / "out.mkv").close()
    assert not victim.exists()
