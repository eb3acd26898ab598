"""A controller is killed with 10,000 runs behind it: another takes over, nothing is lost, and nothing is proposed twice."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sweep.core import entries as e
from sweep.core.names import agent_lease, controller_lease
from sweep.stores import Store, open_store
from tests.integration.conftest import Project
from tests.redis_server import RedisServer

RUNS, MORE, LEASE_S = 10_000, 12, 4.0


class Hand:
    """An agent of one slot that runs nothing: what it is given has ended at once."""

    def __init__(self, store: Store, sweep: str) -> None:
        self.store, self.sweep, self._seq, self._offer, self._cursor = (
            store,
            sweep,
            0,
            0,
            store.position(sweep),
        )
        self.lease = store.acquire(agent_lease("hand"), "hand", 600.0)
        self._append(e.AgentJoined("hand", "host", os.getpid(), 1), *self._offered())

    def _offered(self) -> Iterator[e.AnyEntry]:
        self._offer += 1
        yield e.SlotOffered("hand", 0, self._offer)

    def _append(self, *entries: e.AnyEntry) -> None:
        self.store.append(self.sweep, entries, writer="hand", first_seq=self._seq + 1)
        self._seq += len(entries)

    def do_one(self) -> e.Recorded:
        """The next run that it is given, once it has been given one."""
        deadline_s = time.monotonic() + 60
        while True:
            for recorded in self.store.read(self.sweep, self._cursor, addressee="hand", wait_s=1.0):
                self._cursor = recorded.position
                if isinstance(recorded.entry, e.RunAssigned):
                    run, attempt = recorded.entry.run, recorded.entry.attempt
                    self._append(
                        e.RunStarted(run, attempt, "hand", 1, "host", 0),
                        e.AttemptEnded(run, attempt, "hand", "completed", exit_code=0, score=1.0),
                        *self._offered(),
                    )
                    return recorded
            assert time.monotonic() < deadline_s, "nobody leads"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_another_controller_takes_over_ten_thousand_runs(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from recorded import record, spec

    server = RedisServer(tmp_path_factory.mktemp("r"), appendonly="yes", appendfsync="everysec").start()
    project.env |= {"SWEEP_STORE": server.tcp_url, "SWEEP_LEASE_S": str(LEASE_S)}
    try:
        with closing(open_store(server.tcp_url, project.folder, create=True)) as store:
            record(store, "s", spec(RUNS), 1)
            project.sweep("extend", "s", "--run-cap", f"+{MORE}")
            leaders = [project.start("controller", "s") for _ in range(2)]

            def holder() -> str:
                return next((lease.holder for lease in store.leases(controller_lease("s"))), "")

            hand = Hand(store, "s")
            for _ in range(4):
                hand.do_one()
            first = holder()
            logs = [project.folder / f"agent-{number}.log" for number in range(2)]
            project.wait_for(lambda: any("leads; waiting" in log.read_text() for log in logs))
            [killed] = [
                one for one, log in zip(leaders, logs, strict=True) if "leads; waiting" not in log.read_text()
            ]
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            died_s = time.time()
            times = [hand.do_one().at_s for _ in range(MORE - 4)]
            took_s = next(at_s for at_s in times if at_s > died_s) - died_s
            print(f"{took_s:.2f} s until another one had decided, with a lease of {LEASE_S:g} s")
            assert holder() != first
            project.wait_for(lambda: project.status("s").state == "ended")
            journal = store.read("s", 0)
        proposed = [r.entry for r in journal if isinstance(r.entry, e.TrialsProposed)]
        assert [n for p in proposed for n in range(p.first, p.first + len(p.configs))] == list(
            range(RUNS + MORE)
        )
        configs = {json.dumps(config, sort_keys=True) for p in proposed for config in p.configs}
        assert len(configs) == RUNS + MORE
        assert [run["state"] for run in project.runs("s")] == ["completed"] * (RUNS + MORE)
        assigned = [r.entry.run for r in journal if isinstance(r.entry, e.RunAssigned)]
        assert sorted(assigned) == list(range(RUNS + MORE))
        tokens = [int(r.writer.rpartition("/")[2]) for r in journal if r.writer.startswith("controller/")]
        assert tokens == sorted(tokens)
        survivor = next(one for one in leaders if one is not killed)
        project.wait_end(survivor)
    finally:
        project.end()
        server.kill()
