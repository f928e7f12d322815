"""Files that benchmark scripts draw their figures into."""

from pathlib import Path
from typing import TYPE_CHECKING

from mmpnet.system.files import atomic_write, check_output
from mmpnet.system.optional_packages import require_packages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150


def check_figure(path: Path | None) -> None:
    """Raises: OutputError or MissingExtraError, before the work, if --figure cannot be drawn."""
    if path is not None:
        check_output(path, (".png",))
        require_packages("matplotlib", wanted_for="--figure")


def save_figure(figure: "Figure", path: Path) -> None:
    """Raises: OutputError if the file cannot be written."""
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=DOTS_PER_INCH)
