"""Plots as SVG for HTML pages: text and axes take the page's text color, in light and dark mode.

This module imports matplotlib, so only reports import it.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GRAY = "#2f7fc1", "#d06a1c", "#2f9366", "#8a9099"
"""Colors that are readable on white and on black."""
PALETTE = (BLUE, ORANGE, GREEN, GRAY)


SIZE_IN = (4.4, 3.0)
"""Size in inches; small, so that text stays readable when a phone shows the plot at its own width."""


INK = "#010203"
"""Placeholder for the page's text color until the SVG is written."""


_STYLE: Any = {
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": GRAY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "path.simplify_threshold": 0.3,
    "svg.fonttype": "none",
}


def svg(draw: Callable[[Axes], None], what: str, size_in: tuple[float, float] = SIZE_IN) -> str:
    """Draw on new axes and return the SVG; screen readers read `what` aloud."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": what}):
        figure = Figure(figsize=size_in, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        written = io.StringIO()
        FigureCanvasSVG(figure)
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(written.getvalue(), what)


def _inline(written: str, what: str) -> str:
    """The <svg> element alone, without namespace addresses, with the page's text color and font."""
    inline = written[written.index("<svg") :]
    inline = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", inline, flags=re.DOTALL)
    inline = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", inline)
    inline = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", inline)
    # Ids must differ between the plots of one page.
    prefix = re.sub(r"\W+", "-", what.lower())
    inline = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{prefix}-", inline)
    size = re.compile(r'\swidth="[^"]*"|\sheight="[^"]*"')
    start, rest = inline.split(">", 1)
    return f'{size.sub("", start)} role="img" aria-label="{what}">{rest}'.replace(INK, "currentColor")


def key(axes: Axes, names: Sequence[tuple[str, str]]) -> None:
    """Write the names of the curves above the plot, each in its color: curves that cross leave no room beside them."""
    left: Any = axes.transAxes
    at, offset = (0.0, 1.0), (0, 3)
    for name, color in names:
        left = axes.annotate(
            name, at, xycoords=left, xytext=offset, textcoords="offset points", color=color, va="bottom"
        )
        at, offset = (1.0, 0.0), (10, 0)
