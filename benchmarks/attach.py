"""Attaching: what a new agent's controller pays until its first decision on 10,000 runs; against optuna on SQLite."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import SOURCE, Context, Figures, Goal, Row, Table, environment, process
from recorded import record, spec

from sweep.stores.sqlite import SqliteStore

RUNS, REPORTS = 10_000, 10

ATTACH = """
import sys, time
from pathlib import Path
from sweep.controller import driver_maker
from sweep.core.names import controller_lease
from sweep.stores import open_store
import sweep.core.snapshot, sweep.search, sweep.stopping
import sweep.controller.recovery, sweep.stores.sqlite
began = time.process_time()
store = open_store("store.db", Path.cwd())
lease = store.acquire(controller_lease("bench"), "bench", 60.0)
driver = driver_maker(store, "bench", print)(lease)
with store.batch():
    driver.step(time.time())
print(time.process_time() - began)
assert len(driver.state.runs) == int(sys.argv[1])

"""
OPTUNA = """
import sys, time, warnings
warnings.simplefilter("ignore")
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
kinds = optuna.distributions
space = dict(x=kinds.FloatDistribution(-5, 5), lr=kinds.FloatDistribution(1e-5, 1e-1, log=True),
             n=kinds.IntDistribution(1, 8))
random = optuna.samplers.RandomSampler()
if sys.argv[1] == "build":
    from sqlalchemy import event
    storage = optuna.storages.RDBStorage("sqlite:///study.db")
    event.listen(storage.engine, "connect", lambda c, _: c.execute("pragma synchronous=off"))  # the file is the same
    storage.engine.dispose()
    study = optuna.create_study(storage=storage, study_name="s", sampler=random)
    for k in range(int(sys.argv[2])):
        study.add_trial(optuna.trial.create_trial(
            params=dict(x=(k % 997) / 102 - 4.9, lr=10 ** -(1 + 4 * (k % 101) / 101), n=1 + k % 8),
            distributions=space, value=float(k % 97),
            intermediate_values={i: float(k) / (i + 1) for i in range(int(sys.argv[3]))}))
else:
    began = time.process_time()
    study = optuna.load_study(storage=optuna.storages.RDBStorage("sqlite:///study.db"), study_name="s", sampler=random)
    trial = study.ask()
    for name, kind in space.items():
        trial._suggest(name, kind)
    print(time.process_time() - began)
"""


def tables(context: Context) -> Iterator[Table]:
    """One table; building what is attached to takes some minutes with optuna."""
    whole, one_by_one = "folding, ten values an entry", "folding, an entry a value"
    rows = [
        Row(whole, _attach(context, "together", together=REPORTS, snapshot=False)),
        Row(one_by_one, _attach(context, "single", together=1, snapshot=False)),
        Row("from a snapshot", _attach(context, "snapshot", together=1, snapshot=True)),
    ]
    python = context.peer("optuna")
    if python is not None:
        folder = context.folder / "optuna"
        folder.mkdir()
        process([python, "-c", OPTUNA, "build", str(RUNS), str(REPORTS)], folder, environment(context.folder))
        rows.insert(0, Row("optuna, load_study and ask", lambda: _optuna(context, python, folder)))
    yield Table(
        f"attaching to {RUNS:,} finished runs with {REPORTS} reports each, up to the first decision (imports aside)",
        rows,
        [
            Goal(whole, "CPU ms", at_least=20, to="optuna, load_study and ask"),
            Goal("from a snapshot", "CPU ms", at_least=50, to="optuna, load_study and ask"),
        ],
        "what is attached to is on disk; a snapshot is a cache, checked against the journal",
        "ten values an entry: a program that reports them within 50 ms; an entry a value: one that is slower than that",
    )


def _attach(context: Context, name: str, *, together: int, snapshot: bool):  # type: ignore[no-untyped-def]
    """Builds the store, gives what measures an attach to a fresh copy of it."""
    built, folder = context.folder / f"{name}.db", context.folder / name
    folder.mkdir()
    store = SqliteStore(built, create=True)
    record(store, "bench", spec(RUNS), REPORTS, together=together)
    store.close()
    if not snapshot:
        db = sqlite3.connect(built)
        db.execute("DELETE FROM cache")
        db.commit()
        db.close()

    def measure() -> Figures:
        for file in folder.glob("store.db*"):
            file.unlink()
        shutil.copy(built, folder / "store.db")
        env = environment(context.folder, PYTHONPATH=str(SOURCE))
        figures, text = process([sys.executable, "-c", ATTACH, str(RUNS)], folder, env)
        return {"CPU ms": 1e3 * float(text.split()[-1]), "whole process CPU ms": figures["CPU ms"]}

    return measure


def _optuna(context: Context, python: str, folder: Path) -> Figures:
    figures, text = process([python, "-c", OPTUNA, "attach"], folder, environment(context.folder))
    return {"CPU ms": 1e3 * float(text.split()[-1]), "whole process CPU ms": figures["CPU ms"]}
