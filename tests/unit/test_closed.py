"""Blocks of a snapshot that nobody has asked for yet: whoever looks cannot tell, and only what is asked for is opened."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from folded import Lab, make_spec
from sweep.core import closed
from sweep.core.closed import Observations
from sweep.core.plugins import Observation
from sweep.core.snapshot import mark_of, pack, unpack
from sweep.core.state import Run, State, Trial
from sweep.testing.snapshots import check_same

RUNS = 12


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A sweep of which all runs have ended."""
    monkeypatch.setattr(State, "block", 4)
    lab = Lab(make_spec(run_cap=RUNS))
    lab.join("a", slots=RUNS)
    lab.work()
    for number in range(RUNS):
        lab.start(number)
        lab.report(number, 1 / (number + 1))
        lab.end(number, "completed", 1 / (number + 1))
    return lab


def reopened(lab: Lab) -> State:
    """The same state by way of a snapshot."""
    data = pack(lab.state, mark_of(lab.journal[-1]))
    assert data is not None
    state = unpack(data, lab.state.make_stopper)
    assert state is not None
    return state


def are_closed(objects: list[Run] | list[Trial]) -> list[bool]:
    return [type(one) in (closed._ClosedRun, closed._ClosedTrial) for one in objects]


def test_only_what_is_asked_for_is_opened(lab: Lab) -> None:
    state = reopened(lab)
    assert all(are_closed(state.runs)) and all(are_closed(state.trials))
    assert len(state.runs) == len(state.observations) == RUNS
    assert state.runs[5].score == pytest.approx(1 / 6)
    assert are_closed(state.runs) == are_closed(state.trials) == [True] * 4 + [False] * 4 + [True] * 4
    assert state.observations[-1].score == pytest.approx(1 / RUNS)
    assert are_closed(state.runs) == [True] * 4 + [False] * 8
    check_same(lab.state, state)
    assert not any(are_closed(state.runs)) and not any(are_closed(state.trials))


def test_what_is_set_first_is_not_forgotten(lab: Lab) -> None:
    state = reopened(lab)
    state.runs[0].agent, state.runs[1].granted = "somebody", 7.0
    state.trials[4].config = {"x": 1}
    state.observations[8] = seen = Observation(8, {}, "failed")
    assert (state.runs[0].agent, state.runs[1].granted, state.trials[4].config) == ("somebody", 7.0, {"x": 1})
    assert state.runs[0].score == 1.0 and state.runs[8].score == pytest.approx(1 / 9)
    assert state.observations[8] == seen
    assert state.observations[9] == lab.state.observations[9]


def test_what_is_closed_can_be_copied_and_is_a_run(lab: Lab) -> None:
    state = reopened(lab)
    assert isinstance(state.runs[3], Run) and are_closed(state.runs)[3]
    assert copy.copy(state.runs[3]).score == state.runs[3].score
    assert copy.deepcopy(state.trials[9]).config == state.trials[9].config


def test_a_list_of_which_blocks_are_closed_is_like_one_that_is_not() -> None:
    rng = random.Random(1)

    def same(action: Any) -> Any:
        found = []
        for kind in (Observations, list):
            items = pair[kind]
            try:
                found.append(action(items))
            except IndexError:
                found.append(IndexError)
        assert found[0] == found[1]
        assert len(pair[Observations]) == len(pair[list])
        return found[0]

    for _ in range(200):
        count, block = rng.randrange(12), rng.randrange(1, 5)
        plain = [Observation(number, {}, "open", float(number)) for number in range(count)]
        lazy = Observations()
        for first in range(0, count, block):
            part = plain[first : first + block]
            lazy.add_closed(
                len(part), block, lambda first=first, part=part, lazy=lazy: lazy.fill(first, part)
            )
        pair: dict[type, Any] = {Observations: lazy, list: plain[:]}
        for _ in range(6):
            at, new = rng.randrange(-2, count + 2), Observation(99, {}, "failed", rng.random())
            cut = slice(rng.choice((None, at)), rng.choice((None, at + 3)), rng.choice((None, 2)))
            same(
                rng.choice(
                    (
                        lambda items: items[at],  # noqa: B023
                        lambda items: items[cut],  # noqa: B023
                        lambda items: items.append(new),  # noqa: B023
                        lambda items: items.__setitem__(at, new),  # noqa: B023
                        lambda items: items.insert(at, new),  # noqa: B023
                        lambda items: items.__delitem__(at),  # noqa: B023
                        lambda items: items.extend([new, new]),  # noqa: B023
                    )
                )
            )
        assert list(pair[Observations]) == pair[list] and pair[Observations] == pair[list]
