"""NDJSON to readers that sleep, start late, read slowly or do not exist."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks import line_writer
from mmpnet.runtime.sinks.line_writer import GRACE_S, LineWriter, check_ndjson, open_ndjson
from mmpnet.runtime.sinks.ndjson import NdjsonSink
from mmpnet.runtime.sources.frame import Event
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from support.frames import read_video, write_video

MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")
LINE = "x" * 999 + "\n"
Opened = tuple[LineWriter, int, int]
"""The target; the reader's descriptor; the writer's descriptor that others share."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_sleeping_reader_keeps_no_run_from_its_end(tmp_path: Path, tiny_onnx: Path, number: signal.Signals) -> None:
    video, out = write_video(tmp_path / "in.avi", count=20), tmp_path / "out.avi"
    reading, writing = os.pipe()
    command = [*MMP_RUN, str(tiny_onnx), "--source", str(video), "--loop", "--conf", "0", "--no-show"]
    command += ["--threads", "1", "--save", str(out), "--json", "-"]
    running = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while select.select([], [writing], [], 0)[1]:  # that nothing more comes may also mean that the run is slow
        assert time.monotonic() < until
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    time.sleep(1)  # if the pipe is full after a whole line, only the next one can be lost
    running.send_signal(number)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    assert len(read_video(out)) > 1
    assert "its reader does not read; the last lines are lost" in stderr.replace("\n", " ")
    os.close(reading)
    os.close(writing)


@pytest.fixture(params=["pipe as stdout", "socket as stdout", "terminal as stdout", "FIFO", "terminal"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Opened, threading.Event]]:
    """An output with a reader, and an event that requests a stop."""
    stop = threading.Event()
    target = "-"
    if "pipe" in request.param:
        reading, writing = os.pipe()
    elif "socket" in request.param:
        reading, writing = (end.detach() for end in socket.socketpair())
    elif "terminal" in request.param:
        reading, writing = os.openpty()
        target = "-" if "stdout" in request.param else os.ttyname(writing)
    else:
        target = str(tmp_path / "fifo")
        os.mkfifo(target)
        reading = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(target, os.O_WRONLY)
        os.set_blocking(reading, True)
    with os.fdopen(os.dup(writing), "w") as stdout, monkeypatch.context() as patched:
        if target == "-":
            patched.setattr(sys, "stdout", stdout)
        output = open_ndjson(target, stop)
        yield (output, reading, writing), stop
        output.close()
    for descriptor in (reading, writing):
        with suppress(OSError):
            os.close(descriptor)


def test_a_reader_that_sleeps_is_waited_for_until_the_run_is_to_end(
    opened: tuple[Opened, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that advances by a second at each call, so that twice GRACE_S passes after a few calls."""
    (output, _, shared), stop = opened
    looks: list[float] = []

    def monotonic() -> float:
        looks.append(float(len(looks)))
        return looks[-1]

    monkeypatch.setattr(line_writer, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    threading.Timer(0.6, stop.set).start()
    with pytest.raises(TimeoutError):
        output.write(LINE * 2000)
    assert stop.is_set(), "before that, it waits as long as it takes"
    assert GRACE_S < len(looks) < 2 * GRACE_S + 3
    in_grace = len(looks)
    with pytest.raises(TimeoutError):
        output.write(LINE)
    assert len(looks) == in_grace + 1, "the grace is for all that is left to say"
    assert os.get_blocking(shared), "others write there too"


def test_a_slow_reader_gets_every_byte(opened: tuple[Opened, threading.Event]) -> None:
    (output, reading, _), stop = opened
    got = bytearray()
    lines = [f"{number:09d}{LINE[9:]}" for number in range(200)]
    wanted = "".join(lines).encode()

    def read() -> None:
        while len(got.replace(b"\r", b"")) < len(wanted):
            time.sleep(0.001)
            got.extend(os.read(reading, 5000))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    stop.set()  # a stop does not lose data either, as long as the reader reads
    for line in lines:
        output.write(line)
    reader.join(20)
    assert got.replace(b"\r", b"") == wanted  # a terminal adds its own line ends


def test_a_fifo_without_a_reader_is_waited_for(tmp_path: Path) -> None:
    target, stop = str(tmp_path / "fifo"), threading.Event()
    os.mkfifo(target)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(TimeoutError, match="it has no reader"):
        open_ndjson(target, stop)
    stop.clear()
    readers: list[int] = []
    reader = threading.Timer(0.3, lambda: readers.append(os.open(target, os.O_RDONLY)))
    reader.start()
    output = open_ndjson(target, stop)
    output.write("{}\n")
    output.close()
    reader.join(60)
    assert os.read(readers[0], 100) == b"{}\n"
    os.close(readers[0])


def opening() -> Event:
    return Event("camera 0", "connecting", datetime.now(UTC))


def test_stdout_hears_of_a_source_that_never_comes(capsys: pytest.CaptureFixture[str]) -> None:
    sink = NdjsonSink("-", ("background", "person"))
    sink.event(opening())
    assert json.loads(capsys.readouterr().out)["event"] == "connecting", "at once"
    sink.finished(Summary(sources=[SourceCounts("camera 0", live=True)]))
    sink.close()
    assert json.loads(capsys.readouterr().out)["event"] == "summary"


def test_a_fifo_hears_of_a_source_that_never_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    sink = NdjsonSink(str(tmp_path / "fifo"), ("background", "person"))
    sink.event(opening())
    assert json.loads(os.read(reading, 1000))["event"] == "connecting"
    sink.close()
    os.close(reading)


def test_a_file_survives_a_source_that_never_comes(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text("yesterday\n")
    sink = NdjsonSink(str(path), ("background", "person"))
    sink.event(opening())
    sink.finished(Summary(sources=[SourceCounts("camera 0", live=True)]))
    sink.close()
    assert path.read_text() == "yesterday\n"


def test_a_closed_stdout_is_one_line(tiny_onnx: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.avi", count=2)
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *MMP_RUN, str(tiny_onnx), "--source", str(video), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: --json -: stdout is closed; leave it open, or give a file"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the file size simulates a full disk: the kernel writes what fits, then refuses."""
    code = """
import resource, signal, sys, threading
from mmpnet.runtime.sinks.line_writer import open_ndjson
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (105, 105))
lines = open_ndjson(sys.argv[1], threading.Event())
try:
    for number in range(100):
        lines.write('{"frame": %d}\\n' % (number + 10))
except OSError as error:
    print(error.strerror)
"""
    path = tmp_path / "out.ndjson"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    content = path.read_text()
    assert [json.loads(line)["frame"] for line in content.splitlines()] == list(range(10, 17))
    assert content.endswith("}\n")


def test_lines_continue_where_a_file_was_cut_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    lines = open_ndjson(str(path), threading.Event())
    lines.write("1\n")
    os.truncate(path, 0)
    lines.write("2\n")
    lines.close()
    assert path.read_bytes() == b"2\n"


def test_live_lines_are_appended_after_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text('{"frame": 0}\n{"fra')
    lines = open_ndjson(str(path), threading.Event(), append=True)
    lines.write("1\n")
    lines.close()
    assert path.read_text() == '{"frame": 0}\n{"fra\n1\n'
    again = open_ndjson(str(path), threading.Event())
    again.close()
    assert path.read_text() == ""


def test_a_second_run_into_one_file_is_refused_and_destroys_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    lines = open_ndjson(str(path), threading.Event())
    lines.write("1\n")
    with pytest.raises(OutputError, match=r"out\.ndjson: another run writes to it"):
        check_ndjson(str(path), ())
    with pytest.raises(OutputError, match="another run"):
        open_ndjson(str(path), threading.Event())
    lines.close()
    assert path.read_text() == "1\n"
    assert [one.name for one in tmp_path.iterdir()] == ["out.ndjson"]


def test_a_name_that_is_no_text_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    lines = open_ndjson(str(path), threading.Event())
    lines.write("b\udcfcro\n")
    lines.close()
    assert path.read_text() == "b?ro\n"
