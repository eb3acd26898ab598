"""What an SQLite store remembers between calls, as long as nobody else writes.

The rule of this file: everything here is dropped at once, by `clear`, when another connection has written or a transaction
was rolled back; whoever uses it asks about that first.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.stores._common import Row

TAIL = 512
"""So many of the last entries of a sweep: who leads reads what it has just written."""


class Known:
    """Positions, numbers and last entries of sweeps."""

    def __init__(self) -> None:
        self.heads: dict[str, tuple[int, float]] = {}
        """Position and time of the last entry."""
        self.seqs: dict[tuple[str, str], int] = {}
        """(sweep, writer) -> the writer's last number."""
        self.uptos: dict[str, int] = {}
        """How far the listing goes."""
        self._tails: dict[str, list[Row]] = {}
        """The last entries up to the head, without gaps."""

    def clear(self) -> None:
        """Know nothing."""
        for known in (self.heads, self.seqs, self.uptos, self._tails):
            known.clear()

    def appended(self, sweep: str, writer: str, rows: Sequence[Row]) -> None:
        """These entries were written at the journal's end."""
        last = rows[-1]
        self.heads[sweep] = (last[0], last[1])
        self.seqs[sweep, writer] = max(self.seqs.get((sweep, writer), 0), last[3])
        tail = self._tails.setdefault(sweep, [])
        tail += rows
        if len(tail) > 2 * TAIL:
            del tail[:-TAIL]

    def after(self, sweep: str, position: int, addressee: str | None, limit: int) -> list[Row] | None:
        """All entries behind `position` (a `limit` below 0 is none); None where they have to be looked up."""
        tail = self._tails.get(sweep)
        if not tail or tail[0][0] > position + 1:
            return None
        found = tail[position + 1 - tail[0][0] :]
        if addressee is not None:
            found = [row for row in found if row[5] == addressee]
        return found if limit < 0 else found[:limit]
