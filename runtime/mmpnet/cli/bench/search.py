"""mmp-bench search: the most accurate setting within a time budget."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from mmpnet.bench.latency import sample_frame
from mmpnet.bench.search.candidates import Exported, ExportPlan, collect
from mmpnet.bench.search.report import Rank
from mmpnet.bench.search.search import SearchPlan, require_samples, search
from mmpnet.cli.bench.options import TOO_SLOW, FrameSize, Json, Picture, Wanted, frame_hw_of, write_json
from mmpnet.cli.bench.search_tables import show_search
from mmpnet.console.command import console, exit_on_error, parse_size_hw
from mmpnet.console.progress import progress_bar
from mmpnet.contract.errors import OutputError
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.coco import require_pycocotools
from mmpnet.system.machine import usable_cores
from mmpnet.system.optional_packages import require_report_packages

REPORT_NAME = "report.html"


def search_command(
    models: Annotated[
        list[str],
        typer.Argument(help="A checkpoint .pth, which is exported at several sizes; or exported files to choose from."),
    ],
    target_ms: Annotated[float, typer.Option(min=0.001, help="Most ms a frame, from pixels to boxes.")],
    data: Annotated[list[Path], typer.Option(help="Labelled pictures to judge by: their val split, where divided.")],
    imgsz: Annotated[
        list[str] | None,
        typer.Option(help="For .pth: N or HEIGHTxWIDTH in px, may be repeated; default: that of training down to 0.6."),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="For .pth: fp32 or int8, may be repeated; default: both.")
    ] = None,
    calib: Annotated[
        list[Path] | None, typer.Option(help="For int8: pictures that fix the ranges; default: --data.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=0, max=1024, help="May be repeated; default: 1, 2, 4 ... usable cores.")
    ] = None,
    rank: Annotated[Rank, typer.Option(help="Which of the times must keep to the target.")] = "p50",
    provider: Wanted = "auto",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Rounds through all settings.")] = 5,
    frames: Annotated[int, typer.Option(min=1, max=100_000, help="Timed frames of a setting and round.")] = 40,
    frame_size: FrameSize = None,
    picture: Picture = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge by so many of the pictures, evenly drawn.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of the files made and of {REPORT_NAME}.")] = Path(
        "runs/search"
    ),
    as_json: Json = False,
) -> None:
    """Find the most accurate input size, precision and number of threads within a time budget, on this machine."""
    with exit_on_error():
        require_pycocotools()
        require_report_packages()
        plan = SearchPlan(
            target_ms=target_ms,
            rank=rank,
            threads=tuple(dict.fromkeys(threads or _powers_of_two())),
            provider=provider,
            repeats=repeats,
            frames=frames,
        )
        require_samples(plan)
        frame_bgr = sample_frame(picture, frame_hw_of(frame_size))
        dataset = _thinned(load_dataset(data, "val", undivided=True), limit)
        wanted = ExportPlan(
            sizes_hw=tuple(dict.fromkeys(parse_size_hw(text) for text in imgsz or ())),
            precisions=_precisions(precision),
            calib=tuple(calib or data),
            folder=_made(out),
        )
        paths, left_out = collect(models, wanted, console().print)
        report = search(paths, plan, dataset, frame_bgr, left_out=left_out, progress=progress_bar)
        if as_json:
            write_json(report)
        else:
            show_search(console(), report, out)
        # matplotlib takes its time to load, and only now is it needed.
        from mmpnet.bench.search.page import write_search_page

        write_search_page(out / REPORT_NAME, report, out)
        console().print(f"saved {out / REPORT_NAME}")
    if report.chosen is None:
        raise typer.Exit(TOO_SLOW)


def _precisions(texts: Sequence[str] | None) -> tuple[Exported, ...]:
    known: tuple[Exported, ...] = get_args(Exported)
    unknown = [text for text in texts or () if text not in known]
    if unknown:
        raise typer.BadParameter(f"--precision {unknown[0]!r}: expected {' or '.join(known)}")
    return tuple(one for one in known if not texts or one in texts)


def _powers_of_two() -> list[int]:
    """1, 2, 4 ... up to what this process may use."""
    most = max(1, int(usable_cores()))
    return [2**power for power in range(most.bit_length())]


def _thinned(dataset: Dataset, limit: int | None) -> Dataset:
    """So many pictures from all over the data set."""
    if limit is None or limit >= len(dataset.images):
        return dataset
    count = len(dataset.images)
    chosen = tuple(dataset.images[index * count // limit] for index in range(limit))
    return dataclasses.replace(dataset, images=chosen, name=f"{dataset.name} ({limit} of {count})")


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: is not a folder ({error.strerror}); choose another --out") from error
    return folder
