"""The settings of an archive run, from the command line and the model."""

from mmpnet.archive.settings import Settings
from mmpnet.console.command import fail
from mmpnet.console.threshold_options import override_thresholds
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import file_sha256


def run_settings(
    detector: Detector,
    thresholds: tuple[float | None, float | None, int | None],
    *,
    track: bool,
    every: int,
    camera_pattern: str | None,
) -> Settings:
    """The settings of a run. thresholds: conf, iou and max_det of the command line.

    Raises: ContractError if the model cannot have the thresholds; typer.BadParameter if they are invalid.
    """
    chosen = override_thresholds(detector.thresholds, *thresholds)
    detector.with_thresholds(chosen)
    if track and detector.metadata.frozen and chosen.conf > LOW_CONF:
        fail(f"{detector.path}: has a fixed conf of {chosen.conf:g}; give --no-track, or export without --frozen")
    return Settings(
        model_name=detector.path.name,
        model_sha256=file_sha256(detector.path),
        class_names=tuple(detector.class_names),
        conf=chosen.conf,
        iou=chosen.iou,
        max_det=chosen.max_det,
        every=every,
        track=track,
        camera_pattern=camera_pattern,
    )
