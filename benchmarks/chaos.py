"""A sweep whose agents, guards, runs and Redis server are killed -9 and frozen all the time, beside one that is left alone.

`python benchmarks/chaos.py --help` runs it by itself, with another size, seed or pace, and shows how it goes.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from measure import SOURCE, Context, Figures, Goal, Result, Row, Table, environment  # noqa: E402
from redis_cost import Server  # noqa: E402

from sweep.api import load_views  # noqa: E402
from sweep.api.serving import find_server  # noqa: E402
from sweep.stores import open_store  # noqa: E402
from sweep.testing import witness  # noqa: E402
from sweep.testing.chaos import Crew, Striker, living, work_off  # noqa: E402

ALONE, STRUCK = "left alone", "killed and frozen all the time"
SWEEP = [sys.executable, "-P", "-m", "sweep"]
LIMIT_S = 1800.0


@dataclass
class Plan:
    """What is done."""

    runs: int = 1000
    agents: int = 8
    slots: int = 2
    seed: int = 1
    every_s: float = 2.0
    """The mean time between two strikes."""
    lease_s: float = 3.0
    pause_s: float = 0.1
    """Between two rows of a run."""
    fsync: str = "everysec"
    strikes: int = 10**6
    show: Callable[[str], None] = lambda _: None
    struck: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """What was wrong with a record, of all rounds."""


def tables(context: Context) -> Iterator[Table]:
    """One table; a record that is not what was asked for ends the benchmark."""
    if find_server() is None:
        context.missing.add("redis-server")
        return
    plan = Plan(seed=random.randrange(10**6))
    yield table(plan, context.folder)
    if plan.problems:
        raise SystemExit(f"seed {plan.seed}: " + "\n".join(plan.problems[:20]))


def table(plan: Plan, folder: Path) -> Table:
    """The sweep as it is planned, left alone and struck."""
    return Table(
        f"{plan.runs:,} short runs on {plan.agents} agents with {plan.slots} slots each, over Redis ({plan.fsync})",
        [
            Row(ALONE, lambda: worked_off(plan, folder, False)),
            Row(STRUCK, lambda: worked_off(plan, folder, True)),
        ],
        [
            Goal(STRUCK, "wall s", ratio=1.5),
            Goal(STRUCK, "wrong in the record", most=0),
            Goal(STRUCK, "processes left", most=0),
        ],
        durability=f"a row is in Redis' append-only file within a second, a run's end before it is acted on (appendfsync {plan.fsync})",
        note=f"something is killed or frozen every {plan.every_s:g} s; leases last {plan.lease_s:g} s; "
        "every row that a run told its witness of is looked for in the record",
        rounds=1 / 7,  # of seven: each takes minutes
    )


def worked_off(plan: Plan, folder: Path, struck: bool) -> Figures:
    """One whole sweep, from its first agent's start to its end in the record; and the record held against what was asked."""
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="chaos-") as name,
        closing(Server(plan.fsync)) as server,
    ):
        place = Path(name)
        env = environment(
            folder,
            PYTHONPATH=str(SOURCE),
            SWEEP_STORE=server.url,
            SWEEP_LEASE_S=str(plan.lease_s),
            NO_COLOR="1",
        )
        file = place / "witness.txt"
        (place / "train.py").write_text(witness.PROGRAM)
        (place / "sweep.yaml").write_text(witness.spec_text(plan.runs, file, plan.pause_s))
        made = subprocess.run(
            [*SWEEP, "create", "sweep.yaml"], cwd=place, env=env, check=True, capture_output=True
        )
        sweep = made.stdout.decode().split()[-1]
        crew = Crew([*SWEEP, "agent", sweep, "--slots", str(plan.slots)], plan.agents, place, env)
        with closing(open_store(server.url, place)) as store:
            striker = Striker(crew, store, sweep, random.Random(plan.seed), server) if struck else None
            began_s = time.time()
            try:
                ended = work_off(
                    crew,
                    striker,
                    pause_s=(0.5 * plan.every_s, 1.5 * plan.every_s),
                    strikes=plan.strikes,
                    limit_s=LIMIT_S,
                    show=lambda passed_s: plan.show(_progress(plan, file, striker, passed_s)),
                )
                left = _left(crew)
            finally:
                if striker is not None:
                    striker.end()
                crew.end()
            if not ended:
                raise SystemExit(f"seed {plan.seed}: not ended after {LIMIT_S:g} s:\n{crew.said()[-5000:]}")
            views = load_views(store, sweep)
            harms, outages = (striker.harms, striker.outages) if striker is not None else ({}, [])
            found = witness.compare(
                store, views, plan.runs, witness.read_witness(file), harms, outages, plan.lease_s
            )
        plan.problems += found.problems
        if striker is not None:
            plan.struck.update(striker.struck)
        return {
            "wall s": (views.sweep.ended_s or time.time()) - began_s,
            "strikes": float(striker.struck.total() - striker.struck["missed"])
            if striker is not None
            else 0.0,
            "attempts that were lost": float(found.attempts["lost"]),
            "attempts that failed": float(found.attempts["failed"]),
            "rows that must be there": float(found.rows),
            "wrong in the record": float(len(found.problems)),
            "processes left": float(left),
        }


def _left(crew: Crew) -> int:
    """What of a sweep is still there a while after all its agents have gone."""
    until_s = time.monotonic() + 10
    while (left := crew.processes()) and time.monotonic() < until_s:
        time.sleep(0.05)
    return sum(map(living, left))


def _progress(plan: Plan, file: Path, striker: Striker | None, passed_s: float) -> str:
    ends = file.read_bytes().count(b"end -1") if file.exists() else 0
    struck = f", {striker.struck.total()} strikes" if striker is not None else ""
    return f"{STRUCK if striker is not None else ALONE}: {ends:,} of {plan.runs:,} runs in {passed_s:.0f} s{struck}"


# --- by itself -----------------------------------------------------------------------------------------------------


def main() -> None:
    plan = Plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=plan.runs, help=f"default {plan.runs}")
    parser.add_argument("--agents", type=int, default=plan.agents, help=f"default {plan.agents}")
    parser.add_argument("--slots", type=int, default=plan.slots, help=f"of each agent (default {plan.slots})")
    parser.add_argument("--seed", type=int, help="of what is struck when (default: any)")
    parser.add_argument(
        "--every",
        type=float,
        default=plan.every_s,
        metavar="SECONDS",
        help=f"mean time between strikes (default {plan.every_s:g})",
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=plan.lease_s,
        metavar="SECONDS",
        help=f"of agents and controller (default {plan.lease_s:g})",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=plan.pause_s,
        metavar="SECONDS",
        help=f"between the rows of a run (default {plan.pause_s:g}); longer runs, longer sweep",
    )
    parser.add_argument(
        "--fsync", choices=["always", "everysec"], default=plan.fsync, help="of Redis' append-only file"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often both sweeps are worked off (default 3)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    if find_server() is None:
        parser.error("there is no redis-server here")
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    plan = Plan(
        options.runs,
        options.agents,
        options.slots,
        seed,
        options.every,
        options.lease,
        options.pause,
        options.fsync,
    )
    if sys.stderr.isatty():
        plan.show = lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that agents and server are ended
    with tempfile.TemporaryDirectory(prefix="sweep-bench-") as folder:
        result = measured(table(plan, Path(folder)), options.rounds, plan)
    plan.show("")
    from run import as_json, show

    if options.json:
        print(json.dumps({"seed": seed, **as_json(result), "struck": plan.struck, "problems": plan.problems}))
    else:
        show(result)
        print(f"  seed {seed}; " + ", ".join(f"{kind} {n}" for kind, n in plan.struck.most_common()))
    print("\n".join(plan.problems[:50]), file=sys.stderr)
    sys.exit(1 if plan.problems else 0)


def measured(table: Table, rounds: int, plan: Plan) -> Result:
    """Each row once a round, in turn, without a round that does not count; each round struck by a seed of its own."""
    figures: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for row in table.rows if number % 2 == 0 else reversed(table.rows):
            for name, value in row.measure().items():
                figures.setdefault(name, {}).setdefault(row.label, []).append(value)
        plan.seed += 1
    return Result(table, figures)


if __name__ == "__main__":
    main()
