"""mmp-run as a service: its systemd unit, readiness and watchdog, reload, and the lines in the journal."""

import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console

from mmpnet.cli.run.reload import Reload
from mmpnet.cli.run.service_unit import needed_secrets, service_unit
from mmpnet.console.log import ConsoleHandler, start_log
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.pipeline.summary import Summary
from mmpnet.runtime.sinks.service import STUCK_S, ServiceSink
from mmpnet.runtime.sources.frame_grabber import SourceCounts
from mmpnet.system.service_manager import notify, stderr_is_journal, watchdog_s
from support.frames import write_video
from support.results import make_result

PROGRAM = Path("/opt/mmpnet/bin/mmp-run")
MMP_RUN = (sys.executable, "-c", "from mmpnet.cli.run.command import main; main()")
FRAME = np.zeros((4, 4, 3), np.uint8)


class Manager:
    """A service manager that listens on a socket."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self.heard: list[str] = []

    def hears(self, state: str, *, within_s: float = 60.0) -> bool:
        """Whether this state comes; states that came before are forgotten."""
        until_s = time.monotonic() + within_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                states = self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                break
            self.heard += states
            if state in states:
                return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(tmp_path)
    yield listening
    listening.close()


# --- the unit ---


def settings(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_runs_the_command_line_with_whole_paths_of_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model.onnx").touch()
    unit = service_unit(
        ["my model.onnx", "--source", "rtsp://cam/1", "--line", "door=0,50%,100%,50%", "--json", "events.ndjson"],
        program=PROGRAM,
    )
    command = settings(unit)["ExecStart"]
    assert command == (
        f'{PROGRAM} "{tmp_path}/my model.onnx" --source rtsp://cam/1 --line door=0,50%%,100%%,50%% '
        "--json events.ndjson --no-show"
    )
    assert "DeviceAllow" not in settings(unit)
    assert settings(unit)["PrivateDevices"] == "yes"


def test_a_local_camera_gets_access_to_video_devices_only() -> None:
    unit = service_unit(["--camera", "0"], program=PROGRAM)
    assert settings(unit)["DeviceAllow"] == "char-video4linux rw"
    assert settings(unit)["SupplementaryGroups"] == "video"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--camera", "0", "--token", "abc"], "write MMPNET_TOKEN="),
        (["--camera", "0", "--token=abc"], "write MMPNET_TOKEN="),
        (["--source", "rtsp://me:secret@cam/1"], r"\*\*\*@cam/1: its password would be readable"),
        (["--source", "door=rtsp://me:secret@cam/1"], r"door=rtsp://\*\*\*@cam/1: its password would be readable"),
        (["rtsp://cam/1?password=secret"], "its password would be readable"),
        (["--camera", "0", "--webhook", "https://chat/hooks/T0secretsecretsecret"], "--webhook: its password"),
        (["--camera", "0", "--save", "/srv/out"], "can only write into /var/lib/mmpnet; give a relative name"),
        (["/home/me/person.onnx"], "cannot read home folders"),
    ],
)
def test_a_unit_that_would_leak_a_secret_or_could_not_start_is_refused(arguments: list[str], fault: str) -> None:
    with pytest.raises(typer.BadParameter, match=fault) as refused:
        service_unit(arguments, program=PROGRAM)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "serve", "has_token", "names"),
    [
        ("", None, False, []),
        ("", "127.0.0.1:8000", False, []),
        ("", "0.0.0.0:8000", False, ["MMPNET_TOKEN"]),
        ("", "0.0.0.0:8000", True, []),
        (
            'source = "rtsp://me:${DOOR}@cam/1"\nmqtt = "mqtt://me:${DOOR}@h"',
            "[::]:80",
            False,
            ["DOOR", "MMPNET_TOKEN"],
        ),
    ],
)
def test_secrets_without_which_the_service_does_not_start_are_named(
    settings: str, serve: str | None, has_token: bool, names: list[str]
) -> None:
    assert needed_secrets(settings, serve=serve, has_token=has_token) == names


def test_printing_a_unit_says_on_stderr_what_is_missing() -> None:
    command = "from mmpnet.cli.entry import run; run()"
    arguments = ["rtsp://camera/1", "--serve", "0.0.0.0:8000", "--print-service"]
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Secrets:")
    assert "note: write MMPNET_TOKEN=... to /etc/mmpnet/environment before the service starts" in " ".join(
        done.stderr.split()
    )
    arguments[2] = "nowhere"
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--serve nowhere: expected HOST:PORT" in done.stderr


def test_secrets_reach_the_service_by_references_and_credentials(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    arguments = [
        "--source",
        "rtsp://me:${DOOR}@cam/1",
        "--token-file",
        str(tmp_path / "token"),
        "--serve",
        "0.0.0.0:80",
    ]
    unit = settings(service_unit(arguments, program=PROGRAM))
    assert unit["LoadCredential"] == f"token:{tmp_path}/token"
    assert unit["ExecStart"].endswith("--serve 0.0.0.0:80 --no-show --token-file %d/token")
    assert '"rtsp://me:$${DOOR}@cam/1"' in unit["ExecStart"], "systemd leaves the reference to mmp-run"


def test_settings_that_the_service_cannot_read_are_refused(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.touch(mode=0o600)
    with pytest.raises(typer.BadParameter, match="the user of the service cannot read it; chmod a\\+r"):
        service_unit(["--config", str(site)], program=PROGRAM)


def test_systemd_accepts_the_unit_and_calls_it_hardened(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine; Debian's package is called systemd")
    (tmp_path / "token").touch()
    page = ["--serve", "0.0.0.0:8000", "--token-file", str(tmp_path / "token")]
    command = [*MMP_RUN, "--camera", "0", *page, "--print-service"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Systemd looks for the program, which may not be installed where the tests run.
    unit = tmp_path / "mmpnet.service"
    unit.write_text(printed.replace(settings(printed)["ExecStart"].split()[0], "/bin/true"))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = [analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)]
    security = subprocess.run(judged, capture_output=True, text=True)
    assert security.returncode == 0, security.stdout[-200:]


# --- readiness and watchdog ---


def test_states_reach_the_manager_and_without_one_nothing_happens(manager: Manager, tmp_path: Path) -> None:
    assert notify("READY=1", "STATUS=two\nlines", environment={"NOTIFY_SOCKET": str(manager.address)})
    assert manager.hears("STATUS=two lines")
    assert not notify("READY=1", environment={})
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(environment) == seconds


class Watched:
    """A service sink with a watchdog of 20 s, a clock, and what it sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        self.now_s = 0.0
        self.sent: list[str] = []
        self.counts = SourceCounts("front door", live=True, state="live")
        self.sink = ServiceSink(send=self._send, clock=lambda: self.now_s)
        self.sink.started(Summary(sources=[self.counts]))

    def _send(self, *states: str) -> bool:
        self.sent += states
        return True

    def passes(self, seconds: int, *, frames: bool, results: bool) -> int:
        """How many signs of life come in these seconds."""
        before = self.sent.count("WATCHDOG=1")
        for _ in range(seconds):
            self.now_s += 1
            self.counts.captured += frames
            if results:
                self.sink.write(make_result(FRAME), None)
            else:
                self.sink.idle()
        return self.sent.count("WATCHDOG=1") - before


def test_signs_of_life_come_twice_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    assert watched.sent == ["READY=1", "STATUS=front door live"]
    assert watched.passes(100, frames=True, results=True) == 10


def test_a_camera_that_is_away_is_no_reason_to_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.passes(5, frames=True, results=True)
    assert watched.passes(600, frames=False, results=False) >= 59


def test_frames_without_results_end_the_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.passes(5, frames=True, results=True)
    watched.passes(int(STUCK_S) + 1, frames=True, results=False)
    assert watched.passes(100, frames=True, results=False) == 0
    assert watched.passes(20, frames=True, results=True) >= 1, "it may recover before the manager acts"


def test_sighup_reloads_a_service_in_the_same_process_and_opens_its_outputs_again(
    tmp_path: Path, tiny_onnx: Path, manager: Manager
) -> None:
    video = write_video(tmp_path / "in.avi", count=20)
    ndjson = tmp_path / "out.ndjson"
    command = [*MMP_RUN, str(tiny_onnx), "--source", str(video), "--loop", "--no-show", "--threads", "1"]
    environment = {**os.environ, "NOTIFY_SOCKET": str(manager.address)}
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has these tests, and what they start, ignore it
    try:
        running = subprocess.Popen(
            [*command, "--json", str(ndjson)], stderr=subprocess.PIPE, text=True, env=environment
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        assert manager.hears("READY=1")
        until_s = time.monotonic() + 60
        while not (ndjson.exists() and ndjson.stat().st_size):
            assert time.monotonic() < until_s
            time.sleep(0.02)
        ndjson.rename(tmp_path / "rotated.ndjson")  # as logrotate does
        running.send_signal(signal.SIGHUP)
        assert manager.hears("RELOADING=1")
        assert manager.hears("READY=1")
        assert "STOPPING=1" not in manager.heard
        while not (ndjson.exists() and ndjson.stat().st_size):
            assert time.monotonic() < until_s
            time.sleep(0.02)
    finally:
        running.terminate()
        _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    for path in (ndjson, tmp_path / "rotated.ndjson"):
        frames = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
        assert frames == list(range(len(frames))), "whole lines, from the start"
    assert manager.hears("STOPPING=1", within_s=5)


def test_settings_that_cannot_be_used_do_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise MmpnetError("site.toml:3: unknown key")

    reload = Reload(broken)
    assert not reload()
    assert not reload.requested.is_set()
    assert "not reloaded: site.toml:3: unknown key" in caplog.text
    assert Reload()()


# --- the lines of the log ---


def line_of(console: Console, monkeypatch: pytest.MonkeyPatch, *, journal: bool = False) -> str:
    monkeypatch.setattr("mmpnet.console.log.stderr_is_journal", lambda: journal)
    record = logging.LogRecord("mmpnet.x", logging.WARNING, "f", 1, "front door\nreconnecting", None, None)
    ConsoleHandler(console).emit(record)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_reader_gets_the_time_and_level_in_its_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Console(file=io.StringIO(), width=200)
    assert "warning: front door reconnecting\n" in line_of(file, monkeypatch)
    assert file.file.getvalue()[:4].isdecimal()  # type: ignore[attr-defined]
    journal = Console(file=io.StringIO(), width=200)
    assert line_of(journal, monkeypatch, journal=True) == "<4>front door reconnecting\n"
    terminal = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    assert line_of(terminal, monkeypatch)[8:] == " front door reconnecting\n"


def test_the_log_level_leaves_out_what_is_below_it() -> None:
    console = Console(file=io.StringIO(), width=200)
    start_log(console, "warning")
    try:
        logging.getLogger("mmpnet.somewhere").info("front door live")
        logging.getLogger("mmpnet.somewhere").warning("front door stale")
    finally:
        start_log(Console(file=io.StringIO()), "info")
    assert isinstance(console.file, io.StringIO)
    assert "live" not in console.file.getvalue()
    assert "stale" in console.file.getvalue()


def test_the_journal_is_recognized_by_the_device_and_inode_of_stderr(tmp_path: Path) -> None:
    script = "import sys; from mmpnet.system.service_manager import stderr_is_journal as j; sys.exit(0 if j() else 5)"
    with (tmp_path / "log").open("w") as log:
        stat = os.fstat(log.fileno())
        for inode, expected in ((stat.st_ino, 0), (stat.st_ino + 1, 5)):
            environment = {**os.environ, "JOURNAL_STREAM": f"{stat.st_dev}:{inode}"}
            done = subprocess.run([sys.executable, "-c", script], stderr=log, env=environment, check=False)
            assert done.returncode == expected
    assert not stderr_is_journal({"JOURNAL_STREAM": "none"})
