"""The tables of models in the README and in docs/MEASUREMENTS.md, made from the newest result of peers.py."""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from harness.peers.accuracy import ACCURACIES
from mmpnet.contract.errors import MmpnetError

PROJECT = Path(__file__).parents[3]
RESULTS = PROJECT / "benchmarks" / "results"
BEGIN, END = "<!-- headline: begin -->\n", "<!-- headline: end -->\n"
SHOWN = ("AP50", "AP")
WIDTH = 100


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


def short_text(document: dict[str, Any], path: Path, folder: Path = PROJECT) -> str:
    """What the README says: the figure, whole sets only, and which models are better than ours.

    path: the file of the document. folder: where the page is, for its links.
    """
    figure = f"![Accuracy against time of all models]({_link(path.with_suffix('.png'), folder)})"
    table = headline_table(document, path, folder, brief=True)
    return f"{figure}\n\n{table}\n{_wrapped(_verdict(document))}\n"


def headline_table(document: dict[str, Any], path: Path, folder: Path = PROJECT, *, brief: bool = False) -> str:
    """The table in markdown, fastest first, and where its numbers come from.

    path: the file of the document. folder: where the page is, for its links. brief: a column of a part does not
    repeat the name of its set, which is to its left.
    """
    contestants = document["contestants"]
    sets = document["sets"]
    names = [f"its part {facts['part']}" if brief and facts["part"] else facts["name"] for facts in sets]
    headings = ["model", "ms", *(f"{name}, {' / '.join(SHOWN)}" for name in names), "MB"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for name, row in sorted(contestants.items(), key=lambda item: item[1]["one thread"]["end_to_end_ms"]):
        shown = f"**{name}**" if row["family"] == "mmpnet" else name
        accuracies = [_accuracy_cell(row["accuracy"].get(facts["name"])) for facts in sets]
        speed, size_mb = f"{row['one thread']['end_to_end_ms']:.1f}", f"{row['size_bytes'] / 1e6:.1f}"
        lines.append(f"| {' | '.join([shown, speed, *accuracies, size_mb])} |")
    return "\n".join([*lines, "", _wrapped(_provenance(document, sets, path, folder)), ""])


def with_table(page: str, text: str) -> str:
    """The page with this text between its marks. Raises: MmpnetError where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MmpnetError(f"the page has no lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + text + end + after


def _accuracy_cell(numbers: dict[str, float | None] | None) -> str:
    if numbers is None:
        return "–"
    return " / ".join("–" if numbers[name] is None else f"{numbers[name]:.3f}" for name in SHOWN)


def _verdict(document: dict[str, Any]) -> str:
    """Which models find more people than the best of ours on the first set, and how fast they are."""
    name = document["sets"][0]["name"]
    rows = {key: row for key, row in document["contestants"].items() if row["accuracy"].get(name)}
    ap50 = {key: row["accuracy"][name]["AP50"] or 0.0 for key, row in rows.items()}
    ours = [key for key, row in rows.items() if row["family"] == "mmpnet"]
    best = max(ours, key=ap50.__getitem__)
    better = sorted((key for key in rows if ap50[key] > ap50[best]), key=ap50.__getitem__, reverse=True)
    if not better:
        return f"No other model in the table has a higher AP50 than {best} on {name}."
    times = {key: row["one thread"]["end_to_end_ms"] for key, row in rows.items()}
    fastest = min(times[key] for key in better)
    faster = [key for key in ours if times[key] < fastest]
    speed = f" All of them are slower than {_listed(faster)}." if faster else ""
    return f"**Better on {name}, by AP50, than all models of mmpnet:** {_listed(better)}.{speed}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _link(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _provenance(document: dict[str, Any], sets: list[dict[str, Any]], path: Path, folder: Path) -> str:
    """The sentences below the table."""
    contestants, machine = document["contestants"], document["machine"]
    counts = ", ".join(f"{facts['name']} ({facts['images']})" for facts in sets)
    where = f"{machine['cpu']} ({', '.join(machine['instruction_sets'])}), ONNX Runtime {machine['onnxruntime']}"
    links = ", ".join(
        f"[{what}]({_link(file, folder)})" for what, file in (("result", path), ("figure", path.with_suffix(".png")))
    )
    without = [name for name, row in contestants.items() if not row["accuracy"]]
    dashes = f" A dash: accuracy not measured, only time ({', '.join(without)})." if without else ""
    return (
        f"{' / '.join(SHOWN)} of class person on the images of {counts}. ms: a {document['frame']} frame from "
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
