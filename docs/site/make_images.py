"""Make the images of the documentation that show what people look at: the web page, a report, a video, a roofline.

    python docs/site/make_images.py --clip CLIP.mp4 --data DATA

CLIP is a video with people who cross its middle, DATA a dataset with a val split; its images are not shown.
Needs mmpnet[eval,serve,track], playwright and a Chromium.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, sync_playwright

from mmpnet.console.command import console, exit_on_error
from mmpnet.contract.errors import MmpnetError
from mmpnet.media.images import read_image, write_image

IMAGES = Path(__file__).parents[1] / "images"
LINE = "door=50%,0,50%,100%"
DESKTOP, PHONE = {"width": 1000, "height": 900}, {"width": 390, "height": 1300}
START_S = 90.0
app = typer.Typer(add_completion=False)


def free_address() -> str:
    """An address of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def served(clip: Path) -> Iterator[str]:
    """The address of a page that shows the clip again and again. Raises: MmpnetError if it does not start."""
    address = free_address()
    command = ["mmp-run", "person-320-int8", clip.name, "--loop", "--line", LINE, "--no-show", "--serve", address]
    command += ["--store", "events.sqlite"]
    with subprocess.Popen(command, cwd=clip.parent, stderr=subprocess.DEVNULL) as running:
        try:
            deadline_s = time.monotonic() + START_S
            while not answers(f"http://{address}/snapshot.jpg"):
                if running.poll() is not None or time.monotonic() > deadline_s:
                    raise MmpnetError(f"{' '.join(command)}: serves no page; run it by hand to see why")
                time.sleep(0.5)
            yield f"http://{address}/"
        finally:
            running.terminate()


def answers(url: str) -> bool:
    """Whether a GET of this address succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def photograph_page(browser: Browser, url: str, name: str, *, size: dict[str, int], dark: bool, wait_s: float) -> None:
    """Save what the page at this address looks like after some seconds; the live one, once it shows somebody."""
    page = browser.new_page(
        viewport=size,  # type: ignore[arg-type]
        color_scheme="dark" if dark else "light",
        device_scale_factor=1.5,
    )
    page.goto(url)
    page.wait_for_timeout(wait_s * 1000)
    people = page.locator(".people")
    ends_s = time.monotonic() + 60
    while people.count() and people.first.text_content() in ("–", "0"):
        if time.monotonic() > ends_s:
            raise MmpnetError(f"{name}: the page shows nobody for a minute; give a clip with people")
        page.wait_for_timeout(200)
    page.screenshot(path=IMAGES / name, type="jpeg", quality=85)
    page.close()


def command_images(clip: Path, data: Path, folder: Path) -> None:
    """Save a frame of an annotated video and a roofline, and write a report into the folder."""
    video, frame = folder / "out.avi", folder / "frame.png"
    run_command("mmp-run", "person-320-int8", clip, "--line", LINE, "--save", video, "--limit", "420", "--no-show")
    run_command("ffmpeg", "-loglevel", "error", "-sseof", "-1", "-i", video, "-frames:v", "1", frame)
    write_image(IMAGES / "video.jpg", read_image(frame))
    report = folder / "report.html"
    run_command("mmp-val", "person-320-int8", "--data", data, "--bootstrap", "200", "--report", report)
    run_command("mmp-bench", "layers", "person-320-int8", "--runs", "20", "--plot", IMAGES / "roofline.png")


def run_command(*command: object) -> None:
    """Run a command to its end. Raises: MmpnetError if it is not installed or fails."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        raise MmpnetError(f"{words[0]}: is not installed")
    if subprocess.run(words, check=False).returncode:
        raise MmpnetError(f"{' '.join(words)}: failed; its messages are above")


@app.command()
def make(
    clip: Annotated[Path, typer.Option(help="A video with people who cross its middle.")],
    data: Annotated[Path, typer.Option(help="A dataset with a val split.")],
    wait: Annotated[float, typer.Option(help="Seconds that the page runs before its image is taken.")] = 20.0,
) -> None:
    """Write page.jpg, page-dark.jpg, page-phone.jpg, report.jpg, roofline.png and video.jpg."""
    with exit_on_error(), tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        clip = Path(shutil.copy(clip, folder / f"entrance{clip.suffix}"))  # the page shows this name
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with served(clip) as url:
            photograph_page(browser, url, "page.jpg", size=DESKTOP, dark=False, wait_s=wait)
            photograph_page(browser, url, "page-dark.jpg", size=DESKTOP, dark=True, wait_s=3)
            photograph_page(browser, url, "page-phone.jpg", size=PHONE, dark=False, wait_s=3)
        command_images(clip, data, folder)
        report = (folder / "report.html").as_uri()
        photograph_page(browser, report, "report.jpg", size=DESKTOP, dark=False, wait_s=1)
        browser.close()
        console().print(f"saved the images in {IMAGES}")


if __name__ == "__main__":
    sys.exit(app())
