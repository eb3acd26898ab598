"""Run the benchmarks: `python benchmarks/run.py [NAME…] [--rounds N] [--peers FOLDER] [--json]`.

A benchmark is a module in this folder with a function `tables(context)` that yields what to measure; putting a file here is
all that a new one needs. What each of them asks stands in the first line of its docstring: `--list` prints it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from measure import Context, Goal, Result, take  # noqa: E402

NOT_BENCHMARKS = ("run", "measure", "recorded", "redis_answers")


def benchmarks() -> dict[str, ModuleType]:
    """Name -> module, in the order of their names."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        if file.stem not in NOT_BENCHMARKS:
            module = importlib.import_module(file.stem)
            if hasattr(module, "tables"):
                found[file.stem] = module
    return found


def results(module: ModuleType, context: Context) -> Iterator[Result]:
    """Each table of a benchmark, measured."""
    for table in module.tables(context):
        _progress(f"{module.__name__}: {table.title}")
        yield take(table, context.rounds)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# --- showing -------------------------------------------------------------------------------------------------------


def machine(peers: Path | None) -> dict[str, str]:
    """What the figures were taken on and with."""
    import msgspec

    import sweep

    found = {
        "date": date.today().isoformat(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sweep": sweep.__version__,
        "msgspec": msgspec.__version__,
    }
    for python in sorted(peers.glob("*/bin/python")) if peers is not None else ():
        name = python.parent.parent.name
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        said = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
        found[name] = said.stdout.strip() or "?"
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def show(result: Result) -> None:
    """A table for people."""
    table = result.table
    print(f"\n## {table.title}")
    first = table.rows[0].label
    width = max(len(row.label) for row in table.rows)
    for figure, rows in result.figures.items():
        print(f"  {figure}")
        for row in table.rows:
            values = rows.get(row.label)
            if not values:
                continue
            spread = f"({min(values):.4g} to {max(values):.4g})"
            ratio = (
                f"{result.ratio(figure, row.label):7.2f}x"
                if any(rows.get(first, ())) and row.label != first
                else ""
            )
            print(f"    {row.label:<{width}} {result.median(figure, row.label):10.4g} {spread:24} {ratio}")
    for goal in table.goals:
        reached = result.reached(goal)
        if reached is not None:
            print(f"  {'reached' if reached[1] else 'MISSED ':8} {words(goal, reached[0], first)}")
    for text in (table.durability, table.note):
        if text:
            print(f"  {text}")


def words(goal: Goal, value: float, first: str) -> str:
    """`import sweep, CPU ms: 0.57 of floor (at most 0.7)`."""
    what = f"{goal.label}, {goal.figure}"
    to = goal.to or first
    if goal.ratio is not None:
        return f"{what}: {value:.2f} times {to} (at most {goal.ratio:g})"
    if goal.at_least is not None:
        return f"{what}: {value:.1f} times less than {to} (at least {goal.at_least:g})"
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("at most", goal.most), ("at least", goal.least))
        if limit is not None
    ]
    return f"{what}: {value:.4g} ({', '.join(limits)})"


def as_json(result: Result) -> dict[str, Any]:
    table, first = result.table, result.table.rows[0].label
    return {
        "title": table.title,
        "durability": table.durability,
        "note": table.note,
        "figures": {
            figure: {
                label: {
                    "median": result.median(figure, label),
                    "min": min(values),
                    "max": max(values),
                    "rounds": len(values),
                    **({"ratio": result.ratio(figure, label)} if any(rows.get(first, ())) else {}),
                }
                for label, values in rows.items()
            }
            for figure, rows in result.figures.items()
        },
        "goals": [
            {"goal": words(goal, found[0], first), "value": found[0], "reached": found[1]}
            for goal in table.goals
            if (found := result.reached(goal)) is not None
        ],
    }


def main() -> None:
    known = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything runs (default 7)")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where peers.sh has put the peers")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--list", action="store_true", help="print what there is")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(known)}")
    if options.list:
        for name, module in known.items():
            print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
        return
    peers = options.peers.resolve() if options.peers is not None else None
    about, found, missing = machine(peers), [], set[str]()
    if not options.json:
        print("  ".join(f"{name} {value}" for name, value in about.items()))
    for name in options.names or known:
        with tempfile.TemporaryDirectory(prefix="sweep-bench-") as folder:
            context = Context(Path(folder), peers, options.rounds)
            for result in results(known[name], context):
                _progress("")
                found.append(as_json(result))
                if not options.json:
                    show(result)
            missing |= context.missing
    if options.json:
        print(json.dumps({"about": about, "missing peers": sorted(missing), "tables": found}, indent=1))
    elif missing:
        print(
            f"\nnot compared, because they are not installed (peers.sh, --peers): {', '.join(sorted(missing))}"
        )


if __name__ == "__main__":
    main()
