"""What mmp-archive costs: against a plain loop of Detector.batch, by number of workers, and in memory of the driver.

The cost against the loop is processor time of one process, which other programs on the machine hardly change. Ray is
measured by frames per second, which they do change: look at the load in the document.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from harness.archive import (
    Cost,
    by_ray,
    driver_alone,
    in_one_process,
    loop_conf,
    on_paper,
    plain_loop,
    reading,
    settings_of,
    write_small_videos,
    write_videos,
)
from harness.script import FrameSize, Json, exit_on_error, script_app, show, write_json
from mmpnet.bench.environment import machine_document, model_facts
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.runtime.sources.video_capture import silence_opencv

app = script_app()


@app.command()
def archive(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded model.")] = None,
    frame_size: FrameSize = "1280x720",
    videos: Annotated[int, typer.Option(min=1, help="Number of videos.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each video.")] = 20.0,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, in turns; the least of each is reported.")] = 3,
    workers: Annotated[list[int] | None, typer.Option(min=1, help="Numbers of Ray workers; may be repeated.")] = None,
    kill: Annotated[bool, typer.Option("--kill", help="Run the last of --workers again, and kill a worker.")] = False,
    files: Annotated[int, typer.Option(min=0, help="Small videos for the memory of the driver, by Ray.")] = 0,
    driver: Annotated[int, typer.Option(min=0, help="Small videos for the driver alone, without Ray.")] = 0,
    cores: Annotated[int, typer.Option(min=1, help="Cores of a machine on paper.")] = 16,
    price: Annotated[float, typer.Option(min=0, help="Price of a core hour on paper.")] = 0.04,
    as_json: Json = False,
) -> None:
    """Measure on videos that are made for it. Without --workers and --files, Ray is not started."""
    with exit_on_error(), tempfile.TemporaryDirectory() as name:
        silence_opencv()
        folder, path = Path(name), model_path(model)
        recordings = write_videos(folder / "in", count=videos, seconds=seconds, frame_size=frame_size)
        kinds = ("reading", "loop", "archive", "loop for tracking", "archive and tracking")
        costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
        low_conf = loop_conf(settings_of(path, track=True))
        for repeat in range(repeats):
            costs["reading"].append(reading(recordings))
            costs["loop"].append(plain_loop(recordings, path))
            costs["archive"].append(in_one_process(recordings, path, folder / f"plain{repeat}", track=False))
            costs["loop for tracking"].append(plain_loop(recordings, path, conf=low_conf))
            costs["archive and tracking"].append(in_one_process(recordings, path, folder / f"t{repeat}", track=True))
        best = {what: min(of_it, key=lambda cost: cost.cpu_s) for what, of_it in costs.items()}
        ray = [by_ray(recordings, path, folder / "ray", workers=count) for count in workers or ()]
        if kill and workers:
            ray.append(by_ray(recordings, path, folder / "ray", workers=workers[-1], kill=True))
        small = by_ray(write_small_videos(folder / "small", files), path, folder / "out", workers=1) if files else None
        alone = driver_alone(write_small_videos(folder / "many", driver), path, folder / "alone") if driver else None
        rows = [{"what": what, "frames": one.frames, "ms_per_frame": one.ms_per_frame} for what, one in best.items()]
        extra = {
            "archive": best["archive"].cpu_s / best["loop"].cpu_s - 1,
            "archive and tracking": best["archive and tracking"].cpu_s / best["loop"].cpu_s - 1,
        }
        paper = on_paper(
            best["archive and tracking"].ms_per_frame, cores=cores, price_per_core_hour=price, efficiency=0.9
        )
        show(_table(rows, extra), *map(str, ray), *(str(one) for one in (small, alone) if one), *map(str, paper))
        if as_json:
            measured: dict[str, Any] = {"cost": rows, "extra": extra, "ray": ray, "small_files": small, "driver": alone}
            settings = {"frame_size": frame_size, "videos": videos, "seconds": seconds, "repeats": repeats}
            about = {"machine": machine_document(("ray", "pyarrow")), "model": msgspec.to_builtins(model_facts(path))}
            write_json({**about, "settings": settings, **measured, "on_paper": paper})


def _table(rows: list[dict[str, Any]], extra: dict[str, float]) -> Table:
    table = Table("what", "frames", "ms of one core per frame", "more than the loop")
    for row in rows:
        more = extra.get(row["what"])
        shown = "" if more is None else f"{more:+.1%}"
        table.add_row(row["what"], str(row["frames"]), f"{row['ms_per_frame']:.2f}", shown)
    return table


if __name__ == "__main__":
    app()
