"""Time detectors from raw BGR pixels in memory to final boxes, and the network alone beside it.

Models take turns frame by frame, so that other load on the machine affects all of them alike. Warm-up runs are not
counted; startup.py times fresh processes. --figure needs mmpnet[eval].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from harness.figures import check_figure
from harness.frames import camera_frame
from harness.latency import ALL_CORES, MEASURED_STAGES, model_latencies, spread_text
from harness.models import files_by_name
from harness.script import FigureFile, FrameSize, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.bench.statistics import RANKS
from mmpnet.runtime.inference.embedded import EMBEDDED_MODELS
from mmpnet.system.timing import LEAST_SAMPLES

app = script_app()


@app.command()
def latency(
    model: Annotated[
        list[Path] | None, typer.Argument(help="Names or .onnx files; default: the embedded models.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=0, max=1024, help="May be repeated; 0 is all cores. Default: 1 and 0.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each repeat, for each model.")] = 150,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats; the spread of their medians is reported.")] = 5,
    frame_size: FrameSize = "1280x720",
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Time detectors on the sample image, resized to a camera's frame."""
    with exit_on_error():
        check_figure(figure)
        frame_bgr = camera_frame(frame_size)
        paths = files_by_name(model or EMBEDDED_MODELS)
        rows: list[dict[str, Any]] = []
        for count in dict.fromkeys(threads or (1, ALL_CORES)):
            rows += model_latencies(paths, frame_bgr, threads=count, frames=frames, repeats=repeats)
        show(_table(rows), *_missing_percentiles(rows[0]["infer"]["samples"]))
        if figure is not None:
            from harness.latency_figure import draw_latencies

            draw_latencies(figure, rows, frame_size)
        if as_json:
            write_json(
                {
                    "frame": frame_size,
                    "frames": frames,
                    "repeats": repeats,
                    "models": {name: msgspec.to_builtins(model_facts(path)) for name, path in paths.items()},
                    "latencies": rows,
                    "machine": machine_document(),
                }
            )


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    ranks = [f"p{rank}" for rank in RANKS]
    table = Table("threads", "model", "ms of", *ranks, "spread", box=None, padding=(0, 1, 0, 0))
    for row in rows:
        for number, (key, name) in enumerate(MEASURED_STAGES.items()):
            first = ("", "") if number else (str(row["threads"] or "all"), row["model"])
            times = row[key]["percentiles_ms"].values()
            cells = ["-" if value is None else f"{value:.2f}" for value in times]
            table.add_row(*first, name, *cells, spread_text(row[key]))
    return table


def _missing_percentiles(samples: int) -> list[str]:
    """A sentence on the percentiles that are not shown; none where all are."""
    few = [f"p{rank} {least}" for rank, least in LEAST_SAMPLES.items() if samples < least]
    return [f"-: {samples} samples are too few; needed for {', '.join(few)}"] if few else []


if __name__ == "__main__":
    app()
