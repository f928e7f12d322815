"""mmp-run on a real RTSP server: results, reasons and exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpnet.cli.run.command import app
from support.rtsp_camera import RtspCamera

pytestmark = pytest.mark.slow


def test_a_stream_is_detected_in_and_what_is_refused_is_told(tmp_path: Path, tiny_onnx: Path) -> None:
    out = tmp_path / "out.ndjson"

    def mmp_run(address: str) -> tuple[int, str]:
        arguments = [tiny_onnx, "--source", address, "--limit", 3, "--no-show", "--threads", 1, "--json", out]
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
        return done.exit_code, done.stderr.splitlines()[-1]

    with RtspCamera("--login", "me:here", "--digest") as camera:
        assert mmp_run(camera.address(login="me:here"))[0] == 0
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert [line["event"] for line in lines if "event" in line] == ["connecting", "live", "closed", "summary"]
        assert [line["frame"] for line in lines if "frame" in line] == [0, 1, 2]
        assert lines[-1]["sources"][0]["dropped"] > 0, "the frames that FFmpeg read to open the stream"
        name = camera.address(login="***")
        assert {line["source"] for line in lines if "source" in line} == {name}
        for path, login, reason in (
            ("live", "me:qjzw", "401 Unauthorized; check the user name and password"),
            ("other", "me:here", "404 Not Found; check the path of the address"),
        ):
            refused = f"error: {camera.address(path, login='***')}: cannot be opened; its server answers {reason}"
            assert mmp_run(camera.address(path, login)) == (1, refused)
        assert "qjzw" not in out.read_text()
    refuses = "cannot be opened; its machine refuses the connection; check the port, and that the camera's server runs"
    assert mmp_run(camera.address()) == (1, f"error: {camera.address()}: {refuses}")
