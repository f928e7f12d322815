"""Lines and zones that were drawn on the page, in the file of --config."""

import os
import signal
from pathlib import Path

import pytest
import tomllib

from mmpnet.cli.run.shape_file import shape_saver
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.web.drawn_shape import DrawnShape

SITE = """\
# The shop.
serve = "0.0.0.0:8000"  # for everybody here

[[camera]]
name = "front door"
source = "rtsp://${CAMERA_PASSWORD}@192.168.1.20/1"  # the password stays outside

[[camera.line]]
name = "entrance"
points = ["0%,60%", "100%,60%"]

[[camera]]
name = "yard"
source = "rtsp://192.168.1.21/1"
"""
KEYS = ("serve",)
ZONE = DrawnShape("front door", "zone", "till", ((10, 10), (60.25, 10), (60, 90)))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def test_shapes_go_to_their_camera_and_everything_else_stays(site: Path) -> None:
    save = shape_saver(site, KEYS)
    assert save(ZONE) == "Saved to site.toml; start mmp-run again to use it."
    save(DrawnShape("front door", "line", "side door", ((0, 0), (0, 100))))
    save(DrawnShape("yard", "line", "gate", ((0, 50), (100, 50))))
    text = site.read_text()
    for comment in ("# The shop.", "# for everybody here", "# the password stays outside", "${CAMERA_PASSWORD}"):
        assert comment in text
    front, yard = tomllib.loads(text)["camera"]
    assert [line["name"] for line in front["line"]] == ["entrance", "side door"]
    assert front["zone"] == [{"name": "till", "points": ["10.0%,10.0%", "60.2%,10.0%", "60.0%,90.0%"]}]
    assert yard["line"][0]["points"] == ["0.0%,50.0%", "100.0%,50.0%"]


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (DrawnShape("front door", "zone", "entrance", ZONE.points), "has a line or zone with the name 'entrance'"),
        (DrawnShape("attic", "zone", "till", ZONE.points), r"has no \[\[camera\]\] with the name 'attic'"),
    ],
)
def test_what_cannot_be_saved_leaves_the_file_as_it_was(site: Path, shape: DrawnShape, fault: str) -> None:
    with pytest.raises(MmpnetError, match=fault):
        shape_saver(site, KEYS)(shape)
    assert site.read_text() == SITE
    assert list(site.parent.iterdir()) == [site]


def test_a_service_reloads(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    monkeypatch.setattr("mmpnet.cli.run.shape_file.is_managed", lambda: True)
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append((process, number)))
    assert shape_saver(site, KEYS)(ZONE) == "Saved to site.toml; the run reloads."
    assert sent == [(os.getpid(), signal.SIGHUP)]
