"""Thresholds from the command line."""

import typer

from mmpnet.contract.detections import Thresholds


def checked_thresholds(conf: float, iou: float, max_det: int) -> Thresholds:
    """Thresholds from the command line.

    Raises: typer.BadParameter where they are none, such as NaN, which older typers let through their ranges.
    """
    try:
        return Thresholds(conf=conf, iou=iou, max_det=max_det)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def override_thresholds(
    thresholds: Thresholds, conf: float | None, iou: float | None, max_det: int | None
) -> Thresholds:
    """The file's thresholds with those of the command line in their place.

    Raises: typer.BadParameter where they are none.
    """
    return checked_thresholds(
        thresholds.conf if conf is None else conf,
        thresholds.iou if iou is None else iou,
        thresholds.max_det if max_det is None else max_det,
    )
