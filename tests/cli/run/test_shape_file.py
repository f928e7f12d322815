"""Lines and zones that were drawn on the page, in the file of --config."""

import os
import signal
from pathlib import Path

import pytest
import tomllib

from mmpnet.cli.run.shape_file import ShapeFile
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.web.drawn_shape import DrawnShape, KnownShape, NamedShape

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
    save = ShapeFile(site, KEYS).save
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
        (DrawnShape("yard", "zone", "till", ZONE.points, "gate"), "yard has no line or zone with the name 'gate'"),
        (DrawnShape("attic", "zone", "till", ZONE.points), r"has no \[\[camera\]\] with the name 'attic'"),
    ],
)
def test_what_cannot_be_saved_leaves_the_file_as_it_was(site: Path, shape: DrawnShape, fault: str) -> None:
    with pytest.raises(MmpnetError, match=fault):
        ShapeFile(site, KEYS).save(shape)
    assert site.read_text() == SITE
    assert list(site.parent.iterdir()) == [site]


def test_a_shape_is_replaced_with_its_classes_and_comments(site: Path) -> None:
    site.write_text(SITE.replace('name = "entrance"\n', 'classes = ["dog"]  # ours\n'))
    shapes = ShapeFile(site, KEYS)
    assert shapes.shapes() == [KnownShape("front door", "line", "line1", (("0%", "60%"), ("100%", "60%")))]
    shapes.save(DrawnShape("front door", "line", "dogs", ((0, 10), (100, 10)), replaces="line1"))
    (line,) = tomllib.loads(site.read_text())["camera"][0]["line"]
    assert line == {"name": "dogs", "points": ["0.0%,10.0%", "100.0%,10.0%"], "classes": ["dog"]}
    assert "# ours" in site.read_text()
    shapes.save(DrawnShape("front door", "zone", "dogs", ZONE.points, replaces="dogs"))
    front = tomllib.loads(site.read_text())["camera"][0]
    assert "line" not in front
    assert front["zone"][0]["name"] == "dogs"


def test_a_shape_is_removed_and_the_rest_of_the_file_stays(site: Path) -> None:
    shapes = ShapeFile(site, KEYS)
    assert (
        shapes.remove(NamedShape("front door", "entrance")) == "Removed from site.toml; start mmp-run again to use it."
    )
    assert shapes.shapes() == []
    assert "# the password stays outside" in site.read_text()
    assert [camera["name"] for camera in tomllib.loads(site.read_text())["camera"]] == ["front door", "yard"]
    with pytest.raises(
        MmpnetError, match="front door has no line or zone with the name 'entrance'; load the page again"
    ):
        shapes.remove(NamedShape("front door", "entrance"))


def test_a_service_reloads(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    monkeypatch.setattr("mmpnet.cli.run.shape_file.is_managed", lambda: True)
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append((process, number)))
    assert ShapeFile(site, KEYS).save(ZONE) == "Saved to site.toml; the run reloads."
    assert sent == [(os.getpid(), signal.SIGHUP)]
