"""A Ray cluster of several nodes with made-up GPUs on this machine, as a process that a test talks to.

    python ray_nodes.py      reads `add NAME GPU,GPU`, `remove NAME` (without grace) and end of file; answers each with a line

Every node has GPUs of its own (CUDA_VISIBLE_DEVICES), so that a run's shows on which node it was, too.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster

MEMORY = {"object_store_memory": 80 << 20}


def main() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **MEMORY}
    )
    nodes: dict[str, Any] = {}
    answer(cluster.address)
    for line in sys.stdin:
        word, name, *gpus = line.split()
        if word == "add":
            devices = gpus[0]
            nodes[name] = cluster.add_node(
                num_cpus=4,
                num_gpus=len(devices.split(",")),
                resources={f"at-{name}": 2},
                labels={"name": name},
                env_vars={"CUDA_VISIBLE_DEVICES": devices},
                **MEMORY,
            )
        else:
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        answer("done")
    cluster.shutdown()


def answer(text: str) -> None:
    print(f"> {text}", flush=True)


if __name__ == "__main__":
    main()
