"""Accuracy per dataset and source, for several models: numbers, JSON and tables."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.bootstrap import Bootstrap
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import measure
from mmpnet.evaluation.result_tables import (
    number_table,
    part_table,
    table_of_one_model,
    tables_of_several_models,
    verdicts,
)
from mmpnet.evaluation.results import ModelResult, Part, differences, document, measure_parts, parts_of

HOW = Bootstrap(resamples=50, seed=1)


def image(source: str | None, boxes: int) -> LabeledImage:
    xyxy = np.array([[60 * n, 5, 60 * n + 40, 60] for n in range(boxes)], np.float32).reshape(-1, 4)
    return LabeledImage(
        path=Path("nowhere.png"),
        image_hw=(100, 400),
        boxes_xyxy=xyxy,
        class_ids=np.ones(boxes, np.int64),
        areas_px2=(xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1),
        crowd=np.zeros(boxes, np.bool_),
        scores=np.ones(boxes, np.float32),
        source=source,
    )


def dataset(name: str, sources: Sequence[tuple[str | None, int]]) -> Dataset:
    images = tuple(image(source, boxes) for source, boxes in sources)
    return Dataset(Path(f"somewhere/{name}"), name, ("background", "person"), images, "")


STREETS = dataset("streets", [("cam b", 2), ("cam a", 1)] * 8 + [("empty", 0)])
YARD = dataset("yard", [(None, 2)] * 12)
MIXED = replace(STREETS, images=(*STREETS.images, *YARD.images))


def answers(shift_px: float, seed: int) -> tuple[Detections, ...]:
    """All boxes, shifted by a varying distance."""
    random = np.random.default_rng(seed)
    found = []
    for one in MIXED.images:
        moved = one.boxes_xyxy + random.normal(0, shift_px, (len(one.boxes_xyxy), 1)).astype(np.float32)
        scores = -np.sort(-random.random(len(moved)).astype(np.float32))
        found.append(Detections(moved.astype(np.float32), scores, one.class_ids))
    return tuple(found)


def result(name: str, shift_px: float, bootstrap: Bootstrap | None = HOW, *, by_source: bool = True) -> ModelResult:
    parts = parts_of([STREETS, YARD], by_source=by_source)
    return ModelResult(name, "COCO", measure_parts(MIXED, answers(shift_px, 3), [1], parts, bootstrap))


def test_parts_are_everything_then_each_set_with_its_sources() -> None:
    parts = parts_of([STREETS, YARD], by_source=True)
    assert [(part.data, part.source, len(part.rows)) for part in parts] == [
        (None, None, 29),
        ("streets", None, 17),
        ("streets", "cam a", 8),
        ("streets", "cam b", 8),
        ("streets", "empty", 1),
        ("yard", None, 12),
    ]
    assert parts[2].rows == tuple(range(1, 16, 2))
    assert parts[5].rows == tuple(range(17, 29))
    assert [part.name for part in parts[:3]] == ["all datasets", "streets", "streets, source cam a"]
    assert parts_of([YARD], by_source=False) == (Part("yard", None, tuple(range(12))),)


def test_sets_of_one_name_are_named_by_their_paths() -> None:
    twin = replace(YARD, path=Path("elsewhere/yard"))
    assert [part.data for part in parts_of([YARD, twin], by_source=False)] == [
        None,
        str(Path("somewhere/yard")),
        str(Path("elsewhere/yard")),
    ]


def test_sources_that_nobody_states_are_an_error_that_names_the_data() -> None:
    with pytest.raises(DatasetError, match="yard: no image has a `source` in its entry; leave --by-source out"):
        parts_of([YARD], by_source=True)


def test_each_part_has_the_numbers_of_an_evaluation_of_its_own() -> None:
    found = answers(4, 3)
    for one in result("a", 4).parts:
        alone = replace(MIXED, images=tuple(MIXED.images[row] for row in one.part.rows))
        expected = measure(alone, tuple(found[row] for row in one.part.rows), [1])
        assert one.evaluation.as_dict() == expected.as_dict()


def test_the_document_of_one_model_has_its_numbers_first_and_then_the_parts() -> None:
    found = document([result("a", 4)], HOW)
    whole = result("a", 4).whole
    assert {name: found[name] for name in whole.evaluation.as_dict()} == whole.evaluation.as_dict()
    assert found["bootstrap"] == {"resamples": 50, "seed": 1, "level": 0.95}
    low, high = found["intervals"]["AP"]
    assert low < found["AP"] < high
    assert [(part["data"], part["source"]) for part in found["parts"]][:3] == [
        (None, None),
        ("streets", None),
        ("streets", "cam a"),
    ]
    empty = found["parts"][4]
    assert (empty["source"], empty["AP"], empty["n_boxes"], empty["intervals"]["AP"]) == ("empty", None, 0, None)
    assert found["parts"][2]["intervals"]["AP"] is None, "eight images are too few"
    json.dumps(found, allow_nan=False)


def test_the_document_of_one_model_on_one_set_has_no_parts() -> None:
    parts = measure_parts(YARD, answers(4, 3)[17:], [1], parts_of([YARD], by_source=False), None)
    found = document([ModelResult("a", "COCO", parts)], None)
    assert "parts" not in found
    assert found["bootstrap"] is None
    assert set(found["intervals"].values()) == {None}


def test_the_document_of_several_models_has_them_all_and_their_differences() -> None:
    good, bad = result("good", 2), result("bad", 9)
    found = document([good, bad], HOW)
    assert list(found) == ["bootstrap", "models", "differences"]
    assert [one["model"] for one in found["models"]] == ["good", "bad"]
    assert found["models"][1]["AP"] == bad.whole.evaluation.ap()
    first = found["differences"][0]
    assert (first["data"], first["model"], first["baseline"]) == (None, "bad", "good")
    assert first["AP"]["difference"] == pytest.approx(bad.whole.evaluation.ap() - good.whole.evaluation.ap())
    assert first["AP"]["differs"] is True
    assert first["AP"]["interval"][1] < 0
    assert first["APl"] is None, "no box is as large as that"
    assert set(COCO_NUMBERS) < set(first)
    json.dumps(found, allow_nan=False)


def test_models_that_say_the_same_do_not_differ() -> None:
    same = differences([result("one", 4), result("two", 4)])
    assert {part.numbers["AP"].value for part in same if part.numbers["AP"] is not None} == {0.0}
    assert not any(part.numbers["AP"].is_significant for part in same if part.numbers["AP"] is not None)
    whole = result("one", 4).whole.part
    (sentence,) = verdicts([result("one", 4), result("two", 4)], whole)
    assert sentence.startswith(
        "two minus one: AP +0.000 (95% interval +0.000 to +0.000), no significant difference; AP50"
    )


def test_a_verdict_says_how_much_and_whether_they_differ() -> None:
    good, bad = result("good", 2), result("bad", 9)
    (sentence,) = verdicts([good, bad], good.whole.part)
    by = bad.whole.evaluation.ap() - good.whole.evaluation.ap()
    assert f"bad minus good: AP {by:+.3f} (95% interval -" in sentence
    assert "they differ" in sentence
    few = good.parts[2].part
    assert verdicts([good, bad], few) == []
    assert verdicts([result("good", 2, None), result("bad", 9, None)], good.whole.part) == []


def test_tables_say_what_was_measured() -> None:
    good, bad = result("good", 2), result("bad", 9)
    numbers = number_table(good.whole)
    assert numbers.rows[0][:2] == ("AP", f"{good.whole.evaluation.ap():.4f}")
    assert numbers.header[2] == "95% interval"
    assert number_table(result("good", 2, None).whole).header == ("number", "value")
    one = table_of_one_model(good)
    assert [row[0] for row in one.rows] == ["all datasets", "streets", "  cam a", "  cam b", "  empty", "yard"]
    assert one.rows[0][1:4] == ("29", "48", f"{good.whole.evaluation.ap():.3f}")
    assert one.rows[4][1:4] == ("1", "0", "-")
    several = tables_of_several_models([good, bad])
    assert several[0][0] == "all datasets: 29 images, 48 boxes"
    assert [row[0] for row in several[0][1].rows] == ["good", "bad"]
    everything = part_table([good, bad])
    assert len(everything.rows) == 2 * 6
    assert everything.rows[5][:4] == ("streets", "cam a", "bad", "8")
    assert all(len(row) == len(everything.header) for row in everything.rows)
    assert "95%" not in part_table([result("good", 2, None)]).header, "without resamples there are no intervals"


@pytest.mark.parametrize("count", [1, 2])
def test_terminal_tables_fit_into_80_columns(count: int) -> None:
    results = [result("person-192x320-int8.onnx", 2), result("rtmdet_nano_person.onnx", 9)][:count]
    tables = (
        [table_of_one_model(results[0])] if count == 1 else [table for _, table in tables_of_several_models(results)]
    )
    for table in tables:
        widths = [max(len(row[column]) for row in (table.header, *table.rows)) for column in range(len(table.header))]
        assert sum(widths) + len(widths) <= 80
