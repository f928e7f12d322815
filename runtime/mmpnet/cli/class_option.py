"""Check the option `--classes`."""

from collections.abc import Sequence

import typer

from mmpnet.datasets.transform import parse_classes


def checked_classes(classes: Sequence[str] | None) -> tuple[str, ...]:
    """The value of `--classes` for `select_classes`; empty if the option is not given.

    Raises: typer.BadParameter for invalid classes, such as a name that occurs twice.
    """
    try:
        parse_classes(classes or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return tuple(classes or ())
