"""Make the images of the documentation that show a window, terminals, mistakes, a search, an archive, and the page in
trouble.

    python docs/site/make_state_images.py --clip CLIP.mp4 --only doctor

CLIP is a video that shows people all the time. Needs mmpnet[cpu,eval,train,serve,track,cluster], playwright and a
Chromium; the window also needs Xvfb and ffmpeg. The images of mistakes and of the search show drawn people
(`--data sample`).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

from make_images import DESKTOP, IMAGES, answers, free_address, run_command
from mmpnet.console.command import console, exit_on_error
from mmpnet.contract.errors import MmpnetError
from mmpnet.datasets.sample import write_sample
from mmpnet.media.images import read_image, write_image

DISPLAY, SCREEN = ":97", "800x500"
COLUMNS = 90
START_S = 180.0
TARGET_MS = 150
"""Of the search; slow, so that a machine that has other work can make the image."""
REPORT = {"width": 1280, "height": 720}
RECORDINGS = {
    "door": ("08-58-00", "09-10-00", "09-40-00", "11-05-00", "11-20-00", "13-30-00"),
    "yard": ("09-30-00", "12-10-00", "17-00-00"),
}
"""Of the archive: the times at which the recordings of each camera start."""
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
app = typer.Typer(add_completion=False)


def terminal_image(words: list[str], target: Path) -> None:
    """Save what a command prints as an SVG, which needs no font of another host."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TTY_COMPATIBLE": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    recorder = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    recorder.print(Text(f"$ {' '.join(words)}"))
    recorder.print(Text.from_ansi(done.stdout))
    target.write_text(FONT_FACE.sub("", recorder.export_svg(title="")))


def doctor(_clip: Path, _folder: Path) -> None:
    """doctor.svg: what mmp-doctor prints."""
    terminal_image(["mmp-doctor", "--no-cameras"], IMAGES / "doctor.svg")


def window(clip: Path, folder: Path) -> None:
    """window.jpg: the window of mmp-run, on a virtual display."""
    with subprocess.Popen(["Xvfb", DISPLAY, "-screen", "0", f"{SCREEN}x24"], stderr=subprocess.DEVNULL) as display:
        try:
            shown = {**os.environ, "DISPLAY": DISPLAY, "QT_LOGGING_RULES": "*=false"}
            command = ["mmp-run", "person-320-int8", str(clip), "--loop", "--track"]
            with subprocess.Popen(command, env=shown, stderr=subprocess.DEVNULL) as running:
                time.sleep(START_S / 4)
                grab = ["ffmpeg", "-loglevel", "error", "-f", "x11grab", "-video_size", SCREEN, "-i", DISPLAY]
                run_command(*grab, "-frames:v", "1", folder / "window.png")
                running.terminate()
        finally:
            display.terminate()
    write_image(IMAGES / "window.jpg", read_image(folder / "window.png"))


def mistakes(_clip: Path, folder: Path) -> None:
    """mistakes.jpg: the sheet of mmp-val on drawn people."""
    write_sample(folder / "sample")
    run_command(
        "mmp-val", "person-224-int8", "--data", folder / "sample", "--bootstrap", "0", "--sheet", folder / "m.png"
    )
    write_image(IMAGES / "mistakes.jpg", read_image(folder / "m.png"))


def search(_clip: Path, folder: Path) -> None:
    """search.jpg: the report of mmp-bench search at 1280 px."""
    write_sample(folder / "sample")
    models = ["person-320-int8", "person-192x320-int8", "person-224-int8", "person-320"]
    run_command(
        *("mmp-bench", "search", *models, "--target-ms", TARGET_MS, "--data", folder / "sample"),
        *("--threads", "1", "--repeats", "3", "--frames", "10", "--out", folder / "search"),
    )
    with browser_page() as page:
        page.set_viewport_size(REPORT)  # type: ignore[arg-type]
        page.goto((folder / "search" / "report.html").as_uri())
        page.wait_for_timeout(1000)
        page.screenshot(path=IMAGES / "search.jpg", type="jpeg", quality=85)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > REPORT["width"]:
            raise MmpnetError(f"the report is {width} px wide, expected at most {REPORT['width']} px")


def archive_report(clip: Path, folder: Path) -> None:
    """archive-report.jpg: the page of mmp-archive report, for the clip as several recordings of two cameras."""
    for camera, times in RECORDINGS.items():
        (folder / "recordings" / camera).mkdir(parents=True)
        for time_of_day in times:
            shutil.copy(clip, folder / "recordings" / camera / f"2026-11-27_{time_of_day}{clip.suffix}")
    results = folder / "detections"
    run_command("mmp-archive", folder / "recordings", "-o", results, "--workers", "1")
    run_command("mmp-archive", "report", results)
    with browser_page() as page:
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.goto((results / "report.html").as_uri())
        page.screenshot(path=IMAGES / "archive-report.jpg", type="jpeg", quality=80)


def page_states(clip: Path, _folder: Path) -> None:
    """page-token.jpg, page-away.jpg, page-lost.jpg: without the token, without one camera, without the server."""
    address = free_address()
    command = [
        *("mmp-run", "person-224-int8", "--source", f"door={clip}", "--source", "yard=rtsp://127.0.0.1:9/live"),
        *("--reconnect", "--loop", "--line", "door/entrance=50%,0,50%,100%", "--no-show", "--serve", address),
    ]
    secret = {**os.environ, "MMPNET_TOKEN": "a-long-random-text"}
    with subprocess.Popen(command, env=secret, stderr=subprocess.DEVNULL) as running, browser_page() as page:
        try:
            url = f"http://{address}/"
            wait_for(lambda: answers(f"{url}snapshot.jpg?token=a-long-random-text"), running)
            page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
            for name, path in (("page-token.jpg", ""), ("page-away.jpg", "?token=a-long-random-text")):
                page.goto(url + path)
                page.wait_for_timeout(8000)
                page.screenshot(path=IMAGES / name, type="jpeg", quality=85)
        finally:
            running.terminate()
            running.wait()
        page.wait_for_timeout(8000)
        page.screenshot(path=IMAGES / "page-lost.jpg", type="jpeg", quality=85)


def wait_for(is_there: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    """Raises: MmpnetError if the process ends first, or does not get there in time."""
    deadline_s = time.monotonic() + START_S
    while not is_there():
        if running.poll() is not None or time.monotonic() > deadline_s:
            raise MmpnetError(f"{running.args!r}: serves no page; run it by hand to see why")
        time.sleep(0.5)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser.new_page(device_scale_factor=1.5)
        browser.close()


MADE = {one.__name__: one for one in (doctor, window, mistakes, search, archive_report, page_states)}


@app.command()
def make(
    clip: Annotated[Path, typer.Option(help="A video with people.")],
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(MADE)}; may be repeated.")] = None,
) -> None:
    """Write the images, or those that are named."""
    with exit_on_error(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = Path(shutil.copy(clip, folder / f"entrance{clip.suffix}"))  # the window shows this name
        for one in only or MADE:
            MADE[one](shown, folder)
            console().print(f"made: {MADE[one].__doc__}")


if __name__ == "__main__":
    sys.exit(app())
