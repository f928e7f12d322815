"""The latency budget by frame size: what preprocessing, the network and postprocessing take of a frame.

One detector takes turns between frames of all sizes, in memory. The network's input has one size, so that only the
letterbox should take longer for larger frames. --figure needs mmpnet[eval].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from harness.figures import check_figure
from harness.frames import camera_frame
from harness.latency import spread_text, threads_text, times_in_turns
from harness.script import FigureFile, Json, exit_on_error, script_app, show, write_json
from harness.stages import MOST_SHARE, budget
from mmpnet.bench.compare import WARM_UP_S
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.bench.latency import STAGES, opencv_threads, warm_up
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path

FRAME_SIZES = ("640x480", "1280x720", "1920x1080", "3840x2160")

app = script_app()


@app.command()
def stages(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    frame_size: Annotated[
        list[str] | None, typer.Option(help=f"WIDTHxHEIGHT, may be repeated. Default: {' '.join(FRAME_SIZES)}.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0 is all cores.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each repeat, for each size.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats; the spread of their medians is reported.")] = 5,
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Time the stages on the sample image, resized to cameras' frames."""
    with exit_on_error():
        check_figure(figure)
        path = model_path(model)
        sizes = {size: camera_frame(size) for size in frame_size or FRAME_SIZES}
        opencv_threads(threads)
        with Detector(path, provider="cpu", threads=threads, spin=False) as detector:
            for frame_bgr in sizes.values():
                warm_up(detector, frame_bgr, seconds=WARM_UP_S)
            contestants = [(detector, frame_bgr) for frame_bgr in sizes.values()]
            times_ms = times_in_turns(contestants, frames=frames, repeats=repeats, what="timing")
        rows = [{"frame": size, **budget(of_size)} for size, of_size in zip(sizes, times_ms, strict=True)]
        show(_table(rows))
        if figure is not None:
            from harness.stages_figure import draw_budgets

            draw_budgets(figure, rows, f"{path.stem}, {threads_text(threads)}")
        if as_json:
            write_json(
                {
                    "model": msgspec.to_builtins(model_facts(path)),
                    "threads": threads,
                    "frames": frames,
                    "repeats": repeats,
                    "most_share": MOST_SHARE,
                    "sizes": rows,
                    "machine": machine_document(),
                }
            )


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ("frame", "before ms", "infer ms", "after ms", "end to end ms", "spread", "before + after, of infer")
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))
    for row in rows:
        found = [row["stages_ms"][name] for name in STAGES]
        share = f"{row['before_and_after_per_infer']:.1%}"
        medians = (f"{stage['median_ms']:.2f}" for stage in found)
        aim = share if row["within_aim"] else f"{share}, over {MOST_SHARE:.0%}"
        table.add_row(row["frame"], *medians, spread_text(found[-1]), aim)
    return table


if __name__ == "__main__":
    app()
