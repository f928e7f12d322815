"""The README's table of models, made from the newest result of peers.py."""

import json
from pathlib import Path
from typing import Any

from harness.peers.accuracy import ACCURACIES
from mmpnet.contract.errors import MmpnetError

PROJECT = Path(__file__).parents[3]
RESULTS = PROJECT / "benchmarks" / "results"
BEGIN, END = "<!-- headline: begin -->\n", "<!-- headline: end -->\n"
SHOWN = ("AP50", "AP")


def newest_result() -> Path:
    """The newest result of peers.py, by the date in its name. Raises: MmpnetError without one."""
    found = sorted(RESULTS.glob("*-peers-*.json"))
    if not found:
        raise MmpnetError(f"{RESULTS}: holds no result of peers.py")
    return found[-1]


def read_result(path: Path) -> dict[str, Any]:
    """A stored document of peers.py; one of before several sets in the form of today."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document if "sets" in document else _in_todays_form(document)


def headline_table(document: dict[str, Any], path: Path) -> str:
    """The table in markdown, fastest first, and where its numbers come from; `path` is the document's file."""
    contestants, sets = document["contestants"], document["sets"]
    headings = ["model", "ms per frame, one thread", *(f"{facts['name']}, {' / '.join(SHOWN)}" for facts in sets), "MB"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for name, row in sorted(contestants.items(), key=lambda item: item[1]["one thread"]["end_to_end_ms"]):
        shown = f"**{name}**" if row["family"] == "mmpnet" else name
        accuracies = [_accuracy_cell(row["accuracy"].get(facts["name"])) for facts in sets]
        speed, size_mb = f"{row['one thread']['end_to_end_ms']:.1f}", f"{row['size_bytes'] / 1e6:.1f}"
        lines.append(f"| {' | '.join([shown, speed, *accuracies, size_mb])} |")
    return "\n".join([*lines, "", _provenance(document, path), ""])


def with_table(readme: str, text: str) -> str:
    """The README with this text between its marks. Raises: MmpnetError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MmpnetError(f"README.md: has no lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + text + end + after


def _accuracy_cell(numbers: dict[str, float | None] | None) -> str:
    if numbers is None:
        return "–"
    return " / ".join("–" if numbers[name] is None else f"{numbers[name]:.3f}" for name in SHOWN)


def _provenance(document: dict[str, Any], path: Path) -> str:
    """The sentences below the table."""
    contestants, machine = document["contestants"], document["machine"]
    counts = ", ".join(f"{facts['name']} ({facts['images']})" for facts in document["sets"])
    where = f"{machine['cpu']} ({', '.join(machine['instruction_sets'])}), ONNX Runtime {machine['onnxruntime']}"
    links = ", ".join(
        f"[{what}]({file.relative_to(PROJECT).as_posix()})"
        for what, file in (("result", path), ("figure", path.with_suffix(".png")))
    )
    without = [name for name, row in contestants.items() if not row["accuracy"]]
    dashes = f" A dash: accuracy not measured, only time ({', '.join(without)})." if without else ""
    return (
        f"{' / '.join(SHOWN)} of class person on the images of {counts}. Times: a {document['frame']} frame from "
        f"pixels to boxes, medians of {document['rounds']}, taking turns in one run, on one core of an {where} "
        f"(`{_command(document)}`, {links}).{dashes}"
    )


def _command(document: dict[str, Any]) -> str:
    """The command that measured the document."""
    sets = list(dict.fromkeys(facts["set"] for facts in document["sets"]))
    data = [f"--data {name}" for name in sets]
    divided = dict.fromkeys(facts["set"] for facts in document["sets"] if facts["part"] is not None)
    by_source = [f"--by-source {name}" for name in divided]
    timed = [f"--timed {name}.onnx" for name, row in document["contestants"].items() if not row["accuracy"]]
    return " ".join(["python benchmarks/peers.py", *data, "--peers PEERS", *by_source, *timed])


def _in_todays_form(document: dict[str, Any]) -> dict[str, Any]:
    """A document with one set, whose accuracies stood in the contestants' rows.

    Rows with `made_from` are left out: peers that an earlier version of peers.py quantized.
    """
    name = f"{document['data']['split']}.json"
    facts = {"name": name, "set": name, "part": None, "images": document["data"]["pictures"]}
    contestants = {}
    for model, row in document["contestants"].items():
        if "made_from" not in row:
            numbers = {key: row[key] for key in ACCURACIES if key in row}
            measured = any(value is not None for value in numbers.values())
            contestants[model] = {**row, "accuracy": {name: numbers} if measured else {}}
    return {**document, "sets": [facts], "contestants": contestants}
