"""What mmp-run shows while it runs: updating lines on a terminal, plain lines elsewhere."""

import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mmpnet.cli.run.console_sink import ConsoleSink
from mmpnet.cli.run.run_display import RunDisplay
from mmpnet.contract.detections import Detections
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sources.files import FileSource
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.runtime.sources.length import stated_frames
from support.frames import write_video
from support.results import make_result

MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")
NAMES = ("background", "person", "dog")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return plain(console.file.getvalue())


def two_people_and_a_dog(*, stream: int) -> Result:
    boxes = np.tile(np.array([[10, 10, 40, 80]], np.float32), (3, 1))
    found = Detections(boxes, np.full(3, 0.9, np.float32), np.array([1, 1, 2]))
    counts = {"door": {"in_count": 9, "out_count": 4}, "gate": {"in_count": 5, "out_count": 5}, "till": {"count": 1}}
    result = make_result(np.zeros((90, 160, 3), np.uint8), detections=found, counts=counts)
    return replace(result, frame=replace(result.frame, stream=stream), age_ms=22.4)


def display_of(console: Console, *sources: SourceCounts, totals: tuple[int | None, ...] = ()) -> RunDisplay:
    display = RunDisplay(console, totals, noun="people", counted_ids=[1])
    display.start(Summary(sources=list(sources)))
    return display


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the display, in seconds."""
    now = [100.0]
    monkeypatch.setattr("mmpnet.cli.run.run_display.time.monotonic", lambda: now[0])
    return now


def test_a_camera_has_one_line_with_its_rate_age_people_and_crossings(second: list[float]) -> None:
    console, counts = terminal(), SourceCounts("front door", live=True, state="live")
    display = display_of(console, counts)
    for _ in range(30):
        second[0] += 0.1
        counts.processed += 1
        display.update(two_people_and_a_dog(stream=0))
    assert "front door live 10.0 fps, 22 ms old, 2 people, in 14 out 9" in shown(console)
    display.stop()


def test_a_camera_that_is_away_shows_its_state_and_no_old_figures(second: list[float]) -> None:
    console, counts = terminal(), SourceCounts("front door", live=True, state="live")
    display = display_of(console, counts)
    display.update(two_people_and_a_dog(stream=0))
    assert "2 people" in shown(console)
    counts.state = "reconnecting"
    before = len(shown(console))
    second[0] += 1
    display.refresh()
    assert "reconnecting" in shown(console)[before:]
    assert "people" not in shown(console)[before:]
    display.stop()


def test_a_file_has_a_bar_with_its_rate_and_the_time_left(second: list[float]) -> None:
    console, counts = terminal(), SourceCounts("street.mp4", live=False)
    display = display_of(console, counts, totals=(400,))
    for _ in range(10):
        second[0] += 0.5
        counts.processed += 10
        display.update(two_people_and_a_dog(stream=0))
    assert re.search(r"street\.mp4 \S+ +25 % 20 fps, 2 people, in 14 out 9, 0:00:15 left", shown(console))
    display.stop()


def test_a_file_without_a_known_length_has_no_bar_and_no_time_left(second: list[float]) -> None:
    console, counts = terminal(), SourceCounts("in", live=False, processed=7)
    display = display_of(console, counts, totals=(None,))
    second[0] += 1
    display.refresh()
    assert "in 7 frames, 0 fps, 0 people" in shown(console)
    assert "left" not in shown(console)
    display.stop()


def test_it_draws_a_few_times_per_second_only(second: list[float]) -> None:
    console, counts = terminal(), SourceCounts("front door", live=True, state="live")
    display = display_of(console, counts)
    for _ in range(100):
        second[0] += 0.01
        display.update(two_people_and_a_dog(stream=0))
    assert 3 <= shown(console).count("front door") <= 6
    display.stop()


def test_a_log_file_gets_no_updating_line() -> None:
    console = Console(file=io.StringIO(), width=100)
    sink = ConsoleSink(console, NAMES)
    summary = Summary(sources=[SourceCounts("front door", live=True, state="live")])
    sink.started(summary)
    for _ in range(5):
        sink.write(two_people_and_a_dog(stream=0), None)
        sink.idle()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


@pytest.mark.parametrize("stride", [1, 3])
def test_the_stated_length_of_videos_and_images_is_what_a_run_gets(tmp_path: Path, stride: int) -> None:
    paths = (write_video(tmp_path / "a.avi", count=20), write_video(tmp_path / "b.avi", count=7))
    source = FileSource(paths, many_files=True, stride=stride)
    assert stated_frames(paths, stride=stride) == len(list(source))
    assert stated_frames([Path("1.jpg"), Path("2.png")]) == 2
    assert stated_frames([]) is None
    assert stated_frames([tmp_path / "none.mp4"]) is None


def test_on_a_real_terminal_the_bar_disappears_and_stdout_stays_data(tmp_path: Path, tiny_onnx: Path) -> None:
    video = write_video(tmp_path / "walk.avi", count=20, size_hw=(240, 320))
    command = [*MMP_RUN, str(tiny_onnx), "--source", str(video), "--no-show", "--threads", "1", "--json", "-"]
    outer, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with open(tmp_path / "out.ndjson", "wb") as out:  # noqa: PTH123
        running = subprocess.Popen(command, stderr=inner, stdout=out, env=environment)
        os.close(inner)
        seen = b""
        while True:
            try:
                part = os.read(outer, 65536)
            except OSError:  # the terminal has no writer any more
                break
            if not part:
                break
            seen += part
        assert running.wait(60) == 0
    os.close(outer)
    text = plain(seen.decode())
    assert re.search(r"\d+ %", text), text
    assert "detection" in text.splitlines()[-1]
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 20
