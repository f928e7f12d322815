"""Every version of the shipped network as an ONNX file: bare, with each head, and in int8; timed in turns."""

import statistics
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from harness.script import progress_named
from mmpnet.bench.interleaved import take_turns, timed_ms
from mmpnet.bench.profile.kernels import profile_kernels
from mmpnet.contract.heads import Head
from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.open import open_dataset
from mmpnet.export.graph import export_graph
from mmpnet.export.heads import with_head
from mmpnet.export.quantization.quantizer import QuantizationOptions, Quantizer
from mmpnet.export.quantization.rearrange import rearrange
from mmpnet.export.quantization.search import calibration_images
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.inference.session import open_session
from mmpnet.train.model import MmpNet
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.inference_net import CandidateNet
from mmpnet.train.network.onnx_weights import shape_of
from mmpnet.train.network.weights import load_weights

BARE, QUANTIZED, REARRANGED = "bare network", "int8 as quantized", "int8 rearranged"
SLOWEST_SHOWN = 12


def write_versions(data: Path, folder: Path) -> dict[str, Path]:
    """All versions of the network, by name; `data` calibrates int8.

    Raises: DatasetError for bad data, ExportError if a version cannot be made.
    """
    candidates, thresholds = _shipped_network()
    full = export_graph(candidates, batch=1, opset=13)
    files = {BARE: _write_bare(candidates, folder / "bare.onnx")}
    heads: tuple[Head, ...] = ("grid", "boxes", "nms")
    for head in heads:
        classes = candidates.network.num_classes
        model = with_head(full, head, batch=1, num_classes=classes, thresholds=thresholds, frozen=False)
        files[f"head {head}"] = folder / f"{head}.onnx"
        onnx.save(model, files[f"head {head}"])
    images = calibration_images(open_dataset(data, "train"), Detector(provider="cpu").metadata.letterbox)
    plain = Quantizer(onnx.load(files["head boxes"]), images, QuantizationOptions(), folder).quantized()
    for name, model in ((QUANTIZED, plain), (REARRANGED, rearrange(plain))):
        files[name] = folder / f"{name}.onnx"
        onnx.save(model, files[name])
    return files


def time_files(paths: dict[str, Path], rounds: int) -> dict[str, float]:
    """Median ms of each file on one thread, in turns; each runs once before each timed run."""
    turns = [timed_ms(partial(session.run, None, feed)) for session, feed in map(_session_and_feed, paths.values())]
    times_ms = take_turns(turns, rounds=rounds, progress=progress_named("timing"))
    return {name: round(statistics.median(samples), 3) for name, samples in zip(paths, times_ms, strict=True)}


def time_by_operator(path: Path, runs: int) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    """Median us by operator type, largest first, and of the slowest nodes with their operator."""
    kernels = profile_kernels(path, runs=runs).kernels
    total: Counter[str] = Counter()
    for kernel in kernels:
        total[kernel.op] += round(kernel.median_ms * 1e3)
    slowest = sorted(kernels, key=lambda kernel: -kernel.median_ms)[:SLOWEST_SHOWN]
    return dict(total.most_common()), [(one.op, one.name, round(one.median_ms * 1e3)) for one in slowest]


def _shipped_network() -> tuple[CandidateNet, Thresholds]:
    """The embedded model's network, batch norms folded as in its file."""
    metadata = Detector(provider="cpu").metadata
    anchors, shape = metadata.anchors.spec(), shape_of(model_path())
    network = MmpNet(
        anchors.num_sizes,
        anchors.num_aspect_ratios,
        num_classes=len(metadata.class_names),
        channels=shape.channels,
        architecture=shape.architecture,
    )
    load_weights(network, "default", head=HeadMeaning(metadata.class_names, anchors))
    return CandidateNet(network.eval(), anchors, metadata.input.size_hw).eval(), metadata.thresholds


def _write_bare(candidates: CandidateNet, path: Path) -> Path:
    """The network alone, as torch exports it: normalized float images in, raw grid out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, *candidates.input_hw)
        torch.onnx.export(candidates.network, (example,), path, input_names=["images"], opset_version=13, dynamo=False)
    return path


def _session_and_feed(path: Path) -> tuple[Any, dict[str, Any]]:
    """A session on one thread, and a random image for it."""
    session = open_session(path, provider="cpu", threads=1)
    described = session.get_inputs()[0]
    shape = [side if isinstance(side, int) else 1 for side in described.shape]
    random = np.random.default_rng(0)
    is_bytes = described.type == "tensor(uint8)"
    pixels = random.integers(0, 256, shape, dtype=np.uint8) if is_bytes else random.random(shape, dtype=np.float32)
    return session, {described.name: pixels}
