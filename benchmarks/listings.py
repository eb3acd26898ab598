"""The command line: what starting it costs, and listings of a sweep with 10,000 runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measure import SOURCE, Context, Figures, Goal, Row, Table, environment, process
from recorded import record, spec

from sweep.stores.sqlite import SqliteStore

RUNS, REPORTS = 10_000, 100
COMMAND = "from sweep.cli import main; main()"
LISTINGS = {
    "ls": ["ls"],
    "status": ["status", "bench"],
    "runs": ["runs", "bench"],
    "runs --sort --filter": ["runs", "bench", "--sort", "-objective", "--filter", "lr < 0.001"],
    "runs --format csv": ["runs", "bench", "--format", "csv"],
    "runs --format json": ["runs", "bench", "--format", "json"],
    "show": ["show", "bench-77"],
    "best": ["best", "bench"],
    "logs": ["logs", "bench-77"],
}
MOST_MS = 300


def tables(context: Context) -> Iterator[Table]:
    """Start-up against `python -c pass`, then every listing."""
    project = context.folder / "project"
    (project / ".sweep").mkdir(parents=True)
    store = SqliteStore(project / ".sweep" / "store.db", create=True)
    folder = project / "runs"
    record(store, "bench", spec(RUNS), REPORTS, together=10, history=REPORTS, folder=str(folder))
    store.close()
    (folder / "77").mkdir(parents=True)
    (folder / "77" / "output-1.log").write_text("step 1\n" * REPORTS)
    env = environment(context.folder, PYTHONPATH=str(SOURCE))

    def command(label: str, arguments: list[str], **more: str) -> Row:
        def measure() -> Figures:
            return process([sys.executable, "-c", COMMAND, *arguments], project, {**env, **more})[0]

        return Row(label, measure)

    bare = Row("python -c pass", lambda: process([sys.executable, "-c", "pass"], project, env)[0])
    completion = {"_SWEEP_COMPLETE": "bash_complete", "COMP_WORDS": "sweep sta", "COMP_CWORD": "1"}
    yield Table(
        "starting the command line",
        [
            bare,
            command("sweep --version", ["--version"]),
            command("completing a command", [], **completion),
            command("sweep ls", ["ls"]),
        ],
        [
            Goal("sweep --version", "CPU ms", ratio=6),
            Goal("completing a command", "CPU ms", ratio=6),
            Goal("sweep ls", "CPU ms", ratio=7),
        ],
    )
    yield Table(
        f"listings of {RUNS:,} runs with {REPORTS} reports each",
        [bare, *(command(name, arguments) for name, arguments in LISTINGS.items())],
        [Goal(name, "CPU ms", most=MOST_MS) for name in LISTINGS],
    )
