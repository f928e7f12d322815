"""What box voting brings: the accuracy of NMS alone, and with each power of the score in the weights of the votes.

The graph runs once per image; every rule gets the same candidates. docs/adr/0015-box-voting.md has the rules.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import typer
from rich.table import Table

from harness.accuracy import NUMBERS, numbers
from harness.script import Json, exit_on_error, progress_named, script_app, show, write_json
from mmpnet.bench.environment import model_facts
from mmpnet.contract.boxes import VOTE_SCORE_POWER, nms
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.letterbox import LetterboxTransform
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.coco import require_pycocotools
from mmpnet.evaluation.evaluate import in_categories, measure, require_measurable
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.runtime.inference.decode import head_reader, output_names
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.session import open_session, run_session

ALONE = "NMS alone"
POWERS = (1, 2, VOTE_SCORE_POWER, 4)

Candidates: TypeAlias = tuple[Sequence[Any], LetterboxTransform]
"""The outputs of the graph for one image, with batch dimension, and the way back to the image."""
Rule: TypeAlias = Callable[[Sequence[Any], LetterboxTransform], Detections]

app = script_app()


@app.command()
def box_voting(
    model: Annotated[Path, typer.Argument(help="A file of mmp-export with the head boxes, or an embedded model.")],
    data: Annotated[list[Path], typer.Option(help="Labeled images with a val split. May be repeated.")],
    power: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=16, help=f"Power of the score; may be repeated. Default: {', '.join(map(str, POWERS))}."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the rules for the boxes that NMS keeps."""
    with exit_on_error():
        require_pycocotools()
        detector = Detector(model, thresholds=EVALUATION_THRESHOLDS, provider="cpu", threads=1)
        if detector.metadata.head != "boxes" or detector.metadata.input.kind != "uint8-nhwc":
            raise MmpnetError(f"{model}: expected a file with the head boxes and an input of bytes; export it so")
        rules = _rules(detector, power or POWERS)
        sets = []
        for path in data:
            dataset = load_dataset([path], "val")
            ids = require_measurable(dataset, detector.class_names)
            candidates = _candidates(detector, dataset)
            rows = {}
            for name, rule in rules.items():
                found = tuple(in_categories(rule(*one), ids) for one in candidates)
                rows[name] = numbers(measure(dataset, found, sorted(ids.values())))
            sets.append({"name": dataset.name, "n_images": len(dataset.images), "rules": rows})
            show(f"{dataset.name}: {len(dataset.images)} images", _table(rows))
        if as_json:
            write_json(
                {
                    "protocol": EVALUATION_PROTOCOL,
                    "model": msgspec.to_builtins(model_facts(detector.path)),
                    "data": sets,
                }
            )


def _rules(detector: Detector, powers: Sequence[int]) -> dict[str, Rule]:
    def voted(power: int) -> Rule:
        stated = msgspec.structs.replace(detector.metadata, vote_score_power=power)
        return head_reader(stated, EVALUATION_THRESHOLDS)

    return {ALONE: _nms_alone, **{f"score^{power}": voted(power) for power in dict.fromkeys(powers)}}


def _nms_alone(outputs: Sequence[Any], transform: LetterboxTransform) -> Detections:
    boxes, scores, class_ids = (output[0] for output in outputs)
    sure = np.flatnonzero(scores >= EVALUATION_THRESHOLDS.conf)
    best = sure[nms(boxes[sure], scores[sure], EVALUATION_THRESHOLDS.iou, class_ids=class_ids[sure])]
    kept = best[: EVALUATION_THRESHOLDS.max_det]
    return Detections(transform.to_frame(boxes[kept]), scores[kept], class_ids[kept])


def _candidates(detector: Detector, dataset: Dataset) -> list[Candidates]:
    metadata, source = detector.metadata, str(detector.path)
    session = open_session(detector.path, provider="cpu", threads=1)
    found: list[Candidates] = []
    for image in progress_named(dataset.name)(dataset.images):
        pixels, transform = metadata.letterbox.apply(image.read())
        outputs = run_session(session, output_names(metadata), {metadata.input.name: pixels[None]}, source=source)
        found.append((outputs, transform))
    return found


def _table(rows: dict[str, dict[str, float | int | None]]) -> Table:
    shown = NUMBERS[:6]
    table = Table("", *shown, box=None, padding=(0, 1, 0, 0))
    for name, row in rows.items():
        table.add_row(name, *(f"{row[number] or 0:.4f}" for number in shown))
    return table


if __name__ == "__main__":
    app()
