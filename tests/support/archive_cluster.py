"""Runs an archive on a Ray cluster of three nodes on this machine, and kills one of them in the middle.

`python -m support.archive_cluster RECORDINGS OUT MODEL SETTINGS_JSON` prints the number of nodes that are alive at the
end, and how many frames were read.
"""

import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.archive.ray_engine import OBJECT_STORE_BYTES, EngineOptions, ray_workers
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.run import prepare_folder, run_archive
from mmpnet.archive.settings import Settings
from mmpnet.archive.tasks import Outcome, VideoPart, WholeVideo
from mmpnet.system.ray_runtime import ray
from support.archive_workers import DetectorAfterAllBegan
from support.archives import PART_S


def main() -> None:
    from ray.cluster_utils import Cluster

    recordings, out, model = (Path(one) for one in sys.argv[1:4])
    settings = msgspec.json.decode(sys.argv[4], type=Settings)
    node: dict[str, Any] = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node})
    victim = [cluster.add_node(num_cpus=1, **node) for _ in range(2)][-1]
    workers: set[str] = set()

    def killing(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        """Kill the victim when both workers have detected; most tasks are still to do then."""
        for outcome in outcomes:
            if isinstance(outcome.task, VideoPart | WholeVideo):
                workers.add(outcome.worker)
            if len(workers) == 2 and victim in cluster.worker_nodes:
                cluster.remove_node(victim, allow_graceful=False)
            yield outcome

    try:
        opener = functools.partial(DetectorAfterAllBegan, folder=out.with_name("started"), workers=2)
        options = EngineOptions(address=cluster.address, provider="cpu", open_detector=opener)
        with prepare_folder(out, model, settings, resume=False), ray_workers(out, settings, options) as execute:
            found = find_recordings([str(recordings)])
            manifest = run_archive(found, out, lambda tasks: killing(execute(tasks)), part_s=PART_S)
            alive = alive_nodes(at_most=2)
        sys.stdout.write(f"alive {alive} of 3, {manifest.frames} frames, {manifest.failed} failed\n")
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def alive_nodes(*, at_most: int) -> int:
    """The number of nodes that are alive, as soon as Ray has noticed that others are dead, or after two minutes."""
    until_s = time.monotonic() + 120
    while True:
        alive = sum(one["Alive"] for one in ray.nodes())  # type: ignore[no-untyped-call]
        if alive <= at_most or time.monotonic() > until_s:
            return alive
        time.sleep(0.5)


if __name__ == "__main__":
    main()
