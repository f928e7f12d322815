"""The steps of an export: the default threshold comes from the data to verify on, unless one is stated."""

from pathlib import Path

import pytest

from mmpnet.export.metadata_builder import ExportOptions
from mmpnet.export.quantization.quantizer import QuantizationOptions
from mmpnet.export.steps import HIGHEST_CONF, LOWEST_CONF, ExportRequest, export_checkpoint
from mmpnet.train.measure import validate


@pytest.mark.parametrize("given", [None, 0.4])
def test_the_default_threshold_is_that_of_the_best_f1(
    tiny_checkpoint: Path, dataset_folder: Path, tmp_path: Path, given: float | None
) -> None:
    said: list[str] = []
    request = ExportRequest(
        model=tiny_checkpoint,
        target=tmp_path / "a.onnx",
        options=ExportOptions(conf=given, self_test_seeds=1),
        precision="float32",
        quantization=QuantizationOptions(),
        verify=(dataset_folder / "val.json",),
        calib=(),
    )
    metadata = export_checkpoint(request, notice=said.append)
    if given is not None:
        assert metadata.default_conf == 0.4
        assert said == []
        return
    best = validate(tiny_checkpoint, dataset_folder / "val.json", resamples=0).evaluation.best_f1_conf
    assert metadata.default_conf == pytest.approx(min(max(best, LOWEST_CONF), HIGHEST_CONF), abs=1e-3)
    assert metadata.default_conf != 0.4
    assert f"default score threshold {metadata.default_conf:g}: best F1" in said[0]
