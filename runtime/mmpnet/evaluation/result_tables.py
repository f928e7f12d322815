"""Results as tables and sentences, for the terminal and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmpnet.contract.text import counted
from mmpnet.evaluation.bootstrap import LEVEL, Difference, Interval
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.results import ModelResult, Part, PartDifference, PartResult, differences

COMPARED = ("AP", "AP50")
"""The numbers for which a sentence states whether two models differ."""
BY_SIZE = ("APs", "APm", "APl")
COUNTED = ("images", "boxes")
_BESIDE_AP = ("AP50", *BY_SIZE)
_MEASURED = (*(column for name in COMPARED for column in (name, f"{LEVEL:.0%}")), *BY_SIZE, "F1")


@dataclass(frozen=True, slots=True)
class TextTable:
    """Rows under a header; all columns after the leading `n_names` contain numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_names: int = 1


def number_table(result: PartResult) -> TextTable:
    """All numbers of one model on one part, with the intervals of those that were resampled."""
    evaluation = result.evaluation
    coco = [(name, evaluation.coco[name], shown_interval(result.interval(name))) for name in COCO_NUMBERS]
    others = [
        ("VOC07 AP50", evaluation.voc07_ap50),
        ("VOC AP50", evaluation.voc_ap50),
        ("quasi IoU", evaluation.quasi_iou),
        (f"best F1, at score threshold {evaluation.best_f1_conf:.4f}", evaluation.best_f1),
    ]
    rows = [(name, _digits(value, 4), around) for name, value, around in coco]
    rows += [(name, _digits(value, 4), "") for name, value in others]
    if result.samples is None:
        return TextTable(("number", "value"), tuple(row[:2] for row in rows))
    return TextTable(("number", "value", f"{LEVEL:.0%} interval"), tuple(rows))


def part_table(results: Sequence[ModelResult]) -> TextTable:
    """One row per part and model, with all columns that fit on a page."""
    rows = [
        (part.data or "all", part.source or "", model.name, *_counts(model.parts[index]), *_cells(model.parts[index]))
        for index, part in _numbered_parts(results)
        for model in results
    ]
    return _without_empty_columns(TextTable(("data", "source", "model", *COUNTED, *_MEASURED), tuple(rows), n_names=3))


def class_table(results: Sequence[ModelResult]) -> TextTable:
    """One row per class: its boxes, and the AP at IoU 0.5 of each model, by VOC's rules."""
    classes = results[0].whole.evaluation.classes
    by_model = [{one.name: one.voc_ap50 for one in model.whole.evaluation.classes} for model in results]
    rows = tuple((one.name, str(one.n_boxes), *(_digits(found.get(one.name)) for found in by_model)) for one in classes)
    names = [model.name for model in results] if len(results) > 1 else []
    return TextTable(("class", "boxes", *(names or ["VOC AP50"])), rows)


def table_of_one_model(result: ModelResult) -> TextTable:
    """One row per part, for 80 columns; sources are indented below their dataset."""
    rows = []
    for one in result.parts:
        name = f"  {one.part.source}" if one.part.source else one.part.name
        coco, around = one.evaluation.coco, shown_interval(one.interval("AP"))
        rows.append((name, *_counts(one), _digits(coco["AP"]), around, *(_digits(coco[key]) for key in _BESIDE_AP)))
    return _without_empty_columns(TextTable(("part", *COUNTED, "AP", f"{LEVEL:.0%}", *_BESIDE_AP), tuple(rows)))


def tables_of_several_models(results: Sequence[ModelResult]) -> list[tuple[str, TextTable]]:
    """For each part its title and a table with one row per model, for 80 columns."""
    tables = []
    for index, part in _numbered_parts(results):
        whole = results[0].parts[index].evaluation
        rows = tuple((model.name, *_cells(model.parts[index])[:-1]) for model in results)
        title = f"{part.name}: {counted(whole.n_images, 'image')}, {counted(whole.n_boxes, 'box')}"
        tables.append((title, _without_empty_columns(TextTable(("model", *_MEASURED[:-1]), rows))))
    return tables


def verdicts(results: Sequence[ModelResult], part: Part) -> list[str]:
    """One sentence per further model: its difference from the first one on a part, and whether that is significant.
    Empty without resamples."""
    return [
        f"{one.model} minus {one.baseline}: " + "; ".join(_verdict(name, found) for name, found in _compared(one))
        for one in differences(results)
        if one.part == part and _compared(one)
    ]


def shown_interval(found: Interval | None) -> str:
    """`0.123-0.456`; an empty text for None."""
    return "" if found is None else f"{found.low:.3f}-{found.high:.3f}"


def _numbered_parts(results: Sequence[ModelResult]) -> list[tuple[int, Part]]:
    return list(enumerate(one.part for one in results[0].parts))


def _counts(one: PartResult) -> tuple[str, str]:
    return str(one.evaluation.n_images), str(one.evaluation.n_boxes)


def _cells(one: PartResult) -> tuple[str, ...]:
    """The values of the columns _MEASURED."""
    coco = one.evaluation.coco
    compared = [cell for name in COMPARED for cell in (_digits(coco[name]), shown_interval(one.interval(name)))]
    f1 = one.evaluation.best_f1 if one.evaluation.n_boxes else None
    return (*compared, *(_digits(coco[name]) for name in BY_SIZE), _digits(f1))


def _without_empty_columns(table: TextTable) -> TextTable:
    kept = [column for column in range(len(table.header)) if any(row[column] for row in table.rows)]
    return TextTable(
        tuple(table.header[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in table.rows),
        sum(column < table.n_names for column in kept),
    )


def _compared(one: PartDifference) -> list[tuple[str, Difference]]:
    return [(name, found) for name in COMPARED if (found := one.numbers[name]) is not None]


def _verdict(name: str, found: Difference) -> str:
    around = f"{LEVEL:.0%} interval {found.interval.low:+.3f} to {found.interval.high:+.3f}"
    differ = "they differ" if found.is_significant else "no significant difference"
    return f"{name} {found.value:+.3f} ({around}), {differ}"


def _digits(value: float | None, count: int = 3) -> str:
    return "-" if value is None else f"{value:.{count}f}"
