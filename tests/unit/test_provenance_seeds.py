"""Seeds are part of what a sweep is: the golden values here may never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.core.seeds import derive, run_seed

_KEYS = st.lists(st.one_of(st.integers(), st.text()), max_size=4)


def test_run_seeds_are_the_same_for_ever() -> None:
    golden = {
        (0, 0, "search"): 1400840661,
        (0, 1, "search"): 2090404826,
        (42, 0, "search"): 1941697432,
        (42, 1, "search"): 1360421472,
        (42, 0, "confirm"): 2342355028,
        (42, 3, "reproduce"): 4045306017,
        (-1, 0, "search"): 1285863030,
        (2**70, 0, "search"): 1849142515,
    }
    assert {key: run_seed(*key) for key in golden} == golden


def test_derived_seeds_are_the_same_for_ever() -> None:
    assert derive(0) == 15071204714542601854
    assert derive(42, "random", 7) == 2863913095554255826
    assert derive(42, "random", "7") == 17165490277513679530
    assert derive(42, "ü") == 5758103546311654241


def test_the_default_purpose_is_search() -> None:
    assert run_seed(3, 5) == run_seed(3, 5, "search")


@given(st.integers(), st.integers(0, 2**40), st.integers(0, 2**40))
def test_purposes_never_share_a_seed(seed: int, one: int, other: int) -> None:
    ranges = {
        "search": range(2**31),
        "confirm": range(2**31, 3 * 2**30),
        "reproduce": range(3 * 2**30, 2**32),
    }
    for purpose, allowed in ranges.items():
        assert run_seed(seed, one, purpose) in allowed
        assert run_seed(seed, other, purpose) in allowed


@given(st.integers(), _KEYS, st.integers(), _KEYS)
def test_different_keys_give_different_seeds(
    seed: int, keys: list[int | str], other_seed: int, other_keys: list[int | str]
) -> None:
    same = (seed, keys) == (other_seed, other_keys)
    assert (derive(seed, *keys) == derive(other_seed, *other_keys)) == same


def test_replicates_differ() -> None:
    assert len({run_seed(7, replicate) for replicate in range(1000)}) == 1000


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(TypeError):
        derive(1, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="purpose 'test' is unknown"):
        run_seed(1, 0, "test")
    with pytest.raises(ValueError, match="0 or more"):
        run_seed(1, -1)
