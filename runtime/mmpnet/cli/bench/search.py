"""mmp-bench search: the most accurate setting within a time budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from mmpnet.bench.search.choices import Exported, Rank
from mmpnet.cli.bench.options import TOO_SLOW, FrameSize, ImageFile, Json, ProviderChoice, frame_hw_of
from mmpnet.console.command import console, exit_on_error, explain_imports, parse_size_hw
from mmpnet.console.progress import progress_bar
from mmpnet.contract.errors import OutputError
from mmpnet.system.claims import Claim
from mmpnet.system.machine import whole_cores
from mmpnet.system.optional_packages import require_report_packages

REPORT_NAME = "report.html"
SIZES_HELP = "For .pth: N or HEIGHTxWIDTH in px, may be repeated; default: training size and 0.9 to 0.6 of it."

Models = Annotated[
    list[str], typer.Argument(help="A checkpoint .pth, which is exported at several sizes; or exported files.")
]
TargetMs = Annotated[float, typer.Option(min=0.001, help="Time budget per frame in ms, from pixels to boxes.")]
Data = Annotated[list[Path], typer.Option(help="Labeled images to evaluate on: their val split, if they have splits.")]
Sizes = Annotated[list[str] | None, typer.Option(help=SIZES_HELP)]
Precisions = Annotated[list[str] | None, typer.Option(help="For .pth: fp32 or int8, may be repeated; default: both.")]
Calib = Annotated[list[Path] | None, typer.Option(help="For int8: images for calibration; default: --data.")]
SeveralThreads = Annotated[
    list[int] | None,
    typer.Option(min=0, max=1024, help="Threads to try, may be repeated; default: 1, 2, 4 ... usable cores."),
]
RankOption = Annotated[Rank, typer.Option(help="The percentile of the times that must meet --target-ms.")]
Repeats = Annotated[int, typer.Option(min=1, max=1000, help="Number of rounds through all settings.")]
Frames = Annotated[int, typer.Option(min=1, max=100_000, help="Number of timed frames per setting and round.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate on at most this many images, evenly spaced.")]
Out = Annotated[Path, typer.Option("--out", "-o", help=f"Folder for exported files and {REPORT_NAME}.")]


def search_command(
    models: Models,
    target_ms: TargetMs,
    data: Data,
    imgsz: Sizes = None,
    precision: Precisions = None,
    calib: Calib = None,
    threads: SeveralThreads = None,
    rank: RankOption = "p50",
    provider: ProviderChoice = "auto",
    repeats: Repeats = 5,
    frames: Frames = 40,
    frame_size: FrameSize = None,
    image: ImageFile = None,
    limit: Limit = None,
    out: Out = Path("runs/search"),
    as_json: Json = False,
) -> None:
    """Find the most accurate input size, precision and number of threads within a time budget, on this machine."""
    with exit_on_error():
        frame_hw = frame_hw_of(frame_size)
        sizes_hw = tuple(dict.fromkeys(parse_size_hw(text) for text in imgsz or ()))
        precisions = _precisions(precision)
        with explain_imports(extra="cpu"):
            from mmpnet.bench.latency import sample_frame
            from mmpnet.bench.search.candidates import ExportPlan, collect
            from mmpnet.bench.search.search import SearchPlan, require_samples, search
            from mmpnet.cli.bench.search_steps import images_of, write_report
            from mmpnet.evaluation.coco import require_pycocotools
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
        frame_bgr = sample_frame(image, frame_hw)
        dataset = images_of(data, limit)
        exports = ExportPlan(
            sizes_hw=sizes_hw,
            precisions=precisions,
            calib=tuple(calib or data),
            folder=_made(out),
        )
        with Claim(out / REPORT_NAME):
            paths, left_out = collect(models, exports, console().print)
            report = search(paths, plan, dataset, frame_bgr, left_out=left_out, progress=progress_bar)
            write_report(report, out / REPORT_NAME, as_json=as_json)
    if report.chosen is None:
        raise typer.Exit(TOO_SLOW)


def _precisions(texts: Sequence[str] | None) -> tuple[Exported, ...]:
    known: tuple[Exported, ...] = get_args(Exported)
    unknown = [text for text in texts or () if text not in known]
    if unknown:
        raise typer.BadParameter(f"--precision {unknown[0]!r}: expected {' or '.join(known)}")
    return tuple(one for one in known if not texts or one in texts)


def _powers_of_two() -> list[int]:
    """1, 2, 4 ... up to the number of usable cores."""
    most = whole_cores()
    return [2**power for power in range(most.bit_length())]


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out folder") from error
    return folder
