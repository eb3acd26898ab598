"""What runs print, kept in pieces: nothing is lost below the cap, beginning and end above it, and a reader may come at any time."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.agents.outputs import EVERY_S, Outputs
from sweep.core.names import output_cache
from sweep.stores.output import HEAD, KEPT_BYTES, PIECE_BYTES, RING, Reader, pack, unpack


class Kept(dict[str, bytes]):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def put(self, name: str, data: bytes) -> None:
        self.writes += 1
        self[name] = data

    def reader(self) -> Reader:
        return Reader(lambda place: self.get(output_cache(3, 1, place)))


def test_a_run_that_prints_nothing_writes_nothing(tmp_path: Path) -> None:
    kept = Kept()
    outputs = Outputs(kept.put)
    outputs.follow(3, 1, tmp_path / "none", 0.0)
    (tmp_path / "empty").touch()
    outputs.follow(3, 1, tmp_path / "empty", EVERY_S)
    outputs.close(3, 1, tmp_path / "empty")
    assert not kept and list(kept.reader().read()) == []


def test_it_is_looked_at_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    kept, path = Kept(), tmp_path / "output"
    outputs = Outputs(kept.put)
    reader = kept.reader()
    path.write_bytes(b"one\n")
    outputs.follow(3, 1, path, 5.0)
    path.write_bytes(b"one\ntwo\n")
    outputs.follow(3, 1, path, 5.5)
    assert (kept.writes, list(reader.read())) == (1, [b"one\n"])
    outputs.follow(3, 1, path, 6.0)
    assert (kept.writes, list(reader.read()), list(reader.read())) == (2, [b"two\n"], [])
    outputs.follow(3, 1, path, 8.0)
    assert kept.writes == 2, "nothing new"
    path.write_bytes(b"one\ntwo\nend")
    outputs.close(3, 1, path)
    assert b"".join(kept.reader().read()) == b"one\ntwo\nend"
    assert list(reader.read()) == [b"end"]


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 3 * PIECE_BYTES) | st.integers(1, 3 * KEPT_BYTES), st.booleans()),
        max_size=12,
    ),
    seed=st.integers(0, 99),
)
def test_readers_get_the_output_with_gaps_that_are_told(
    tmp_path_factory: object, steps: list[tuple[int, bool]], seed: int
) -> None:
    path = tmp_path_factory.mktemp("output") / "o"  # type: ignore[attr-defined]
    data = b""
    draw = random.Random(seed)
    kept = Kept()
    outputs, following, got = Outputs(kept.put), kept.reader(), b""
    for number, (more, looks) in enumerate(steps):
        data += draw.randbytes(more)
        path.write_bytes(data)
        outputs.follow(3, 1, path, number * EVERY_S)
        if looks:
            got += b"".join(following.read())
    outputs.close(3, 1, path)
    got += b"".join(following.read())
    late = b"".join(kept.reader().read())
    assert len(kept) <= HEAD + RING
    assert sum(len(unpack(piece)[1]) for piece in kept.values()) <= KEPT_BYTES  # type: ignore[index]
    for text in (got, late):
        check(text, data)
    if len(data) <= KEPT_BYTES:
        assert late == data
    else:
        tail = data[-(RING - 1) * PIECE_BYTES :]
        assert late.endswith(tail)


def check(text: bytes, data: bytes) -> None:
    """`text` is `data` with gaps of the told length."""
    position = 0
    while True:
        before, mark, rest = text.partition(b"\n[... ")
        assert data[position : position + len(before)] == before
        position += len(before)
        if not mark:
            assert position == len(data)
            return
        count, words, text = rest.partition(b" bytes of the output are not kept in the store ...]\n")
        assert words
        position += int(count)


def test_what_is_damaged_or_too_large_is_not_given_out() -> None:
    assert unpack(b"") is None and unpack(None) is None and unpack(b"12345678not zlib") is None
    bomb = pack(0, b"\0" * 50_000_000)
    assert len(bomb) < 500_000
    assert unpack(bomb) == (0, b"\0" * PIECE_BYTES), "no more of it is inflated than a piece may have"
