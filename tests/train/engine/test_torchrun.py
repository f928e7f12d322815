"""Two agents of torchrun on this machine: after a killed worker, the run goes on from last.pth to the same result."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.cli.train import app
from support.interruption import environment_of_tests
from support.ports import free_port

OPTIONS = "--weights none --imgsz 64 --width-mult 0.25 --channels 16 --batch 4 --device cpu --workers 0 --epochs 3"
WORKER = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
import torch
from mmpnet.train.cli.train import app
from support.interruption import stopped_after
torch.set_num_threads(1)
mark = Path(sys.argv[1])
dies = os.environ["RANK"] == "1" and not mark.exists()
if os.environ["RANK"] == "1":
    mark.touch()
with stopped_after(6, signal.SIGKILL) if dies else nullcontext():
    app(sys.argv[2:])
"""


def torchrun(script: Path, *arguments: object) -> list[str]:
    """Run the script in one worker of each of two agents; returns what the agents and their workers print."""
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "test"]
    command = ["torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1, "--max-restarts", 2, *where]
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, command), str(script), *map(str, arguments)],
            # Restarted workers would otherwise meet in the store of those that ended, and read their addresses.
            env={**environment_of_tests(), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        said = [agent.communicate(timeout=500)[0] for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0], said
        return said
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(dataset_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    (tmp_path / "no-death").touch()
    for name, mark in (("undisturbed", "no-death"), ("killed", "death")):
        run = ["--data", dataset_folder, *OPTIONS.split(), "--project", tmp_path, "--name", name, "--continue"]
        said = "".join(torchrun(script, tmp_path / mark, *run))
        assert ("resuming in epoch 2" in said) == (name == "killed"), said
    assert (tmp_path / "death").exists()
    undisturbed, killed = (load_checkpoint(tmp_path / name / "last.pth") for name in ("undisturbed", "killed"))
    assert undisturbed.progress is not None
    assert killed.progress is not None
    assert undisturbed.progress.epoch == killed.progress.epoch == 3
    for key, weight in undisturbed.ema.items():
        assert torch.equal(killed.ema[key], weight), key


def test_continue_needs_a_name(dataset_folder: Path) -> None:
    for arguments in (["--continue"], ["--continue", "--name", "a", "--check"]):
        done = CliRunner().invoke(app, ["--data", str(dataset_folder), *arguments])
        assert done.exit_code == 2
        assert "--continue needs --name" in done.stderr
