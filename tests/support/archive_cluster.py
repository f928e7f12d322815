"""Runs an archive on a Ray cluster of three nodes on this machine, and kills one of them in the middle.

`python -m support.archive_cluster RECORDINGS OUT MODEL SETTINGS_JSON` prints the number of nodes that are alive at the
end, and how many tasks were done when one was killed.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.archive.progress import Progress
from mmpnet.archive.ray_engine import OBJECT_STORE_BYTES, EngineOptions, ray_workers
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.run import Watcher, prepare_folder, run_archive
from mmpnet.archive.settings import Settings
from mmpnet.system.ray_runtime import ray
from support.archives import PART_S

KILL_AFTER_TASKS = 3


def main() -> None:
    from ray.cluster_utils import Cluster

    recordings, out, model = (Path(one) for one in sys.argv[1:4])
    settings = msgspec.json.decode(sys.argv[4], type=Settings)
    node: dict[str, Any] = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node})
    victim = [cluster.add_node(num_cpus=1, **node) for _ in range(2)][-1]
    seen = 0

    def watch(progress: Progress) -> None:
        nonlocal seen
        seen += progress.stage == "detecting"
        if seen == KILL_AFTER_TASKS and victim in cluster.worker_nodes:
            cluster.remove_node(victim, allow_graceful=False)

    try:
        options = EngineOptions(address=cluster.address, provider="cpu")
        with prepare_folder(out, model, settings, resume=False), ray_workers(out, settings, options) as execute:
            found = find_recordings([str(recordings)])
            manifest = run_archive(found, out, execute, part_s=PART_S, watcher=Watcher(progress=watch))
            alive = sum(one["Alive"] for one in ray.nodes())  # type: ignore[no-untyped-call]
        sys.stdout.write(f"alive {alive} of 3, {seen} tasks, {manifest.frames} frames, {manifest.failed} failed\n")
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
