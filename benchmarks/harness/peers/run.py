"""Everything that peers.py measures, as one document."""

from collections.abc import Sequence
from typing import Any

import msgspec

from harness.peers.accuracy import MeasuredSet, contestant_results, part_facts, part_name, part_numbers
from harness.peers.contestants import Entry, open_contestant
from harness.peers.latency import THREADS, contestant_latencies
from mmpnet.bench.environment import machine_document
from mmpnet.contract.arrays import UInt8Array
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.runtime.inference.model_file import read_model_file

NO_ACCURACY = "no accuracy: timed with the weights in the file"


def measure(
    entries: Sequence[Entry], sets: Sequence[MeasuredSet], frame_bgr: UInt8Array, *, rounds: int
) -> dict[str, Any]:
    """The accuracy of every entry on every set, and its latency; 0 rounds leave the latency out.

    Raises: ContractError for a file of no known family; DatasetError as `evaluate`.
    """
    rows = {entry.name: _row(entry) for entry in entries}
    sets_facts: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for measured in () if entry.timed_only else sets:
            contestant = open_contestant(entry, threads=0, thresholds=EVALUATION_THRESHOLDS)
            for result in contestant_results(contestant, measured, f"{entry.name} on {measured.dataset.name}"):
                sets_facts[part_name(result.part)] = part_facts(result, measured.dataset)
                rows[entry.name]["accuracy"][part_name(result.part)] = part_numbers(result)
    if rounds:
        for label, threads in THREADS.items():
            for name, times in contestant_latencies(entries, frame_bgr, threads=threads, rounds=rounds).items():
                rows[name][label] = times
    return {
        "protocol": EVALUATION_PROTOCOL,
        "sets": list(sets_facts.values()),
        "frame": f"{frame_bgr.shape[1]}x{frame_bgr.shape[0]}",
        "rounds": rounds,
        "contestants": rows,
        "machine": machine_document(),
    }


def _row(entry: Entry) -> dict[str, Any]:
    """What a contestant is; a note where it is only timed."""
    contestant = open_contestant(entry, threads=0, thresholds=EVALUATION_THRESHOLDS)
    file = read_model_file(entry.path)
    row: dict[str, Any] = {
        "family": contestant.family,
        "precision": contestant.precision,
        "sha256": file.sha256[:12],
        "input_hw": list(contestant.input_hw),
        "size_bytes": file.size_bytes,
        "accuracy": {},
    }
    if contestant.family == "mmpnet" and contestant.precision == "int8":
        row["quantization"] = None if file.metadata is None else msgspec.to_builtins(file.metadata.quantization)
    return {**row, "note": NO_ACCURACY} if entry.timed_only else row
