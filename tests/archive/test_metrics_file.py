"""The file of counts is read by Prometheus' own parser."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mmpnet.archive.metrics_file import EVERY_S, NAMES, MetricsFile
from mmpnet.archive.progress import Progress
from mmpnet.archive.tasks import Failure
from mmpnet.contract.errors import OutputError


def read(path: Path) -> dict[str, float]:
    families = list(text_string_to_metric_families(path.read_text()))
    assert [one.documentation for one in families] == list(NAMES.values())
    return {one.name.removeprefix("mmpnet_archive_"): one.samples[0].value for one in families}


def test_counts_are_written_every_few_seconds_and_at_the_end(tmp_path: Path) -> None:
    now_s = [100.0]
    progress = Progress(total_s=100.0, total_images=0)
    metrics = MetricsFile(tmp_path / "archive.prom", clock_s=lambda: now_s[0])
    metrics.show(progress)
    first = read(tmp_path / "archive.prom")
    assert (first["frames"], first["running"]) == (0, 1)
    assert first["left_seconds"] != first["left_seconds"]
    progress.frames, progress.video_s, progress.elapsed_s = 50, 25.0, 10.0
    progress.failures.append(Failure("a.mp4", "door", "broken"))
    metrics.show(progress)
    assert read(tmp_path / "archive.prom")["frames"] == 0
    now_s[0] += EVERY_S
    metrics.show(progress)
    expected = {"frames": 50, "video_seconds": 25, "images": 0, "failures": 1, "share": 0.25, "left_seconds": 30}
    assert read(tmp_path / "archive.prom") == expected | {"running": 1}
    progress.frames = 60
    metrics.show(progress)
    metrics.close()
    assert read(tmp_path / "archive.prom") == expected | {"frames": 60, "running": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["archive.prom"]


def test_a_missing_folder_and_another_suffix_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent/a\.prom: there is no folder"):
        MetricsFile(tmp_path / "absent" / "a.prom")
    with pytest.raises(OutputError, match=r"a\.txt: ends in \.txt; expected \.prom"):
        MetricsFile(tmp_path / "a.txt")
