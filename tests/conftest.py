"""Small datasets and models that the tests generate."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

# The tensors are tiny, so more threads would only disturb other test processes. OpenMP and BLAS read this when numpy
# and torch are imported; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

import msgspec
import pytest
import torch
from hypothesis import settings

from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.runtime.inference.detector import Detector
from mmpnet.train.artifacts.checkpoint import Checkpoint, Provenance, save_checkpoint
from mmpnet.train.artifacts.config import ModelConfig, TrainConfig, config_of
from support.coco_writer import write_coco
from support.exported import ExportCache

# A shell that starts pytest in the background makes it ignore Ctrl-C, and its child processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Generated examples are the same in each run, as all other random numbers of the tests.
settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
settings.load_profile("seeded")

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.json (16 images), val.json (6) and images/. Read only."""
    folder = tmp_path_factory.mktemp("dataset")
    write_coco(folder / "train.json", count=16, seed=1)
    write_coco(folder / "val.json", count=6, seed=2)
    return folder


@pytest.fixture(scope="session")
def tiny_model_config() -> ModelConfig:
    """2 sizes x 2 ratios on a stride-8 grid over 64x64 px; quarter width."""
    return ModelConfig(
        sizes_px=(16.0, 40.0),
        aspect_ratios=(1.0, 2.5),
        stride=8,
        class_names=("background", "person"),
        input_hw=(64, 64),
        channels=16,
        width_mult=0.25,
    )


@pytest.fixture(scope="session")
def tiny_train_config(dataset_folder: Path, tiny_model_config: ModelConfig) -> TrainConfig:
    """A run of 2 epochs on the synthetic dataset, float32 on the CPU, no workers."""
    model = tiny_model_config
    options = {
        "train": (str(dataset_folder),),
        "val": (str(dataset_folder / "val.json"),),
        "weights": "none",
        "epochs": 2,
        "batch": 4,
        "input_hw": model.input_hw,
        "lr": 1e-3,
        "backbone_lr": 1e-3,
        "weight_decay": 0.01,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "negatives": "focal",
        "sizes_px": model.sizes_px,
        "aspect_ratios": model.aspect_ratios,
        "stride": model.stride,
        "channels": model.channels,
        "width_mult": model.width_mult,
        "mosaic_until": 0.5,
        "cache": "off",
        "seed": 3,
        "device": "cpu",
        "amp": False,
        "workers": 0,
    }
    return config_of(options)


@pytest.fixture(scope="session")
def make_checkpoint(tiny_model_config: ModelConfig, tiny_train_config: TrainConfig) -> MakeCheckpoint:
    """(path, *, seed=0, **changes of ModelConfig) -> path of a checkpoint with random weights that do find boxes."""

    def make(path: Path, *, seed: int = 0, **changes: object) -> Path:
        model = msgspec.structs.replace(tiny_model_config, **changes)
        torch.manual_seed(seed)
        network = model.build().train()
        with torch.no_grad():
            # Batch norms that have processed images keep the signal in random layers; scores spread over (0, 1), so
            # that thresholds and NMS matter.
            for _ in range(20):
                network(torch.randn(8, 3, *model.input_hw))
            network.predict.weight.normal_(std=0.3)
            assert network.predict.bias is not None
            network.predict.bias.zero_()
        network.eval()
        provenance = Provenance(
            mmpnet_version="0",
            git_commit=None,
            train_name="synthetic/train.json",
            train_sha256="0" * 64,
            train_images=16,
            val_name="synthetic/val.json",
            val_sha256="1" * 64,
            val_images=6,
            epochs_done=2,
            seed=seed,
            evaluation={"AP": 0.1, "AP50": 0.2},
        )
        save_checkpoint(path, Checkpoint(model, tiny_train_config, provenance, network.state_dict(), None))
        return path

    return make


@pytest.fixture(scope="session")
def export_options() -> ExportOptions:
    """Batch 1 at the training size, with a low score threshold."""
    return ExportOptions(input_hw=None, batch=1, opset=13, conf=0.3, iou=0.5, max_det=50, self_test_seeds=8)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: MakeCheckpoint) -> Path:
    """A checkpoint of the tiny network. Read only."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.pth")


@pytest.fixture(scope="session")
def three_class_checkpoint(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: MakeCheckpoint) -> Path:
    """A checkpoint of the tiny network with the classes person, dog and bicycle. Read only."""
    folder = tmp_path_factory.mktemp("checkpoint")
    return make_checkpoint(folder / "three.pth", class_names=("background", "person", "dog", "bicycle"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportCache:
    """(checkpoint, options) -> the ONNX file, made once for all tests. Read only."""
    of_this_process = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    return ExportCache((of_this_process.parent if is_worker else of_this_process) / "exported")


@pytest.fixture(scope="session")
def tiny_onnx(exported: ExportCache, tiny_checkpoint: Path, export_options: ExportOptions) -> Path:
    """The tiny checkpoint, exported. Read only."""
    return exported(tiny_checkpoint, export_options)


@pytest.fixture(scope="session")
def detector(tiny_onnx: Path) -> Detector:
    """The exported tiny network on one CPU thread. Tests must not change its thresholds."""
    return Detector(tiny_onnx, provider="cpu", threads=1)
