"""A sweep in Redis: memory per run, attaching to 10,000 runs, and how soon an ended run is answered; against optuna's Redis journal."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import SOURCE, Context, Figures, Goal, Row, Table, environment, process
from recorded import record, spec
from redis_answers import Found, answers

from sweep.api.serving import find_server
from sweep.controller.recovery import EVERY, NAME, OVERDUE, SHARE, recover
from sweep.core.names import controller_lease
from sweep.core.snapshot import mark_of, pack
from sweep.stopping import make_stopper
from sweep.stores.redis import RedisStore

RUNS, REPORTS = 2_000, 10
MANY = 10_000
SECONDS = 5.0
"""For so long agents are watched."""

OPTUNA = """
import sys, time, warnings
warnings.simplefilter("ignore")
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
from optuna.storages.journal import JournalRedisBackend
kinds = optuna.distributions
space = dict(x=kinds.FloatDistribution(-5, 5), lr=kinds.FloatDistribution(1e-5, 1e-1, log=True),
             n=kinds.IntDistribution(1, 8))
random = optuna.samplers.RandomSampler(seed=1)
url, what, count, reports = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
began = time.process_time()
if what == "attach":
    study = optuna.load_study(storage=optuna.storages.JournalStorage(JournalRedisBackend(url)), study_name="s", sampler=random)
    trial = study.ask(space)
    print(time.process_time() - began)
    sys.exit()
study = optuna.create_study(storage=optuna.storages.JournalStorage(JournalRedisBackend(url)), study_name="s", sampler=random)
for k in range(count):
    trial = study.ask(space)
    for i in range(reports):
        trial.report((k * 7919 % 10007) / 10007 + 1 / (i + 1), i)
    study.tell(trial, (k * 7919 % 10007) / 10007)
"""
ATTACH = """
import sys, time
from pathlib import Path
from sweep.controller import driver_maker
from sweep.core.names import controller_lease
from sweep.stores import open_store
import sweep.core.snapshot, sweep.search, sweep.stopping
import sweep.controller.recovery, sweep.stores.redis
began = time.process_time()
store = open_store(sys.argv[1], Path.cwd())
lease = store.acquire(controller_lease("bench"), "bench", 60.0)
driver = driver_maker(store, "bench", print)(lease)
with store.batch():
    driver.step(time.time())
print(time.process_time() - began)
assert len(driver.state.runs) == int(sys.argv[2])
driver._state = None  # leave no snapshot
driver.close()
store.release(lease)
store.close()
"""
AGENT = """
import sys, time
from pathlib import Path
from sweep.core.rows import SWEEP_KEY
from sweep.stores import open_store
import sweep.stores.redis
began = time.process_time()
store = open_store(sys.argv[1], Path.cwd())
store.acquire("agent/new", "new", 1.0)
position = store.position("bench")
store.read("bench", position, addressee="new")
store.read_index("bench", SWEEP_KEY)
print(time.process_time() - began)
store.close()
"""


class Server:
    """A redis-server of the benchmark's own, on a unix socket, with its append-only file in a temporary folder."""

    def __init__(self, fsync: str | None) -> None:
        program = find_server()
        assert program is not None, "no redis-server here"
        self._folder = tempfile.TemporaryDirectory(prefix="bench-redis-")
        self.path = f"{self._folder.name}/s"
        self.url = f"unix://{self.path}"
        words = ["--port", "0", "--unixsocket", self.path, "--dir", self._folder.name, "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", fsync] if fsync else ["--appendonly", "no"]
        self._command = [program, *words]
        self.start()

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._process.pid

    def start(self) -> None:
        """Start it, with the data that its append-only file has."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(Exception):
                RedisStore(self.url, patience_s=0.1).close()
                return
            time.sleep(0.05)

    def kill(self) -> None:
        """As `kill -9` would."""
        self._process.kill()
        self._process.wait()

    def used_bytes(self) -> int:
        """What its data take."""
        store = RedisStore(self.url)
        used: int = store.describe()["memory_bytes"]
        store.close()
        return used

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


@contextlib.contextmanager
def server(fsync: str | None = None) -> Iterator[Server]:
    made = Server(fsync)
    try:
        yield made
    finally:
        made.close()


def tables(context: Context) -> Iterator[Table]:
    """Some tables; optuna, which this package needs, is run by the same Python."""
    if find_server() is None:
        context.missing.add("redis-server")
        return
    yield _memory(context)
    yield from _attaching(context)
    yield _answers(context)
    yield from _many(context)


# --- memory --------------------------------------------------------------------------------------------------------


def _memory(context: Context) -> Table:
    optuna, ours = "optuna's Redis journal", "sweep, all agents gone"
    return Table(
        f"Redis memory of {RUNS:,} finished runs with {REPORTS} reports each",
        [
            Row(optuna, lambda: _optuna_memory(context)),
            Row("sweep, while agents are at work", lambda: _our_memory(close=False)),
            Row(ours, lambda: _our_memory(close=True)),
        ],
        [Goal(ours, "bytes per run", most=1024)],
        note="journal, index, history of two metrics, and the snapshot; each run with its own config, command, environment and values",
    )


def _our_memory(*, close: bool) -> Figures:
    with server() as redis:
        store = RedisStore(redis.url)
        record(store, "first", spec(20), REPORTS, slots=16, history=REPORTS, varied=True)
        store.compact()  # the server's scripts, once and for all sweeps
        store.delete_sweep("first")
        before = redis.used_bytes()
        began = time.process_time()
        record(store, "bench", spec(RUNS), REPORTS, slots=16, history=REPORTS, varied=True)
        if close:
            store.close()
        cpu_s = time.process_time() - began
        used = redis.used_bytes() - before
        return {"bytes per run": used / RUNS, "CPU ms per run": 1e3 * cpu_s / RUNS}


def _optuna_memory(context: Context) -> Figures:
    with server() as redis:
        before = redis.used_bytes()
        command = [sys.executable, "-c", OPTUNA, redis.url, "build", str(RUNS), str(REPORTS)]
        figures, _ = process(command, context.folder, environment(context.folder))
        used = redis.used_bytes() - before
        return {"bytes per run": used / RUNS, "CPU ms per run": figures["CPU ms"] / RUNS}


# --- attaching -----------------------------------------------------------------------------------------------------


def _attaching(context: Context) -> Iterator[Table]:
    optuna, snapshot, fold = (
        "optuna, load_study and ask",
        "controller, from a snapshot",
        "controller, folding the journal",
    )
    agent, tail = "agent that does not lead", "controller, from the oldest snapshot there can be"
    usual = "controller, from a snapshot 2,000 entries old"
    with server() as theirs, server() as ours, server() as bare, server() as old, server() as recent:
        command = [sys.executable, "-c", OPTUNA, theirs.url, "build", str(MANY), str(REPORTS)]
        process(command, context.folder, environment(context.folder))
        for redis in (ours, bare, old, recent):
            store = RedisStore(redis.url)
            record(store, "bench", spec(MANY), REPORTS, slots=64, history=0)
            lease = store.acquire(controller_lease("bench"), "bench", 1.0)
            assert lease is not None
            store.release(lease)
            if redis is bare:
                store.put_cache("bench", "state", b"")
            elif redis is old:
                position = store.position("bench")
                _snapshot_at(store, position - max(OVERDUE * EVERY, position // SHARE))
            elif redis is recent:
                _snapshot_at(store, store.position("bench") - EVERY)
            store.close()
        rows = [
            Row(optuna, _timed(context, OPTUNA, theirs.url, "attach", "0", "0")),
            Row(fold, _timed(context, ATTACH, bare.url, str(MANY))),
            Row(snapshot, _timed(context, ATTACH, ours.url, str(MANY))),
            Row(usual, _timed(context, ATTACH, recent.url, str(MANY))),
            Row(tail, _timed(context, ATTACH, old.url, str(MANY))),
            Row(agent, _timed(context, AGENT, ours.url)),
        ]
        yield Table(
            f"attaching to {MANY:,} finished runs with {REPORTS} reports each (imports aside)",
            rows,
            [
                Goal(snapshot, "CPU ms", at_least=2, to=optuna),
                Goal(usual, "CPU ms", at_least=2, to=optuna),
                Goal(tail, "CPU ms", at_least=2, to=optuna),
                Goal(agent, "CPU ms", at_least=3, to=optuna),
            ],
            note=f"a controller that never has a quiet moment renews its snapshot when one part in {SHARE} of the journal is behind "
            f"it, and {OVERDUE * EVERY:,} entries; others do so every {EVERY:,} entries",
        )


def _snapshot_at(store: RedisStore, position: int) -> None:
    """Keep what a controller would have kept when the journal stood there, in place of what is kept."""
    state = recover(store, "bench", position, make_stopper)
    [last] = store.read("bench", position - 1, limit=1)
    data = pack(state, mark_of(last))
    assert data is not None
    store.put_cache("bench", NAME, data)


def _timed(context: Context, code: str, *words: str) -> Callable[[], Figures]:
    def measure() -> Figures:
        env = environment(context.folder, PYTHONPATH=str(SOURCE))
        _, text = process([sys.executable, "-c", code, *words], context.folder, env)
        return {"CPU ms": 1e3 * float(text.split()[-1])}

    return measure


# --- answers -------------------------------------------------------------------------------------------------------


def _answers(context: Context) -> Table:
    everysec, always = "appendfsync everysec", "appendfsync always"
    return Table(
        "from the append of an ended run to the next assignment in the agent's hands, 2,000 ended runs a second asked for",
        [
            Row(everysec, lambda: _answered(context, "everysec")),
            Row(always, lambda: _answered(context, "always")),
        ],
        [Goal(everysec, "p99 ms", most=20), Goal(always, "p99 ms", most=50)],
        note="one process leads, four are agents; all of them and the server share this machine's cores",
    )


def _answered(context: Context, fsync: str) -> Figures:
    with server(fsync) as redis:
        found = answers(redis.url, Path(context.folder), processes=4, slots=50, per_s=2000, seconds=SECONDS)
        cut = statistics.quantiles(found.latencies_ms, n=100)
        times = {"p50 ms": cut[49], "p99 ms": cut[98], "runs per s": found.runs / SECONDS}
        return {**times, **_per_run(found)}


def _per_run(found: Found) -> Figures:
    share = 1e3 / found.runs
    return {
        "leader CPU ms": share * found.leader_s,
        "agents CPU ms": share * found.agents_s,
        "server CPU ms": share * found.server_s,
        "CPU ms per run": share * (found.leader_s + found.agents_s + found.server_s),
    }


# --- many agents ---------------------------------------------------------------------------------------------------


def _many(context: Context) -> Iterator[Table]:
    one, eight, many = "1 agent, 64 slots", "8 agents, 8 slots each", "64 agents, 1 slot each"
    yield Table(
        "CPU per run of the agents, the one that leads among them, and of the server, at 300 runs a second",
        [
            Row(one, lambda: _shared(context, 1, 1, 64)),
            Row(eight, lambda: _shared(context, 8, 1, 8)),
            Row(many, lambda: _shared(context, 8, 8, 1)),
        ],
        [Goal(eight, "CPU ms per run", ratio=1.5)],
        note="runs cost nothing themselves; the 64 agents share eight processes",
    )
    yield Table(
        "64 idle agents on one server",
        [Row("idle", lambda: _idle(context))],
        note="of one core; the agents share eight processes, one of them leads",
    )


def _shared(context: Context, processes: int, agents: int, slots: int) -> Figures:
    with server("everysec") as redis:
        sizes = {"processes": processes, "agents": agents, "slots": slots}
        found = answers(redis.url, Path(context.folder), **sizes, per_s=300, seconds=SECONDS, apart=False)
        figures = _per_run(found)
        del figures["leader CPU ms"]
        return {**figures, "runs per s": found.runs / SECONDS}


def _idle(context: Context) -> Figures:
    with server("everysec") as redis:
        found = answers(
            redis.url,
            Path(context.folder),
            processes=8,
            agents=8,
            slots=1,
            per_s=0,
            seconds=SECONDS,
            apart=False,
        )
        return {
            "an agent, CPU %": 100 * found.agents_s / SECONDS / 64,
            "server CPU %": 100 * found.server_s / SECONDS,
        }
