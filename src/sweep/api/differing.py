"""Two runs against each other: every fact of their records, their code line by line, their metrics value by value."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sweep.analysis.comparing import Line
from sweep.analysis.differing import FileChange, changes
from sweep.analysis.history import History
from sweep.analysis.reproduction import Stream, Tolerance, compare_streams
from sweep.api.comparing import compare_runs
from sweep.stores import Store

_EXACT = Tolerance(rtol=0.0, atol=0.0)


class RunDiff(msgspec.Struct, frozen=True):
    """What differs between two runs, and what does not."""

    runs: tuple[str, str]
    facts: Sequence[Line]
    """All of them, those that are the same included; the files' digests are not among them."""
    files: Sequence[FileChange]
    same_files: int
    streams: Sequence[Stream]
    """Every metric, compared step by step to the last bit; `missing` has only the first run, `extra` only the second."""


def diff_runs(store: Store, first: tuple[str, int], second: tuple[str, int], by: str = "") -> RunDiff:
    """`first`, `second`: (sweep, run number). The code is what each executed."""
    sides, lines = compare_runs(store, [first, second], "diff", by)
    left, right = (dict(side.facts["files"]) for side in sides)
    one, other = (History.from_chunks(store.read_history(*run)) for run in (first, second))
    return RunDiff(
        runs=(sides[0].id, sides[1].id),
        facts=[line for line in lines if line.section not in ("files", "metrics")],
        files=changes(left, right, store.get_blob),
        same_files=sum(right.get(path) == digest for path, digest in left.items()),
        streams=compare_streams(one, other, _EXACT),
    )
