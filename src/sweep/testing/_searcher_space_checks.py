"""Checks of what a spec can say about its space: conditions, constraints, initial configs, and results from elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec

from sweep.core import domain
from sweep.core.space import (
    Categorical,
    Config,
    Constant,
    Distribution,
    Numeric,
)
from sweep.core.spec import Known
from sweep.search._stream import DistinctStream
from sweep.testing._searcher_world import (
    Subject,
    assert_belongs,
    ended_from,
    play,
    points_of,
    score_of,
    space_of,
    to_the_end,
    with_conditions,
)

CONDITIONAL: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]] = {
    "sgd.nesterov": (Categorical((True, False)), {"sgd.steps": (2, 3)}),
    "name": (Categorical(("adam", "sgd", "plain")), {}),
    "sgd.steps": (Numeric(1, 4, integer=True), {"name": ("sgd",)}),
    "fixed": (Constant(7), {"name": ("sgd", "adam")}),
    "beta": (Numeric(0.5, 1.0, q=0.25), {"fixed": (7,), "name": ("adam",)}),
}
"""Conditions on conditions, on choices, numbers and a constant; children before and after their parents."""
MOMENTUM: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]] = {
    "sgd.momentum": (Numeric(0.0, 0.99), {"name": ("sgd",), "sgd.steps": (1, 2)})
}


def check_conditions(subject: Subject) -> None:
    """What is inactive is in no config, and what does not differ in what is active is the same config: every one of a finite
    space comes once, and none of an infinite one twice, also where only a part of it is infinite."""
    small = with_conditions(CONDITIONAL)
    seen = to_the_end(subject.make(subject.spec(small)), [], points_of(subject, small))
    assert len(seen) == points_of(subject, small)
    wide = with_conditions(CONDITIONAL | MOMENTUM) if subject.continuous else small
    spec = subject.spec(wide)
    searcher = subject.make(spec)
    played = play(searcher, min(subject.asks, len(seen)))
    for history in (played, played[: len(played) // 2]):
        if subject.continuous:
            assert searcher.propose(history, 2) == subject.make(spec).propose(history, 2)
    for space, history in ((small, seen), (wide, played)):
        for observation in history:
            assert_belongs(space, observation.config)
        assert len({domain.canonical(observation.config) for observation in history}) == len(history)


def check_constraints(subject: Subject) -> None:
    """Every proposal satisfies the constraints, one over an inactive parameter is satisfied, and of a finite space every
    point that is allowed comes once, also when it is one in many."""
    small = msgspec.structs.replace(
        with_conditions(CONDITIONAL),
        constraints=("sgd.steps != 3 or not sgd.nesterov", "beta < 1", "fixed > 0"),
    )
    narrow = msgspec.structs.replace(
        space_of({name: Numeric(1, 9, integer=True) for name in "abc"}),
        constraints=("a * b == 81", "c % 3 == 0"),
    )
    for space in (small, narrow):
        seen = to_the_end(subject.make(subject.spec(space)), [], points_of(subject, space))
        assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)
        assert len(seen) == points_of(subject, space)
        assert all(domain.allows(space, observation.config) for observation in seen)
    wide = msgspec.structs.replace(
        subject.wide(), constraints=("net.layers * net.width <= 256", 'choice != "a"')
    )
    spec = subject.spec(wide)
    searcher = subject.make(spec)
    for observation in play(searcher, min(subject.asks, 16)):
        assert_belongs(wide, observation.config)
        assert observation.config["net"]["layers"] * observation.config["net"]["width"] <= 256


def check_initial_configs(subject: Subject) -> None:
    """They come first and in order, what they leave open is filled in, and they are part of a finite space like any other."""
    space = with_conditions(CONDITIONAL)
    given: tuple[Config, ...] = (
        {"sgd": {"nesterov": True}},
        {"name": "plain"},
        {"beta": 0.5},
        {"name": "plain"},
    )
    spec = msgspec.structs.replace(subject.spec(space), initial=given)
    searcher = subject.make(spec)
    first = searcher.propose([], 5).configs
    assert first[:2] == searcher.propose([], 2).configs
    assert first[0]["name"] == "sgd" and first[0]["sgd"]["nesterov"] is True
    assert first[1] == {"name": "plain"}
    assert first[2]["name"] == "adam" and first[2]["beta"] == 0.5
    seen = to_the_end(searcher, [], points_of(subject, space))
    assert [observation.config for observation in seen[:3]] == list(first[:3])
    assert len({domain.canonical(observation.config) for observation in seen}) == points_of(subject, space)
    for observation in seen:
        assert_belongs(space, observation.config)
    late = ended_from(subject.make(subject.spec(space)).propose([], 2).configs, 0)
    assert searcher.propose(late, 1) == subject.make(spec).propose(late, 1)


def check_knowledge(subject: Subject) -> None:
    """Results from elsewhere, also of configs outside the space and of extreme scores, leave proposals in the space; they are no
    trials, and a searcher built anew agrees with one that has followed the sweep."""
    spec = subject.spec(subject.wide())
    stream = DistinctStream(spec.space, seed=99)
    elsewhere = [config for i in range(12) if (config := stream.config(i)) is not None]
    known = [Known(config, 1e308 if i % 5 == 0 else score_of(config)) for i, config in enumerate(elsewhere)]
    spec = msgspec.structs.replace(spec, knowledge=(*known, Known({}, 0.0), Known({"other": 1}, -1.0)))
    used = subject.make(spec)
    seen = play(used, min(subject.asks, 4))
    for observation in seen:
        assert_belongs(spec.space, observation.config)
    assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)
    for history in (seen, []):
        assert used.propose(history, 2) == subject.make(spec).propose(history, 2)
