"""Every run writes a report.html; if that fails, the run is complete nevertheless."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.errors import OutputError
from mmpnet.datasets.formats.coco import read_coco
from mmpnet.system.signals import InterruptedRunError
from mmpnet.train.artifacts.checkpoint import load_checkpoint
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.run.html_report import checkpoint_subject, read_history, write_run_report
from mmpnet.train.run.start import start_run
from support.train_configs import changed


@pytest.fixture
def run(tiny_train_config: TrainConfig, finished_run: Callable[[TrainConfig], Path]) -> Path:
    """A finished run of 2 epochs. Read only."""
    return finished_run(tiny_train_config)


def test_a_run_ends_with_a_report_of_its_best_checkpoint(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    best = load_checkpoint(run / "best.pth")
    assert best.provenance.evaluation is not None
    assert f"AP {best.provenance.evaluation['AP']:.3f} and" in html
    assert best.provenance.train_sha256 in html
    assert "loss over epochs" in html
    assert "accuracy over epochs" in html
    assert "ema-decay" in html, "the settings are there"


def test_without_a_validation_set_the_report_holds_the_losses(tiny_train_config: TrainConfig, tmp_path: Path) -> None:
    start_run(changed(tiny_train_config, val=(), epochs=1), tmp_path / "run")
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "no validation set" in html
    assert "loss over epochs" in html
    assert "accuracy over epochs" not in html


def test_a_report_that_fails_says_that_the_run_is_complete(
    tiny_train_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("report.html: cannot be written (No space left on device)")

    monkeypatch.setattr("mmpnet.train.run.html_report.write_report", full)
    with pytest.raises(OutputError, match=r"the run is complete, .*best\.pth is written.*No space left") as caught:
        start_run(tiny_train_config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert load_checkpoint(tmp_path / "run" / "best.pth").provenance.epochs_done >= 1
    assert load_checkpoint(tmp_path / "run" / "last.pth").provenance.epochs_done == tiny_train_config.schedule.epochs


def test_ctrl_c_during_the_report_says_how_to_make_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmpnet.train.run.html_report.write_report", stopped)
    with pytest.raises(InterruptedRunError) as caught:
        write_run_report(run, None, device="cpu")
    assert str(caught.value).endswith(f"make it with: mmp-train --resume {run}")


def test_the_history_is_that_of_results_csv(run: Path) -> None:
    rows = list(csv.DictReader((run / "results.csv").open()))
    history = read_history(run / "results.csv")
    assert [line.name for line in history.losses] == ["classification", "box"]
    assert [line.name for line in history.accuracies] == ["AP", "AP50"]
    np.testing.assert_array_equal(history.losses[1].y, [float(row["box_loss"]) for row in rows])
    np.testing.assert_array_equal(history.losses[1].x, [1, 2])


def test_epochs_that_were_not_measured_are_gaps(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("epoch,box_loss,AP\n1,0.5,\n2,0.4,0.1\n")
    history = read_history(tmp_path / "results.csv")
    np.testing.assert_array_equal(history.accuracies[0].y, [np.nan, 0.1])


@pytest.mark.parametrize("content", [None, "", "epoch,box_loss\n1,much\n", "a,b\n1,2\n"])
def test_a_table_that_is_none_is_one_line_of_the_report(
    run: Path, dataset_folder: Path, tmp_path: Path, content: str | None
) -> None:
    (tmp_path / "best.pth").write_bytes((run / "best.pth").read_bytes())
    if content is not None:
        (tmp_path / "results.csv").write_text(content)
    val = read_coco(dataset_folder / "val.json")
    with pytest.raises(OutputError, match=r"results\.csv: is not the table of a run's epochs"):
        write_run_report(tmp_path, val, device="cpu")
    assert not (tmp_path / "report.html").exists()


def test_a_checkpoint_says_where_it_comes_from(run: Path) -> None:
    subject = checkpoint_subject(run / "best.pth", load_checkpoint(run / "best.pth"))
    assert subject.title == "run/best.pth"
    assert "16 images" in dict(subject.facts)["trained on"]
    assert dict(subject.settings)["batch"] == "4"
