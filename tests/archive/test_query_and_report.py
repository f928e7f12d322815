"""Results are asked by SQL that reads nothing else, and shown on one page."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.dataset as ds
import pytest
from typer.testing import CliRunner

from mmpnet.archive.query import ask, opened
from mmpnet.archive.report import GRID_HW, heat_maps, people_per_hour, write_report
from mmpnet.archive.results import result_files
from mmpnet.archive.settings import Settings
from mmpnet.cli.archive.command import app
from mmpnet.contract.errors import OutputError
from support.archives import Archive, rows_of


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, settings: Settings, recordings_folder: Path
) -> Path:
    """Results of the two videos and of a file that is no video. Read only."""
    place = tmp_path_factory.mktemp("it's [detections]")
    (place / "in").mkdir()
    (place / "in" / "noise.mp4").write_bytes(b"<b>no video</b>" * 100)
    Archive(tiny_onnx, settings).run(place / "out", recordings_folder, place / "in")
    return place / "out"


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_condition_selects_detections(folder: Path) -> None:
    expected = [
        (row["source"], row["frame"], found["score"])
        for row in rows_of(folder)
        for found in row["detections"]
        if row["camera"] == "door" and found["score"] > 0.5
    ]
    text = "camera = 'door' and hour between 7 and 9 and score > 0.5 -- a comment"
    lines = [json.loads(line) for line in invoke("query", folder, text, "--format", "json").stdout.splitlines()]
    assert [(line["source"], line["frame"]) for line in lines] == [one[:2] for one in expected]
    np.testing.assert_allclose([line["score"] for line in lines], [one[2] for one in expected], rtol=1e-6)
    assert len(expected) > 40
    shown = invoke("query", folder, text)
    assert len(shown.stdout.splitlines()) == 41
    assert "only the first 40 rows" in shown.stderr
    table = list(csv.reader(invoke("query", folder, text, "--format", "csv", "--limit", 5).stdout.splitlines()))
    assert (table[0][:3], len(table)) == (["source", "camera", "frame"], 6)
    assert invoke("query", folder, "hour = 3", "--format", "json").stdout == ""


def test_tracks_are_one_row_per_person_and_video(folder: Path) -> None:
    seen: dict[tuple[str, int], list[float]] = {}
    for row in rows_of(folder):
        for found in row["detections"]:
            if found["track_id"] is not None:
                seen.setdefault((row["source"], found["track_id"]), []).append(row["time_s"])
    with opened(folder) as connection:
        rows = list(ask(connection, "select source, track_id, seconds, frames from tracks").rows)
    assert len(rows) == len(seen) > 1
    for source, track_id, seconds, frames in rows:
        times_s = seen[source, track_id]
        assert (seconds, frames) == (pytest.approx(max(times_s) - min(times_s)), len(times_s))


@pytest.mark.parametrize(
    "text",
    [
        "nosuch = 3",
        "name::int = 3",
        "1 = 1); drop view rows; --",
        "select 1; select 2",
        "select * from read_csv('/etc/hostname')",
        "select * from read_parquet('https://localhost/a.parquet')",
        "copy detections to 'stolen.csv'",
        "select * from glob('/etc/*')",
    ],
)
def test_a_query_that_is_no_question_about_the_results_is_one_line(folder: Path, text: str) -> None:
    done = invoke("query", folder, text)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


def test_the_three_lines_of_the_recipe_work(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes" / "archive.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) == 3
    (tmp_path / "detections").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(code.replace("print(", "found = (").replace("))", ").fetchall())"), scope)
    with opened(folder) as connection:
        answer = ask(connection, "camera = 'door' and hour between 7 and 9")
        assert len(scope["found"]) == len(list(answer.rows)) > 0


def test_people_count_in_the_hour_of_the_recording(folder: Path) -> None:
    with opened(folder) as connection:
        (confirmed,) = next(ask(connection, "select count(*) from tracks where confirmed and camera = 'door'").rows)
        table = people_per_hour(connection, "person")
    assert table.is_clock
    assert len(table.hours) == 24
    assert table.cameras == ({"door": {7: confirmed}} if confirmed else {})
    assert confirmed > 0


def test_heat_maps_count_feet() -> None:
    maps = heat_maps([("a", 0, 0, 1), ("b", 17, 31, 5), ("b", 3, 4, 2)])
    assert list(maps) == ["b", "a"]
    assert maps["b"].shape == GRID_HW
    assert (maps["b"][17, 31], maps["b"].sum(), maps["a"].sum()) == (5, 7, 1)


def test_the_page_is_one_file_and_escapes_names(folder: Path, tmp_path: Path) -> None:
    done = invoke("report", folder, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "People per hour and camera" in page
    assert "Longest visits" in page
    assert "noise.mp4" in page
    assert 'aria-label="heat map of door"' in page
    for outside in ("http://", "https://", "src=", "<script", "<link"):
        assert outside not in page


def test_a_run_without_tracks_or_results_has_a_page_too(
    archive: Archive, recordings_folder: Path, tmp_path: Path
) -> None:
    archive.run(tmp_path, recordings_folder / "yard", settings=msgspec.structs.replace(archive.settings, track=False))
    write_report(tmp_path, tmp_path / "report.html")
    assert "--no-track" in (tmp_path / "report.html").read_text()
    for path in result_files(tmp_path):
        path.unlink()
    write_report(tmp_path, tmp_path / "report.html")
    with opened(tmp_path) as connection:
        assert list(ask(connection, "score > 0").rows) == []
    with pytest.raises(OutputError, match=r"manifest\.json"):
        write_report(tmp_path / "absent", tmp_path / "report.html")


HOSTILE = ("\x1b[2J\x07.mp4", "new\nline.mp4", "..mp4", "_.mp4", "-rf.mp4", "\u202eevil.mp4")


def test_hostile_names_give_files_that_every_reader_sees_and_text_that_no_terminal_obeys(
    tiny_onnx: Path, settings: Settings, recordings_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in HOSTILE:
        shutil.copy(recordings_folder / "yard" / "clip.mkv", tmp_path / "in" / name)
    # A folder leaves out hidden files; the one with a hidden name is therefore given by its name as well.
    Archive(tiny_onnx, settings).run(tmp_path / "out", tmp_path / "in", tmp_path / "in" / "..mp4")
    names = [path.name for path in result_files(tmp_path / "out")]
    assert len(names) == len(HOSTILE)
    assert all(name[0].isalnum() for name in names)
    seen = ds.dataset(tmp_path / "out" / "frames", format="parquet").to_table(columns=["source"])
    assert len(set(seen["source"].to_pylist())) == len(HOSTILE)
    table = invoke("query", tmp_path / "out", "select distinct source from frames").stdout
    write_report(tmp_path / "out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert len(table.splitlines()) == 1 + len(HOSTILE)
    for text in (table, page):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert r"\x1b[2J" in table
