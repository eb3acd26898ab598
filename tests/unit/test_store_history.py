"""Cutting chunks of history: what is left are exactly the rows that were not there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweep.stores import HistoryChunk
from sweep.stores._common import check_chunk, prefix_end, without


def rows_of(chunk: HistoryChunk) -> dict[int, bytes]:
    return dict(enumerate(chunk.data.removesuffix(b"\n").split(b"\n"), chunk.first_row))


@given(
    first=st.integers(0, 12),
    data=st.lists(st.binary(max_size=2).filter(lambda row: b"\n" not in row), min_size=1, max_size=8),
    closed=st.booleans(),
    known=st.lists(st.booleans(), min_size=24, max_size=24),
)
def test_what_is_left_is_what_was_missing(
    first: int, data: list[bytes], closed: bool, known: list[bool]
) -> None:
    text = b"\n".join(data) + (b"\n" if closed or not data[-1] else b"")
    chunk = HistoryChunk(1, 2, first, len(data), text)
    check_chunk(chunk)
    pieces = without(chunk, [(row, 1) for row, present in enumerate(known) if present])
    left: dict[int, bytes] = {}
    for piece in pieces:
        check_chunk(piece)
        assert (piece.run, piece.attempt) == (1, 2)
        assert piece.data.endswith(b"\n") or not chunk.data.endswith(b"\n")
        left.update(rows_of(piece))
    assert left == {row: value for row, value in rows_of(chunk).items() if not known[row]}
    assert sum(piece.count for piece in pieces) == len(left)


def test_long_stretches_are_cut_out_at_once() -> None:
    chunk = HistoryChunk(1, 1, 10, 5, b"a\nb\nc\nd\ne")
    assert without(chunk, []) == [chunk]
    assert without(chunk, [(0, 10), (15, 3)]) == [chunk]
    assert without(chunk, [(0, 100)]) == []
    assert without(chunk, [(0, 11), (12, 1), (14, 9)]) == [
        HistoryChunk(1, 1, 11, 1, b"b"),
        HistoryChunk(1, 1, 13, 1, b"d"),
    ]


@given(st.text(max_size=3), st.text(max_size=4))
def test_the_end_of_a_prefix(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    assert (prefix <= text and (end is None or text < end)) == text.startswith(prefix)


def test_the_end_of_prefixes_at_the_edges() -> None:
    ends = [prefix_end(prefix) for prefix in ("", "run/", "\ud7ff", "a\U0010ffff", "\U0010ffff")]
    assert ends == [None, "run0", "\ue000", "b", None]
