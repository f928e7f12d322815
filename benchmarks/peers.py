"""Our models beside other people's detectors: accuracy and latency in one run.

All see the same images and are judged by the same evaluator (conf 0.001, NMS 0.5, 100 boxes, class person). Each --data
is reported on its own, and each source within the sets that --by-source names. A latency is that of one frame in
memory, from BGR pixels to final boxes, decoding and NMS in numpy included (conf 0.25 there, as a user has it);
contestants take turns frame by frame, first on one thread, then on all. Known peers that are not in --peers are
reported as absent. Needs mmpnet[eval].
"""

from pathlib import Path
from typing import Annotated

import typer

from harness.figures import check_figure
from harness.frames import camera_frame
from harness.peers.accuracy import open_sets
from harness.peers.contestants import collect_entries, parse_entry
from harness.peers.run import measure
from harness.peers.tables import report_lines
from harness.script import FigureFile, FrameSize, Json, exit_on_error, script_app, show, write_json

app = script_app()


@app.command()
def peers(
    data: Annotated[list[Path], typer.Option(help="Labeled images with a val split; may be repeated.")],
    folder: Annotated[Path | None, typer.Option("--peers", help="Folder with the peers' ONNX files.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Another ONNX file of a known family, or FILE@SIDE; may be repeated.")
    ] = None,
    timed: Annotated[list[str] | None, typer.Option(help="The same, of which only the latency is measured.")] = None,
    by_source: Annotated[
        list[Path] | None, typer.Option(help="One of --data whose sources are reported on their own; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Timed frames of each contestant; 0 measures no latency.")] = 150,
    frame_size: FrameSize = "1280x720",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each set, evenly spaced.")
    ] = None,
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Measure the accuracy and latency of all contestants."""
    if figure is not None and not rounds:
        raise typer.BadParameter("--figure shows accuracy against time; give --rounds")
    unknown = [path for path in by_source or () if path not in data]
    if unknown:
        raise typer.BadParameter(f"--by-source {unknown[0]}: is none of --data")
    frame_bgr = camera_frame(frame_size)
    with exit_on_error():
        check_figure(figure)
        further = [*map(parse_entry, model or ()), *(parse_entry(text, timed_only=True) for text in timed or ())]
        entries, absent = collect_entries(folder, further)
        sets = open_sets(data, by_source=by_source or (), limit=limit)
        document = measure(entries, sets, frame_bgr, rounds=rounds)
        show(*report_lines(document, absent))
        if figure is not None:
            from harness.peers.figure import draw_peers

            draw_peers(figure, document)
        if as_json:
            write_json({**document, "limit": limit, "absent": absent})


if __name__ == "__main__":
    app()
