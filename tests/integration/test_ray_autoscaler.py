"""A launch on a cluster that grows and shrinks: Ray's own autoscaler, whose made-up cloud starts nodes as processes of this machine.

(`ray.cluster_utils.AutoscalingCluster` would do the same, but ends everybody's Ray on the machine first.)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project
from tests.integration.test_ray import PATIENCE_S, SPEC, TRAIN, holding
from tests.redis_server import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

HEAD_ID = "f" * 51 + "00000"
"""The name that Ray's made-up cloud gives to the head."""
MEMORY = 80 << 20
LISTS = [f"{part}setup_commands" for part in ("", "head_", "worker_")] + ["initialization_commands"]
LISTS += ["head_start_ray_commands", "worker_start_ray_commands"]
LISTS += ["cluster_synced_files", "rsync_exclude", "rsync_filter"]
# What the autoscaler has been asked for, as it sees it, and how many nodes there are.
LOOK = """
import json, ray
from ray._private import worker
from ray.autoscaler.v2.sdk import get_cluster_resource_state
ray.init(address="auto", log_to_driver=False, logging_level="CRITICAL")
state = get_cluster_resource_state(worker.global_worker.gcs_client)
asked = [
    [dict(one.request.resources_bundle), one.count]
    for constraint in state.cluster_resource_constraints
    for one in constraint.resource_requests
]
print(json.dumps([asked, sum(node["Alive"] for node in ray.nodes())]))
"""


class Cloud:
    """A head without room for a slot, and machines that the autoscaler may add, each with room for one."""

    def __init__(self, folder: Path) -> None:
        self.address = f"{_here()}:{free_port()}"
        self.folder = folder
        kinds = {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1, "far": 1, "object_store_memory": MEMORY},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        }
        config = {
            "cluster_name": "made-up",
            "max_workers": 2,
            "idle_timeout_minutes": 0.05,
            "upscaling_speed": 10,
            "provider": {
                # By its type Ray would look for its defaults in a file that its package lacks.
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "gcs_address": self.address,
                "launch_multiple": True,
                "head_node_id": HEAD_ID,
            },
            "available_node_types": kinds,
            "head_node_type": "ray.head.default",
            "auth": {},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            **{name: [] for name in LISTS},
        }
        (folder / "cloud.json").write_text(json.dumps(config))
        own = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "RAY_", "CUDA_", "OMP_"))}
        self.env = own | {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled"}
        cloud = {
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        }
        words = ["--head", "--port", self.address.rpartition(":")[2], "--autoscaling-config", "cloud.json"]
        words += ["--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(MEMORY)]
        words += ["--dashboard-agent-listen-port", "0"]
        words += ["--include-dashboard", "false", "--disable-usage-stats", "--block"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "start", *words],
                cwd=folder,
                env=self.env | cloud,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def look(self) -> tuple[list[Any], int]:
        """(what the autoscaler is asked for, how many nodes there are)."""
        env = self.env | {"RAY_ADDRESS": self.address}
        done = subprocess.run(
            [sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        asked, nodes = json.loads(done.stdout.splitlines()[-1])
        return asked, nodes

    def is_up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return "Ray runtime started" in (self.folder / "log").read_text()

    def close(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        for path in holding("environ", f"RAY_TMPDIR={self.folder}\0".encode()):
            with suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)
        self.process.wait()


def _here() -> str:
    """This machine's address, as Ray finds it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))
        except OSError:
            return "127.0.0.1"
        name: str = probe.getsockname()[0]
        return name


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    folder = Path(tempfile.mkdtemp(prefix="swr"))
    found = Cloud(folder)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


def create(project: Project, cloud: Cloud, runs: int, seconds: float, resource: str) -> str:
    """A sweep, when the cloud is as it was in the beginning."""
    project.wait_for(cloud.is_up, PATIENCE_S)
    project.wait_for(lambda: cloud.look()[1] == 1, PATIENCE_S)
    project.env |= {"RAY_AUTH_MODE": "disabled"}
    project.write("sweep.yaml", SPEC % (runs, seconds, 0, f"{{gpus: 0, cpus: 1, custom: {{{resource}: 1}}}}"))
    project.write("train.py", TRAIN.replace('os.environ["CUDA_VISIBLE_DEVICES"]', '""'))
    return project.create()


def test_asks_for_nodes_and_gives_them_back(project: Project, cloud: Cloud) -> None:
    sweep = create(project, cloud, 3, 25.0, "far")
    launch = project.start("launch", sweep, "--ray", cloud.address)
    words = "no node has room for a slot, which takes 1 CPU, 1 far; the cluster has 1 node: "
    project.wait_for(lambda: words in project.agent_output(), PATIENCE_S)
    wanted = {"CPU": 1.0, "far": 1.0}
    project.wait_for(lambda: cloud.look()[0] == [[wanted, 3]], PATIENCE_S)  # a slot for each run
    # That is more than the cloud has, which therefore does nothing until it is asked for less.
    project.wait_for(lambda: cloud.look()[1] > 1, PATIENCE_S)
    project.wait_end(launch, timeout=PATIENCE_S)
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 3
    assert len({run["attempts"][0]["agent"] for run in project.runs(sweep)}) == 2, (
        "the cloud has two machines"
    )
    assert cloud.look()[0] == [], "what was asked for is not wanted any more"
    project.wait_for(lambda: cloud.look()[1] == 1, PATIENCE_S)  # the machines are gone


def test_a_launch_that_asks_for_what_cannot_be_does_not_hold_up_another(
    project: Project, cloud: Cloud
) -> None:
    """What they ask for counts together, and the autoscaler does nothing about it while a part of it cannot be met."""
    vain = create(project, cloud, 2, 1.0, "nowhere")
    project.run("launch", vain, "--ray", cloud.address, "--detach")
    project.wait_for(lambda: cloud.look()[0] == [[{"CPU": 1.0, "nowhere": 1.0}, 2]], PATIENCE_S)
    sweep = create(project, cloud, 2, 1.0, "far")
    try:
        launch = project.start("launch", sweep, "--ray", cloud.address)
        project.wait_for(lambda: len(cloud.look()[0]) == 2, PATIENCE_S)
        project.wait_end(launch, timeout=300)
        assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 2
    finally:
        project.run("launch", "--down", vain, "--now")
    project.wait_for(lambda: cloud.look()[0] == [], PATIENCE_S)
