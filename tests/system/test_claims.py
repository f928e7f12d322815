"""A second run with the same output name is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.system.claims import Claim, check_unclaimed

HOLD = """
import sys
from pathlib import Path
from mmpnet.system.claims import Claim
claim = Claim(Path(sys.argv[1]))
print("held", flush=True)
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


def test_a_folder_that_cannot_be_written_is_not_claimed(tmp_path: Path) -> None:
    Claim(tmp_path / "absent" / "out.mkv").close()


def test_a_link_at_the_locks_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / ".out.mkv.lock").symlink_to(victim)
    Claim(tmp_path / "out.mkv").close()
    assert not victim.exists()
