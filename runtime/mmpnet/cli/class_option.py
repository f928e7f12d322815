"""The option `--classes`, checked."""

from collections.abc import Sequence

import typer

from mmpnet.datasets.transform import parse_classes


def checked_classes(classes: Sequence[str] | None) -> tuple[str, ...]:
    """`--classes` as `select_classes` takes them; empty where none are given.

    Raises: typer.BadParameter where they are none, such as one that is there twice.
    """
    try:
        parse_classes(classes or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return tuple(classes or ())
