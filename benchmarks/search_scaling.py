"""Grid and random search: the cost of a trial at 10,000 trials against the cost at 100."""

from __future__ import annotations

import time
from collections.abc import Iterator

from measure import Context, Figures, Goal, Row, Table
from recorded import spec

from sweep.core.plugins import Observation
from sweep.search import make_searcher

ASKED, AT_A_TIME = 400, 8


def tables(context: Context) -> Iterator[Table]:  # noqa: ARG001
    """A table for each of the two."""
    for method in ("grid", "random"):
        rows = [Row(f"{n:,} trials", lambda n=n, method=method: _cost(method, n)) for n in (100, 10_000)]  # type: ignore[misc]
        yield Table(
            f"{method}: the config of a trial, asked {AT_A_TIME} at a time",
            rows,
            [Goal("10,000 trials", "µs a trial", ratio=1.2)],
            rounds=3,
        )


def _cost(method: str, trials: int) -> Figures:
    """A searcher that has proposed so many proposes more, as a running controller asks it."""
    searcher = make_searcher(spec(20_000, method=method))
    seen = [
        Observation(number, config, "completed", 0.5)
        for number, config in enumerate(searcher.propose([], trials).configs)
    ]
    searcher.propose(seen, 1)
    began = time.process_time()
    for _ in range(0, ASKED, AT_A_TIME):
        for config in searcher.propose(seen, AT_A_TIME).configs:
            seen.append(Observation(len(seen), config, "open"))
    return {"µs a trial": 1e6 * (time.process_time() - began) / ASKED}
