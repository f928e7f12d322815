"""Two processes with half a batch each learn what one learns with the whole batch."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from mmpnet.contract.errors import TrainingError
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.choices import Negatives
from mmpnet.train.engine import distributed
from mmpnet.train.engine.callbacks import BatchProgress, TrainingCallbacks
from mmpnet.train.engine.distributed import SyncedBatchNorm2d, World, device_name, require_shareable, sync_batch_norms
from mmpnet.train.model import MmpNet, enter_training_mode
from mmpnet.train.run.callbacks import RunCallbacks
from mmpnet.train.run.start import start_run
from support.coco_writer import write_coco
from support.interruption import environment_of_tests
from support.ports import free_port
from support.train_configs import changed

RUN = """
import sys, msgspec, torch
from dataclasses import replace
from pathlib import Path
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.console.command import console
from mmpnet.train.cli.run_display import RunDisplay
from mmpnet.train.run.start import start_run, resume_run
torch.set_num_threads(1)
def report(batch):
    print("batch", batch.epoch, batch.classification_loss, batch.box_loss, flush=True)
callbacks = RunDisplay(console()).callbacks()
callbacks = replace(callbacks, training=replace(callbacks.training, batch_done=report))
if sys.argv[1] == "resume":
    resume_run(Path(sys.argv[2]), callbacks=callbacks)
else:
    start_run(msgspec.json.decode(sys.argv[1], type=TrainConfig), Path(sys.argv[2]), callbacks=callbacks)
"""

RUN_WHOSE_SECOND_PROCESS_IS_STOPPED = """
import os, signal, sys, msgspec, torch
from contextlib import nullcontext
from pathlib import Path
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.start import start_run
from support.interruption import stopped_after
torch.set_num_threads(1)
with stopped_after(6, signal.SIGTERM) if os.environ["RANK"] == "1" else nullcontext():
    start_run(msgspec.json.decode(sys.argv[1], type=TrainConfig), Path(sys.argv[2]))
"""

RUN_TO_EXIT_CODE = """
import sys, msgspec, torch, typer
from pathlib import Path
from mmpnet.console.command import exit_on_error
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.start import start_run
torch.set_num_threads(1)
try:
    with exit_on_error():
        start_run(msgspec.json.decode(sys.argv[1], type=TrainConfig), Path(sys.argv[2]))
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@contextmanager
def two_processes(*arguments: str, script: str = RUN) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two processes on this machine with the environment that torchrun gives them."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**environment_of_tests(), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def outputs(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=300)[0] for process in processes]


def losses(folder: Path) -> list[tuple[float, float]]:
    with (folder / "results.csv").open(newline="") as file:
        return [(float(row["classification_loss"]), float(row["box_loss"])) for row in csv.DictReader(file)]


def steps_of(output: str) -> list[tuple[float, float]]:
    """The mean losses of the epoch so far, after each batch that RUN printed."""
    lines = [line.split() for line in output.splitlines() if line.startswith("batch ")]
    return [(float(classification), float(box)) for _, _, classification, box in lines]


@pytest.mark.slow
@pytest.mark.parametrize("negatives", ["quality", "random"])
def test_the_loss_curve_is_that_of_one_process(
    tiny_train_config: TrainConfig, tmp_path: Path, negatives: Negatives
) -> None:
    config = changed(tiny_train_config, negatives=negatives, epochs=3, eval_every=3, cache="on")
    steps: list[BatchProgress] = []
    start_run(config, tmp_path / "one", callbacks=RunCallbacks(training=TrainingCallbacks(batch_done=steps.append)))
    with two_processes(msgspec.json.encode(config).decode(), str(tmp_path / "two")) as processes:
        said = outputs(processes)
        assert [process.returncode for process in processes] == [0, 0], said
    assert "epoch 3/3" in said[0]
    assert said[1] == "", "one process talks"
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    # The box loss is compared, because the classification loss of a few random negatives varies too much.
    assert one[0][1] > 1.05 * one[-1][1], "there is something to compare: it learns"
    for alone, together in zip(one, two, strict=True):
        # The sums have another order, so they differ by less than a millionth in the first step, and AdamW amplifies
        # this: where a gradient is nearly zero, its step depends on the sign only.
        assert together == pytest.approx(alone, rel=1e-2)
    of_two = steps_of(said[0])
    assert len(of_two) == len(steps) == 12
    for step, losses_together, tolerance in zip(steps, of_two, (1e-5, 1e-3), strict=False):
        assert losses_together == pytest.approx((step.classification_loss, step.box_loss), rel=tolerance)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())


@pytest.mark.slow
def test_both_stop_when_one_is_asked(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    """The second of two processes gets the signal after the second step of the second epoch."""
    config = changed(tiny_train_config, epochs=3, eval_every=3, val=())
    settings = msgspec.json.encode(config).decode()
    with two_processes(settings, str(tmp_path / "run"), script=RUN_WHOSE_SECOND_PROCESS_IS_STOPPED) as processes:
        said = outputs(processes)
        assert all(process.returncode != 0 for process in processes)
    assert all("InterruptedRunError" in text for text in said), said
    checkpoint = load_checkpoint(tmp_path / "run" / "last.pth")
    assert checkpoint.progress is not None
    assert checkpoint.progress.epoch == 1
    assert checkpoint.train.run.device == "cpu", "as asked"


@pytest.mark.slow
def test_a_run_that_one_process_began_is_finished_by_two(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny_train_config, mosaic=0.5, mosaic_until=1.0, multi_scale=0.5, cache="on")
    start_run(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:

        def asked(_: World, value: bool) -> bool:
            if not value:
                os.kill(os.getpid(), signal.SIGTERM)
            return value

        patch.setattr(World, "any", asked)
        with pytest.raises(InterruptedRunError):
            start_run(config, tmp_path / "parts")
    with two_processes("resume", str(tmp_path / "parts")) as processes:
        said = outputs(processes)
        assert [process.returncode for process in processes] == [0, 0], said
    assert "resuming in epoch 1 after 2 batches" in said[0]
    for alone, together in zip(losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True):
        assert together == pytest.approx(alone, rel=1e-2)
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


@pytest.mark.slow
def test_where_one_process_fails_the_others_end_with_a_line_too(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    """Each process reads one of the two images, and one image is damaged."""
    path = write_coco(tmp_path / "data" / "train.json", count=2, seed=5)
    damaged = tmp_path / "data" / "images" / "train_002.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    config = changed(tiny_train_config, train=(str(path),), val=(), mosaic=0.0, batch=2)
    settings = msgspec.json.encode(config).decode()
    with two_processes(settings, str(tmp_path / "run"), script=RUN_TO_EXIT_CODE) as processes:
        said = outputs(processes)
        assert [process.returncode for process in processes] == [1, 1], said
    assert "Traceback" not in "".join(said)
    assert sum("train_002.png: the image is cut short" in text for text in said) == 1
    assert sum("stopped, because another one did" in text for text in said) == 1


@pytest.mark.parametrize("late", [False, True])
def test_a_signal_while_processes_agree_is_for_the_next_step(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Python runs signal handlers when a collective call returns; the value that it was given is then out of date."""
    asked = 0

    def agree(_: World, value: bool) -> bool:
        nonlocal asked
        asked += 1
        if asked == (4 if late else 1):  # the fourth is the last of an epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return value

    monkeypatch.setattr(World, "any", agree)
    config = changed(tiny_train_config, val=())
    with pytest.raises(InterruptedRunError):
        start_run(config, tmp_path / "run")
    progress = load_checkpoint(tmp_path / "run" / "last.pth").progress
    assert progress is not None
    assert (progress.epoch, progress.batch) == ((1, 1) if late else (0, 2))


@pytest.mark.parametrize(("device", "kind"), [("cpu", SyncedBatchNorm2d), ("cuda", nn.SyncBatchNorm)])
def test_syncing_keeps_every_name(device: str, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    names = [name for name, _ in plain.state_dict().items()]
    sync_batch_norms(plain, torch.device(device))
    assert type(plain[1]) is kind
    assert [type(module) for module in plain.modules()].count(kind) == 2
    assert [name for name, _ in plain.state_dict().items()] == names
    plain.eval()
    assert plain(torch.randn(2, 3, 8, 8)).shape == (2, 4, 6, 6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_synced_batch_norm_is_batch_norm_over_the_batches_of_all(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all processes have the same value, the sum is `size` times that value."""
    monkeypatch.setattr(distributed, "_all_summed", lambda value: value.detach() * size)
    torch.manual_seed(0)
    share = torch.randn(2, 4, 5, 6) * 3 + 100
    weights = torch.randn_like(share)
    network, plain = nn.Sequential(nn.BatchNorm2d(4)), nn.BatchNorm2d(4)
    nn.init.uniform_(plain.weight)
    network[0].load_state_dict(plain.state_dict())
    sync_batch_norms(network, torch.device("cpu"))
    synced = network[0]
    assert isinstance(synced, nn.BatchNorm2d)
    mine, whole = share.clone().requires_grad_(), share.repeat(size, 1, 1, 1).requires_grad_()
    said, expected = synced(mine), plain(whole)
    (said * weights).sum().backward()
    (expected * weights.repeat(size, 1, 1, 1)).sum().backward()
    torch.testing.assert_close(said, expected[:2], rtol=1e-4, atol=1e-4)
    assert mine.grad is not None
    assert whole.grad is not None
    assert synced.weight.grad is not None
    assert synced.bias.grad is not None
    torch.testing.assert_close(mine.grad, whole.grad[:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.running_mean, plain.running_mean)
    torch.testing.assert_close(synced.running_var, plain.running_var)
    torch.testing.assert_close(synced.weight.grad * size, plain.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.bias.grad * size, plain.bias.grad, rtol=1e-4, atol=1e-4)
    assert synced.num_batches_tracked == 1


def test_a_batch_that_cannot_be_shared_is_one_line() -> None:
    with pytest.raises(TrainingError, match="batch 6 cannot be shared evenly by 4 processes"):
        require_shareable(6, 100, World(size=4))
    with pytest.raises(TrainingError, match="data set of 7 images"):
        require_shareable(8, 7, World(size=2))
    require_shareable(8, 100, World(size=2))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_norms_that_are_frozen_stay_frozen_when_they_are_synced(device: str) -> None:
    network = MmpNet(1, 1, width_mult=0.25, channels=8)
    sync_batch_norms(network, torch.device(device))
    enter_training_mode(network, freeze=0, freeze_norms=True)
    norms = [module for module in network.modules() if hasattr(module, "running_mean")]
    in_backbone = set(network.features.modules())
    assert len(norms) > 50
    assert all(norm.training == (norm not in in_backbone) for norm in norms)


def test_each_process_takes_the_gpu_of_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_name("auto", World(rank=5, size=8, local_rank=1, machine=1)) == "cuda:1"
    assert device_name("cuda", World(rank=5, size=8, local_rank=1, machine=1)) == "cuda:1"
    assert device_name("cpu", World(rank=5, size=8, local_rank=1, machine=1)) == "cpu"
    assert device_name("auto", World()) == "auto"
