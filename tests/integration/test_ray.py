"""`sweep launch` on a real Ray cluster of several nodes with made-up GPUs, parts of which are killed.

The nodes are processes of this machine, so a SQLite store serves. Every run says which GPU it saw and when, and the sweep's record is
read from the store at the end.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.cluster.slots import keeper_name
from sweep.stores import open_store
from tests.integration.conftest import PYTHON, Project
from tests.integration.test_gpu_pinning import NVML
from tests.redis_server import RedisServer

if importlib.util.find_spec("ray") is None:  # not imported: that takes a second of everybody's time
    pytest.skip("Ray is not installed (pip install 'sweep[ray]')", allow_module_level=True)
if not sys.platform.startswith("linux"):
    pytest.skip("looks at processes through /proc", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE_S = 150.0
"""Ray starts processes that take seconds on a busy machine."""

# Says on which GPU it was from when to when, also when it is ended; ends as slowly as it is told to, and not while there is a file `hold`.
TRAIN = """
import json, os, signal, sys, time, sweep
run = sweep.init()
began, number = time.monotonic(), os.environ["SWEEP_RUN_ID"]
gpu = os.environ["CUDA_VISIBLE_DEVICES"]
def note(what):
    line = json.dumps([what, number, os.environ["SWEEP_ATTEMPT"], gpu, time.monotonic()])
    os.write(log, line.encode() + b"\\n")
log = os.open("used.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
note("began")
def ended(*_):
    time.sleep(run.config.get("slow", 0))
    note("ended")
    os._exit(1)
signal.signal(signal.SIGTERM, ended)
run.log({"loss": run.config.x})
print("ENV", json.dumps(dict(os.environ)))
while time.monotonic() < began + run.config.get("s", 0.3) or os.path.exists("hold"):
    time.sleep(0.02)
note("ended")
"""
SPEC = """
program: train.py
method: grid
metric: {name: loss}
limits: {kill_after: 5s}
parameters:
  x: {min: 1, max: %d}
  s: {value: %g}
  slow: {value: %g}
resources: %s
"""


class Nodes:
    """The cluster's process."""

    def __init__(self, folder: Path) -> None:
        (folder / "pynvml.py").write_text(NVML.replace("return 2", "return 8"))
        token = folder / "token"
        token.write_text("0123456789abcdef" * 4)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "RAY_", "CUDA_", "OMP_"))}
        self.auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.env = {
            **own,
            **self.auth,
            "RAY_TMPDIR": str(folder),
            "PYTHONPATH": str(folder),
            "RAY_TEST_OF_OURS": "1",
        }
        self.env |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )
        self.address = self._answer()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        assert self._answer() == "done"

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise AssertionError("the cluster's process has ended")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="swr"))  # Ray's sockets lie below it, and their paths must be short
    found = Nodes(folder)
    try:
        found.say("add a 0,1")
        found.say("add b 2,3")
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


class Launched:
    """A sweep in a project, launched on the cluster."""

    def __init__(self, project: Project, nodes: Nodes) -> None:
        self.project, self.nodes = project, nodes
        project.env |= nodes.auth
        project.write("train.py", TRAIN)
        self.sweep = ""

    def create(self, runs: int, seconds: float = 0.3, slow: float = 0, resources: str = "{gpus: 1}") -> str:
        self.project.write("sweep.yaml", SPEC % (runs, seconds, slow, resources))
        self.sweep = self.project.create()
        return self.sweep

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """`sweep launch` in the background; what it says goes to agent-N.log."""
        with (self.project.folder / f"agent-{len(self.project.agents)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PYTHON, "launch", self.sweep, "--ray", self.nodes.address, *options],
                cwd=self.project.folder,
                env=self.project.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.project.agents.append(process)
        return process

    def start_on_all(self, slots: int) -> subprocess.Popen[bytes]:
        """As `start`; the first runs are held until so many slots have one."""
        self.project.write("hold", "")
        launch = self.start()
        self.wait_used(slots)
        (self.project.folder / "hold").unlink()
        return launch

    def wait_used(self, count: int, what: str = "began") -> None:
        self.project.wait_for(lambda: sum(entry[0] == what for entry in self.used()) >= count, PATIENCE_S)

    def used(self) -> list[list[Any]]:
        path = self.project.folder / "used.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_ended(self) -> None:
        self.project.wait_for(lambda: self.project.status(self.sweep).state == "ended", PATIENCE_S)

    def wait_gone(self) -> None:
        """Nothing of the sweep runs any more."""
        self.project.wait_for(
            lambda: not self.project.processes("") and not launched_agents(self.project), PATIENCE_S
        )

    def check_gpus(self) -> set[str]:
        """No GPU had two runs at a time; the GPUs that were used. A run that was killed has no end: nobody may come upon its GPU
        before it is gone, which the order of its lines shows."""
        on: dict[str, str] = {}
        seen = set()
        for what, run, attempt, gpu, _ in self.used():
            assert gpu.isdecimal(), f"{run} saw the GPUs {gpu!r}"
            seen.add(gpu)
            if what == "began":
                assert on.get(gpu) is None, f"{run} began on GPU {gpu} while {on[gpu]} was there"
                on[gpu] = f"{run}.{attempt}"
            else:
                assert on.get(gpu) == f"{run}.{attempt}"
                on[gpu] = None  # type: ignore[assignment]
        return seen

    def check_record(self, runs: int) -> list[dict[str, Any]]:
        """Every point has been done exactly once."""
        found = self.project.runs(self.sweep)
        assert Counter(run["state"] for run in found) == {"completed": runs}
        assert sorted(run["objective"] for run in found) == list(range(1, runs + 1))
        for run in found:
            *earlier, last = [attempt["outcome"] for attempt in run["attempts"]]
            assert last == "completed"
            assert set(earlier) <= {"lost", "preempted"}
        return found


@pytest.fixture
def launched(project: Project, nodes: Nodes) -> Iterator[Launched]:
    found = Launched(project, nodes)
    yield found
    if found.sweep:
        project.run("launch", "--down", found.sweep, "--now", "--ray", nodes.address)
    for pid in launched_agents(project):
        os.kill(pid, signal.SIGKILL)


def launched_agents(project: Project) -> list[int]:
    """Agents' processes that were launched for this project."""
    found = []
    store = project.env.get("SWEEP_STORE", f"sqlite:///{project.folder}/.sweep/store.db")
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"SWEEP_LAUNCHED=1" in variables and f"SWEEP_STORE={store}".encode() in variables:
            found.append(int(path.parent.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def test_every_run_has_a_gpu_of_its_own(launched: Launched) -> None:
    launched.create(12)
    said = launched.project.wait_end(launched.start_on_all(4), timeout=PATIENCE_S)
    launched.wait_gone()
    runs = launched.check_record(12)
    assert launched.check_gpus() == {"0", "1", "2", "3"}
    assert len({run["attempts"][0]["agent"] for run in runs}) == 4
    for run in runs:
        assert len(run["attempts"]) == 1
        seen = run["attempts"][0]["env"]["CUDA_VISIBLE_DEVICES"]
        assert run["gpus"] == [f"GPU-{seen * 3}"]
        assert f"{run['id']} completed" in said
    assert "best: " in said
    [env] = [
        line
        for line in launched.project.sweep("logs", f"{launched.sweep}-0").splitlines()
        if line.startswith("ENV")
    ]
    environ = json.loads(env.removeprefix("ENV"))
    assert [
        name for name in environ if name.startswith("RAY") or name in ("SWEEP_STORE", "SWEEP_LAUNCHED")
    ] == []
    assert environ["OMP_NUM_THREADS"] == "2"  # 4 CPUs are shared by the 2 GPUs of the node


def test_a_node_vanishes_and_another_joins(launched: Launched) -> None:
    launched.create(24, 1.0)
    launch = launched.start()
    launched.wait_used(5)
    launched.project.write("hold", "")
    launched.nodes.say("remove b")
    launched.nodes.say("add c 4,5")
    launched.project.wait_for(lambda: {"4", "5"} <= {entry[3] for entry in launched.used()}, PATIENCE_S)
    (launched.project.folder / "hold").unlink()
    said = launched.project.wait_end(launch, timeout=PATIENCE_S)
    launched.wait_gone()
    launched.nodes.say("remove c")
    launched.nodes.say("add b 2,3")
    runs = launched.check_record(24)
    assert launched.check_gpus() >= {"0", "1", "4", "5"}
    assert any(len(run["attempts"]) > 1 for run in runs)
    assert "has joined the cluster" in said
    assert "has left the cluster" in said


def test_the_launching_process_is_killed(launched: Launched) -> None:
    launched.create(10, 1.0)
    launch = launched.start()
    launched.wait_used(3)
    launch.kill()
    launch.wait()
    launched.wait_ended()
    launched.wait_gone()
    runs = launched.check_record(10)
    assert all(len(run["attempts"]) == 1 for run in runs)  # nobody noticed
    launched.check_gpus()
    words = "not launched at present: the sweep has ended"
    launched.project.wait_for(lambda: words in launched.project.sweep("launch", "--status", launched.sweep))


def test_an_actor_is_killed_and_its_run_ends_slowly(launched: Launched) -> None:
    """Ray gives the GPU away at once; the run on it takes its time to end."""
    launched.create(9, 1.0, slow=2)
    launch = launched.start()
    launched.wait_used(4)
    victims = launched_agents(launched.project)[:2]
    for agent in victims:
        os.kill(parent_of(agent), signal.SIGKILL)
    launched.project.wait_end(launch, timeout=PATIENCE_S)
    launched.wait_gone()
    runs = launched.check_record(9)
    assert launched.check_gpus() == {"0", "1", "2", "3"}
    assert sum(attempt["outcome"] == "preempted" for run in runs for attempt in run["attempts"]) in (1, 2)


def test_the_keeper_and_an_agent_are_killed(launched: Launched) -> None:
    launched.create(10, 1.0)
    launch = launched.start()
    launched.wait_used(4)
    agents = launched_agents(launched.project)
    workers = {parent_of(agent) for agent in agents}
    [keeper] = [pid for pid in ray_actors("Keeper") if pid not in workers]
    os.kill(keeper, signal.SIGKILL)
    os.kill(agents[0], signal.SIGKILL)
    launched.project.wait_end(launch, timeout=PATIENCE_S)
    launched.wait_gone()
    launched.check_record(10)
    launched.check_gpus()


def ray_actors(name: str) -> list[int]:
    """Processes of Ray's actors of this class: Ray names them so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(f"ray::{name}".encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_in_the_background_with_fewer_slots_and_down(launched: Launched) -> None:
    project = launched.project
    launched.create(400, 0.5, resources="{gpus: 1, labels: {name: b}}")
    said = project.run("launch", launched.sweep, "--ray", launched.nodes.address, "--detach").stderr
    assert "is launched: " in said
    launched.wait_used(3)
    status = project.json("launch", "--status", launched.sweep)
    assert (status["state"], status["wanted"] > 2, status["room"]) == ("working", True, 2)
    assert sorted(slot["gpus"] for slot in status["slots"]) == ["2", "3"]
    assert "slots of" in project.sweep("launch", "--status", launched.sweep)
    project.run("launch", launched.sweep, "--ray", launched.nodes.address, "--detach", "--max-slots", "1")
    project.wait_for(lambda: len(project.json("launch", "--status", launched.sweep)["slots"]) == 1)
    project.sweep("launch", "--down", launched.sweep)
    launched.wait_gone()
    project.wait_for(lambda: project.json("launch", "--status", launched.sweep)["state"] == "ended")
    assert launched.check_gpus() == {"2", "3"}
    runs = project.runs(launched.sweep)
    assert {run["state"] for run in runs} <= {"completed", "queued"}
    assert 3 <= sum(run["state"] == "completed" for run in runs) < 400
    for run in runs:  # those at work were let finish; what was only assigned went back
        begun = [attempt for attempt in run["attempts"] if attempt["started"]]
        assert len(begun) <= 1, begun


def test_create_launch_and_plot_in_one(launched: Launched) -> None:
    project = launched.project
    project.write("sweep.yaml", SPEC % (3, 0.1, 0, "{gpus: 2, custom: {at-a: 1}}"))
    said = project.run("run", "sweep.yaml", "--ray", launched.nodes.address)
    assert said.returncode == 0, said.stderr
    launched.sweep = said.stdout.split()[0]
    for run in launched.check_record(3):
        assert set(run["attempts"][0]["env"]["CUDA_VISIBLE_DEVICES"].split(",")) == {"0", "1"}
    assert "the best so far" in said.stderr
    assert "best-so-far.png" in said.stdout


def test_half_a_gpu_each(launched: Launched) -> None:
    launched.create(16, 0.3, resources="{gpus: 0.5, custom: {at-b: 0.5}}")
    launched.project.wait_end(launched.start_on_all(4), timeout=PATIENCE_S)
    runs = launched.check_record(16)
    assert {run["gpus"][0] for run in runs} <= {"GPU-222", "GPU-333"}
    assert len({run["attempts"][0]["agent"] for run in runs}) == 4


def test_runs_that_all_fail_end_the_launch(launched: Launched) -> None:
    project = launched.project
    project.write("sweep.yaml", SPEC % (40, 0.1, 0, "{gpus: 1}"))
    project.write("train.py", "raise SystemExit('no good')\n")
    launched.sweep = project.create()
    said = project.wait_end(launched.start("--max-slots", "2"), code=3, timeout=PATIENCE_S)
    assert "gave up" in said
    assert "no slot is left" in said


def test_what_no_node_has(launched: Launched) -> None:
    launched.create(2, resources="{gpus: 1, labels: {name: nowhere}}")
    launch = launched.start()
    words = "no node has room for a slot, which takes 1 GPU, name=nowhere; the cluster has 3 nodes: "
    launched.project.wait_for(lambda: words in launched.project.agent_output())
    launch.send_signal(signal.SIGINT)
    launched.project.wait_end(launch, code=130)


def test_mistakes(launched: Launched) -> None:
    project = launched.project
    launched.create(2)
    told = project.mistake(
        "launch", launched.sweep, "--ray", "127.0.0.1:1", RAY_gcs_rpc_server_reconnect_timeout_s="2"
    )
    assert "there is no Ray cluster at 127.0.0.1:1" in told
    told = project.mistake(
        "launch", launched.sweep, "--ray", launched.nodes.address, RAY_AUTH_MODE="disabled"
    )
    assert "RAY_AUTH_MODE" in told
    told = project.mistake("launch", "--status", launched.sweep)
    assert "nothing is known of a launch" in told


# A keeper whose class Ray has thrown away, as it does when an actor ends, a moment before the name goes.
ENDING = """
import sys, time, ray
from ray.experimental import internal_kv
class Keeper:
    pass
ray.init(address=sys.argv[1], namespace="sweep", log_to_driver=False, logging_level="CRITICAL")
keeper = ray.remote(Keeper).options(name=sys.argv[2], lifetime="detached", num_cpus=0).remote()
ray.get(keeper.__ray_ready__.remote())
job = ray.get_runtime_context().get_job_id().encode()
[key] = internal_kv._internal_kv_list(b"ActorClass:" + job, namespace=b"fun")
internal_kv._internal_kv_del(key, namespace=b"fun")
print("ready", flush=True)
time.sleep(float(sys.stdin.readline()))
ray.kill(keeper)
"""


def test_a_keeper_that_is_just_ending(launched: Launched) -> None:
    """Seen once: `--down` came upon one and ended with an error of Ray's."""
    sweep = launched.create(2)
    env = launched.project.env | launched.nodes.auth
    with subprocess.Popen(
        [sys.executable, "-c", ENDING, launched.nodes.address, keeper_name(sweep)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as keeper:
        assert keeper.stdout is not None and keeper.stdin is not None
        assert keeper.stdout.readline() == "ready\n"
        keeper.stdin.write("4\n")
        keeper.stdin.flush()
        done = launched.project.run("launch", "--down", sweep, "--now", "--ray", launched.nodes.address)
    assert "is not launched at present" in done.stderr


def test_where_ray_is_not_installed(launched: Launched) -> None:
    launched.project.write("none/ray.py", "raise ImportError('no Ray here')\n")
    launched.create(2)
    told = launched.project.mistake(
        "launch", launched.sweep, PYTHONPATH=str(launched.project.folder / "none")
    )
    assert told.endswith("sweep: Ray is not installed here; type: pip install 'sweep[ray]'\n")


def test_the_address_of_the_store_is_in_no_log(launched: Launched) -> None:
    """It may hold a password: not in what Ray writes, and on no command line."""
    launched.create(8, 1.0)
    launch = launched.start()
    launched.wait_used(2)
    address = f"sqlite:///{launched.project.folder}/.sweep/store.db".encode()
    assert holding("environ", address)  # the agents have it
    assert holding("cmdline", address) == []
    launched.project.wait_end(launch, timeout=PATIENCE_S)
    assert logs_with(launched.nodes, address) == []


PLANTED = "-".join(["planted", "ray", "pw"])  # not as it stands here: the record holds this file


@pytest.fixture
def redis_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("r"), appendonly="yes", requirepass=PLANTED)
    yield made.start()
    made.kill()


def test_a_whole_sweep_over_redis_and_a_node_vanishes(
    project: Project, nodes: Nodes, redis_with_password: RedisServer
) -> None:
    """As on a real cluster: nothing but a Redis server is shared, and that wants a password, which shows nowhere."""
    project.env["SWEEP_STORE"] = f"redis://:{PLANTED}@127.0.0.1:{redis_with_password.port}/0"
    launched = Launched(project, nodes)
    planted, shown = PLANTED.encode(), list[Path]()
    launched.create(24, 1.0)
    try:
        launch = launched.start()
        launched.wait_used(5)
        assert holding("environ", planted)  # the agents have it
        shown += holding("cmdline", planted)
        nodes.say("remove b")
        launched.wait_used(12)
        shown += holding("cmdline", planted)
        said = project.wait_end(launch, timeout=PATIENCE_S)
        launched.wait_gone()
    finally:
        nodes.say("add b 2,3")
        project.run("launch", "--down", launched.sweep, "--now", "--ray", nodes.address)
        for pid in launched_agents(project):
            os.kill(pid, signal.SIGKILL)
    runs = launched.check_record(24)
    launched.check_gpus()
    assert any(len(run["attempts"]) > 1 for run in runs)
    with closing(open_store(project.env["SWEEP_STORE"], project.folder)) as store:
        journal = store.read(launched.sweep, 0)
        assert [recorded.position for recorded in journal] == list(range(1, len(journal) + 1))
        blobs = [store.get_blob(digest) or b"" for digest in store.blobs()]
        assert all(planted not in blob for blob in [*blobs, repr(journal).encode()])
    assert shown == []
    for words in (
        ("launch", "--status", launched.sweep),
        ("status", launched.sweep),
        ("export", launched.sweep),
    ):
        said += project.sweep(*words)
    assert PLANTED not in said
    assert logs_with(nodes, planted) == []


LOGS = (".log", ".out", ".err", ".json", ".txt")


def holding(name: str, text: bytes) -> list[Path]:
    """This file of every process that is ours to look at and that has `text` in it."""
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            if text in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


def logs_with(nodes: Nodes, text: bytes) -> list[Path]:
    """Ray's logs that hold `text`."""
    below = Path(nodes.env["RAY_TMPDIR"]).rglob("*")
    logs = [path for path in below if path.is_file() and path.suffix in LOGS]
    assert len(logs) > 10
    return [path for path in logs if text in path.read_bytes()]
