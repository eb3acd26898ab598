"""What an attempt used over time: bounded however long it runs, and the same before and after it was kept."""

from __future__ import annotations

import math
import random

import pytest

from sweep.core.samples import MOST, Samples, unpack


def long_one(count: int) -> tuple[Samples, list[float]]:
    rng, samples, given = random.Random(1), Samples(1000.0), []
    for at in range(count):
        value = rng.uniform(0, 100)
        given.append(value)
        samples.add(5.0 * (at + 1), {"cpu.percent": value, "memory.bytes": value})
    return samples, given


@pytest.mark.parametrize("count", [1, 5, MOST, MOST + 1, 2 * MOST, 5 * MOST + 3, 100 * MOST + 17])
def test_thinned_ones_keep_the_mean_the_peak_and_the_length(count: int) -> None:
    samples, given = long_one(count)
    assert min(count, MOST // 2) <= len(samples) <= MOST
    assert samples.times[-1] == 5.0 * count
    assert list(samples.times) == sorted(samples.times)
    lengths = [b - a for a, b in zip([0.0, *samples.times], samples.times, strict=False)]
    mean = sum(v * n for v, n in zip(samples.columns["cpu.percent"], lengths, strict=True)) / sum(lengths)
    assert mean == pytest.approx(sum(given) / count, rel=1e-4)
    assert max(samples.columns["memory.bytes"]) == pytest.approx(max(given))
    assert len(samples.pack()) < 4000


def test_what_comes_later_was_not_measured_before() -> None:
    samples = Samples()
    samples.add(1, {"cpu.percent": 1.0})
    samples.add(2, {"gpu.watts": 300.0})
    assert math.isnan(samples.columns["gpu.watts"][0])
    assert math.isnan(samples.columns["cpu.percent"][1])
    for at in range(3, MOST + 2):
        samples.add(at, {"gpu.watts": 300.0})
    assert list(samples.columns["gpu.watts"][:2]) == [300.0, 300.0], "a gap does not count as zero in a mean"
    assert samples.columns["cpu.percent"][0] == 1.0


def test_it_is_the_same_when_it_comes_back() -> None:
    samples, _ = long_one(700)
    samples.gpu_shared = True
    back = unpack(samples.pack())
    assert back is not None
    assert (back.began_s, back.gpu_shared, back.times, back.columns) == (
        1000.0, True, samples.times, samples.columns,
    )  # fmt: skip


def test_what_cannot_be_read_is_nothing() -> None:
    data = long_one(10)[0].pack()
    assert unpack(None) is None
    for bad in (b"", b"x", data[:-9], data[:20] + b"?" + data[21:], b"\0" * 100):
        assert unpack(bad) is None
