"""What a report says of a checkpoint."""

from pathlib import Path

import msgspec

from mmpnet.runtime.report_input import Subject
from mmpnet.train.checkpoint import Checkpoint, sha256_of


def checkpoint_subject(path: Path, checkpoint: Checkpoint) -> Subject:
    """A checkpoint, by what it says of itself."""
    provenance, model = checkpoint.provenance, checkpoint.model
    height, width = model.input_hw
    trained_on = f"{provenance.train_name}, {provenance.train_images} pictures, sha256 {provenance.train_sha256}"
    facts = (
        ("model", f"{path.name}, {height}x{width} px, stride {model.stride}, {len(model.sizes_px)} anchor sizes"),
        ("classes", ", ".join(model.class_names[1:])),
        ("checkpoint sha256", sha256_of(path)),
        ("trained on", trained_on),
        ("epoch kept", f"{provenance.epochs_done} of {checkpoint.train.epochs}, seed {provenance.seed}"),
        ("source tree", f"mmpnet {provenance.mmpnet_version}, commit {provenance.git_commit or 'unknown'}"),
    )
    settings = tuple((name, str(value)) for name, value in msgspec.to_builtins(checkpoint.train).items())
    return Subject(f"{path.resolve().parent.name}/{path.name}", facts, settings)
