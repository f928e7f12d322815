"""What a run over an archive does, and its manifest in the output folder."""

from typing import Any

import msgspec

from mmpnet.archive.places import Place, read_bytes, writing
from mmpnet.contract.errors import OutputError

MANIFEST = "manifest.json"
MODEL_FILE = "model.onnx"
SCHEMA_VERSION = 1


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the rows of the results: a run goes on only with equal settings.

    model_sha256: hash of the model file. conf, iou, max_det: thresholds as of mmp-run. every: use every n-th frame of a
    video. track: give people of one video a number. camera_pattern: takes the camera from a path. schema: version of
    the columns.
    """

    model_name: str
    model_sha256: str
    class_names: tuple[str, ...]
    conf: float
    iou: float
    max_det: int
    every: int = 1
    track: bool = True
    camera_pattern: str | None = None
    schema: int = SCHEMA_VERSION


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json: the settings of the run, and what it has done so far."""

    settings: Settings
    mmpnet_version: str
    patterns: tuple[str, ...]
    provider: str
    started_at: str
    finished_at: str | None = None
    """None while the run goes on, or if it was stopped."""
    elapsed_s: float = 0.0
    """Of the last run alone."""
    videos: int = 0
    images: int = 0
    frames: int = 0
    video_s: float = 0.0
    detections: int = 0
    failed: int = 0
    providers: dict[str, int] = {}
    """Number of frames by the execution provider that detected in them; `provider` is that of the last run."""


def write_manifest(folder: Place, manifest: Manifest) -> None:
    """Raises: OutputError if it cannot be written."""
    with writing(folder / MANIFEST) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: Place) -> Manifest | None:
    """The manifest of a folder of results; None if it has none.

    Raises: OutputError if it cannot be read.
    """
    path = folder / MANIFEST
    try:
        content = read_bytes(path)
        return None if content is None else msgspec.json.decode(content, type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise OutputError(
            f"{path}: is not a manifest of this version ({error}); give another folder, or remove the file"
        ) from error


def require_manifest(folder: Place) -> Manifest:
    """The manifest of a folder of results. Raises: OutputError if there is none."""
    found = read_manifest(folder)
    if found is None:
        raise OutputError(f"{folder}: has no {MANIFEST}; expected a folder that mmp-archive wrote")
    return found


def require_equal(folder: Place, before: Settings, now: Settings) -> None:
    """Raises: OutputError naming the first setting that differs from those of the results in the folder."""
    values: dict[str, Any] = msgspec.structs.asdict(now)
    for name, value in msgspec.structs.asdict(before).items():
        if values[name] != value:
            raise OutputError(
                f"{folder}: was made with {name} {value}, this run has {values[name]}; "
                "give the same options, or another folder"
            )
