"""Thresholds from the command line."""

import typer

from mmpnet.contract.thresholds import Thresholds


def checked_thresholds(conf: float, iou: float, max_det: int) -> Thresholds:
    """Build thresholds from the command line.

    Raises: typer.BadParameter for invalid values, such as NaN, which older versions of typer accept.
    """
    try:
        return Thresholds(conf=conf, iou=iou, max_det=max_det)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def override_thresholds(
    thresholds: Thresholds, conf: float | None, iou: float | None, max_det: int | None
) -> Thresholds:
    """The file's thresholds, replaced by those that the command line gives.

    Raises: typer.BadParameter for invalid values.
    """
    return checked_thresholds(
        thresholds.conf if conf is None else conf,
        thresholds.iou if iou is None else iou,
        thresholds.max_det if max_det is None else max_det,
    )
