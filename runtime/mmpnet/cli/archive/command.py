"""mmp-archive: detect people in an archive of videos and images, on one machine or many."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.cli.archive.results_commands import QUERY_EXAMPLES, REPORT_EXAMPLES, query, report
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, explain_imports, fail, show_version
from mmpnet.console.help import Example, HelpfulGroup, helpful
from mmpnet.contract.errors import MissingExtraError
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES
from mmpnet.runtime.inference.providers import Provider
from mmpnet.system.signals import InterruptedRunError

PACKAGES = ("pyarrow", "fsspec", "ray")
RUN_EXAMPLES = (
    ("mmp-archive 'recordings/**/*.mp4' -o detections/", "all cores of this machine"),
    ("mmp-archive 'recordings/**/*.mp4' -o detections/ --resume", "go on after a stop, or with new recordings"),
    ("mmp-archive /nfs/recordings -o /nfs/detections --ray-address auto", "all machines of a Ray cluster"),
)


class DefaultToRun(HelpfulGroup):
    """Sends arguments that do not start with a subcommand to `run`."""

    examples = (
        Example("mmp-archive 'recordings/**/*.mp4' -o detections/", "detect people in all of these videos"),
        Example("mmp-archive report detections/", "a page with people per hour and camera"),
        Example("mmp-archive query detections/ \"camera = 'door' and hour between 7 and 9\"", "ask for detections"),
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *HELP_NAMES["help_option_names"]):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultToRun,
    help="Detect people in an archive of videos and images, on one machine or many, and ask about the results. "
    "mmp-archive PATTERN is short for mmp-archive run PATTERN; mmp-archive run --help lists its options.",
    context_settings=HELP_NAMES,
    pretty_exceptions_enable=False,
)


@app.command(cls=helpful("--output", "--resume", "--model", "--every", "--ray-address", examples=RUN_EXAMPLES))
def run(
    patterns: Annotated[
        list[str], typer.Argument(metavar="PATTERN...", help="Files, folders, glob patterns or addresses (s3://...).")
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="Folder of the results, which all machines of a cluster must see, or s3://BUCKET/NAME.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help=f"An ONNX file, or a model of this package: {OTHER_NAMES}; default: {DEFAULT_MODEL}."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the results in the output folder.")] = False,
    every: Annotated[int, typer.Option(min=1, help="Use every N-th frame of a video only.")] = 1,
    track: Annotated[bool, typer.Option(help="Give each person in a video a number.")] = True,
    conf: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score; default: the model's own.")] = None,
    iou: Annotated[float | None, typer.Option(min=0, max=1, help="IoU of NMS; default: the model's own.")] = None,
    max_det: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of boxes per frame; default: the model's own.")
    ] = None,
    camera_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression whose group is the camera in a path; default: the folder's name."),
    ] = None,
    part_minutes: Annotated[
        float, typer.Option(min=0.01, help="Split videos of twice this length or more into parts of this length.")
    ] = 10.0,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, or auto; default: start Ray on this machine.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=100_000, help="Number of worker processes; 0 is one per core.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Inference threads of each worker.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, max=64, help="Share of a GPU that each worker takes; 0: none.")] = 0.0,
    provider: Annotated[
        Provider, typer.Option(help="Execution provider of all workers; auto is CUDA with --gpus, otherwise the CPU.")
    ] = "auto",
    metrics: Annotated[
        Path | None, typer.Option(help="Write counts of the run to this .prom file, for Prometheus' node exporter.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect people in videos and images, and write one Parquet file for each video."""
    with exit_on_error():
        _check_pattern(camera_pattern)
        _require_cluster_packages()
        with explain_imports(extra="cluster"):
            from mmpnet.archive.placement import GPU_PROVIDERS, worker_provider
            from mmpnet.archive.places import absolute, place_of
            from mmpnet.archive.ray_engine import EngineOptions, ray_workers
            from mmpnet.archive.recordings import find_recordings
            from mmpnet.archive.run import Watcher, prepare_folder, run_archive
            from mmpnet.cli.archive.progress_display import ProgressDisplay, duration
            from mmpnet.cli.archive.run_settings import run_settings
            from mmpnet.runtime.analytics.tracker import Tracker
            from mmpnet.runtime.inference.detector import Detector
            from mmpnet.runtime.sources.video_capture import silence_opencv
        silence_opencv()
        place = place_of(output)
        recordings = find_recordings(patterns, camera_pattern=camera_pattern)
        if track:
            Tracker(frame_rate=1.0)  # reports missing packages before the work starts
        used_provider = worker_provider(provider, gpus=gpus)
        # This machine may be one without a GPU, which only gives out the work.
        with Detector(model, provider="cpu" if used_provider in GPU_PROVIDERS else used_provider) as detector:
            settings = run_settings(
                detector, (conf, iou, max_det), track=track, every=every, camera_pattern=camera_pattern
            )
        engine = EngineOptions(ray_address, workers, threads, gpus, used_provider)
        display = ProgressDisplay(console(), metrics)
        claim = prepare_folder(
            place,
            detector.path,
            settings,
            resume=resume,
            patterns=patterns,
            provider=used_provider,
            notify=console().print,
        )
        console().print(f"{detector.path.name} for {counted(len(recordings), 'file')}; starting Ray")
        try:
            with claim, ray_workers(place, settings, engine, notify=console().print) as execute:
                done = run_archive(
                    recordings,
                    absolute(place),
                    execute,
                    part_s=part_minutes * 60,
                    watcher=Watcher(console().print, display.show),
                    claim=claim,
                )
        except KeyboardInterrupt:
            raise InterruptedRunError(f"stopped; finished files are kept, go on with --resume -o {place}") from None
        finally:
            display.close()
        console().print(
            f"{counted(done.videos, 'video')}, {counted(done.images, 'image')}: {counted(done.frames, 'frame')}, "
            f"{counted(done.detections, 'detection')} in {duration(done.elapsed_s)}; saved {place}"
        )
        if done.failed:
            fail(f"{counted(done.failed, 'file')} could not be read completely; {place / 'failed.parquet'} says why")


app.command(cls=helpful("--output", examples=REPORT_EXAMPLES))(report)
app.command(cls=helpful("--format", "--limit", examples=QUERY_EXAMPLES))(query)


def _require_cluster_packages() -> None:
    """Raises: MissingExtraError naming the first package that is missing."""
    for name in PACKAGES:
        if find_spec(name) is None:
            raise MissingExtraError(f"mmp-archive needs {name}: pip install 'mmpnet[cluster]'")


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise typer.BadParameter(f"--camera-pattern {pattern}: is no regular expression ({error})") from error


def main() -> None:
    """Entry point of mmp-archive."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    app()
