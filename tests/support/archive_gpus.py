"""Runs an archive on a Ray cluster of which one machine says that it has a GPU.

`python -m support.archive_gpus RECORDINGS OUT MODEL SETTINGS_JSON KIND` prints the notes of the run, and the providers
of its frames or its error. KIND is `pretended`, or `real`, which fails without a GPU.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.archive.ray_engine import OBJECT_STORE_BYTES, EngineOptions, ray_workers
from mmpnet.archive.recordings import find_recordings
from mmpnet.archive.run import prepare_folder, run_archive
from mmpnet.archive.settings import Settings
from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.inference.detector import Detector
from support.archives import PART_S
from support.pretended_cuda import pretended_cuda

SHARE = 0.5


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    from ray.cluster_utils import Cluster

    recordings, out, model = (Path(one) for one in sys.argv[1:4])
    settings = msgspec.json.decode(sys.argv[4], type=Settings)
    node: dict[str, Any] = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **node})
    cluster.add_node(num_cpus=2, num_gpus=1, **node)
    cluster.add_node(num_cpus=1, num_gpus=0, **node)
    opener = pretended_cuda if sys.argv[5] == "pretended" else Detector
    options = EngineOptions(address=cluster.address, gpus=SHARE, provider="auto", open_detector=opener)
    try:
        with (
            prepare_folder(out, model, settings, resume=False),
            ray_workers(out, settings, options, notify=say) as execute,
        ):
            manifest = run_archive(find_recordings([str(recordings)]), out, execute, part_s=PART_S)
        say(f"{manifest.providers} {manifest.failed}")
    except MmpnetError as error:
        say(f"error: {error}")
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
