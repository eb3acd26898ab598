"""What every searcher must do, as checks that any searcher can be put through.

    for name, check in CHECKS.items():
        check(Subject(make_my_searcher, method="bayes", engine="mine"))

The rule of this file: a check knows a searcher by its protocol alone, and fails with AssertionError. The scores come from
a small function of the config's text, so that nothing is random.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable

import msgspec

from sweep.core import domain
from sweep.core.plugins import Observation, Proposals, TrialStatus
from sweep.core.space import (
    Categorical,
    Config,
    Constant,
    Numeric,
    Space,
)
from sweep.testing._searcher_space_checks import (
    check_conditions,
    check_constraints,
    check_initial_configs,
    check_knowledge,
)
from sweep.testing._searcher_world import (
    SMALL,
    Subject,
    assert_belongs,
    ended_from,
    holds,
    moved,
    narrowed,
    play,
    points_of,
    space_of,
    spoil,
    to_the_end,
    versions,
)

__all__ = [
    "CHECKS",
    "Subject",
    "check_conditions",
    "check_constraints",
    "check_initial_configs",
    "check_knowledge",
    "play",
]


def check_describes_itself(subject: Subject) -> None:
    """Name, version and weight are there, and building another one gives the same."""
    first, second = (subject.make(subject.spec(subject.wide())) for _ in range(2))
    assert isinstance(first.name, str) and first.name
    assert isinstance(first.version, str) and first.version
    assert isinstance(first.heavy, bool)
    assert (first.name, first.version, first.heavy) == (second.name, second.version, second.heavy)


def check_stays_in_bounds(subject: Subject) -> None:
    """Every value of every distribution is possible, of the right type and where it belongs, and plain."""
    spec = subject.spec(subject.wide())
    for observation in play(subject.make(spec), subject.asks):
        assert_belongs(spec.space, observation.config)


def check_repeats_under_its_seed(subject: Subject) -> None:
    """The same seed gives the same proposals; another one gives others."""
    runs = [play(subject.make(subject.spec(subject.wide(), seed=s)), subject.asks) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == subject.seeded


def check_fresh_equals_used(subject: Subject) -> None:
    """A searcher built anew gives what one that has followed the sweep gives, also when results change their minds."""
    spec = subject.spec(subject.wide())
    used = subject.make(spec)
    seen = play(used, subject.asks)
    for history in versions(seen):
        for n in (1, 3):
            assert used.propose(history, n) == subject.make(spec).propose(history, n)


def check_is_pure(subject: Subject) -> None:
    """Asking again changes nothing; neither the history nor Python's generator is touched; nobody shares a list."""
    searcher = subject.make(subject.spec(subject.wide()))
    seen = play(searcher, subject.asks)
    before, state = copy.deepcopy(seen), random.getstate()
    first = searcher.propose(seen, 2)
    kept = copy.deepcopy(first)
    for config in first.configs:
        spoil(config)
    assert searcher.propose(seen, 2) == kept
    assert seen == before
    assert random.getstate() == state


def check_accepts_any_result(subject: Subject) -> None:
    """Histories of nothing but failures, open trials, pruned trials, equal, extreme or missing scores."""
    spec = subject.spec(subject.wide())
    base = play(subject.make(spec), 6)
    failed: tuple[TrialStatus, float | None] = ("failed", None)
    histories: list[list[tuple[TrialStatus, float | None]]] = [
        [failed] * 6,
        [("open", None)] * 6,
        [("completed", None)] * 6,
        [("pruned", 0.5)] * 6,
        [("completed", 1e308), ("completed", -1e308), ("pruned", 5e-324)] * 2,
        [("completed", math.nan), ("completed", math.inf), ("pruned", -math.inf)] * 2,
        [
            ("completed", 1.0),
            ("completed", 1.0),
            ("completed", 1.0),
            ("pruned", 1.0),
            ("completed", 1.0),
            failed,
        ],
    ]
    for history in histories:
        seen = [
            msgspec.structs.replace(o, status=status, score=score)
            for o, (status, score) in zip(base, history, strict=True)
        ]
        proposals = subject.make(spec).propose(seen, 1)
        assert len(proposals.configs) == 1
        assert_belongs(spec.space, proposals.configs[0])


def check_many_open_trials_differ(subject: Subject) -> None:
    """16 workers that ask before any of them reports get 16 different configs, one by one or all at once."""
    spec = subject.spec(subject.wide())
    start = play(subject.make(spec), 6)
    together = list(subject.make(spec).propose(start, 16).configs)
    searcher, seen = subject.make(spec), list(start)
    for _ in range(min(16, subject.asks)):
        config = searcher.propose(seen, 1).configs[0]
        seen.append(Observation(len(seen), config, "open"))
    for configs in (together, [observation.config for observation in seen]):
        assert len({domain.canonical(config) for config in configs}) == len(configs)


def check_exhausts_a_finite_space(subject: Subject) -> None:
    """Every point comes exactly once, the end is said exactly with the last one, and stays said."""
    spec = subject.spec(space_of(SMALL))
    for batch in (1, 5):
        searcher, seen, ended = subject.make(spec), list[Observation](), False
        while not ended:
            answer = searcher.propose(seen, batch)
            assert len(answer.configs) == batch or answer.exhausted
            assert len(seen) <= points_of(subject, spec.space)
            seen += ended_from(answer.configs, len(seen))
            ended = answer.exhausted
            assert ended == (len(seen) == points_of(subject, spec.space))
        assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)
        assert searcher.propose(seen, batch) == Proposals((), exhausted=True)
        assert subject.make(spec).propose(seen, 1) == Proposals((), exhausted=True)


def check_respects_foreign_configs(subject: Subject) -> None:
    """Configs that it did not propose (points of the space and others) are not repeated, and nothing is left out."""
    spec = subject.spec(space_of(SMALL))
    strange: list[Config] = [{"a": 3, "n": {"b": None, "c": 0.0}}, {"a": 2.0, "n": {"c": 0.0, "b": "x"}}]
    strange += [{"a": 99, "n": {"b": "x", "c": 0.0}}, {"other": 1}, {}]
    seen = ended_from(strange, 0)
    searcher = subject.make(spec)
    for _ in range(points_of(subject, spec.space)):
        seen += ended_from(searcher.propose(seen, 4).configs, len(seen))
    keys = [domain.canonical(observation.config) for observation in seen]
    assert len(set(keys)) == len(keys)
    assert len(keys) == points_of(subject, spec.space) + 3


def check_goes_on_in_another_space(subject: Subject) -> None:
    """Trials of an earlier revision of the spec, in other bounds, with other choices and other parameters, are accepted: the
    proposals lie in the new space, none is repeated, and a searcher built anew agrees with one that goes on."""
    spec = subject.spec(subject.wide())
    seen = play(subject.make(spec), subject.asks)
    for space in (moved(spec.space), narrowed(spec.space), Space(spec.space.parameters[:-1])):
        revised = subject.spec(space)
        used, history = subject.make(revised), list(seen)
        for n in (1, 2):
            answer = used.propose(history, n)
            assert answer == subject.make(revised).propose(history, n)
            assert len(answer.configs) == n
            for config in answer.configs:
                assert_belongs(space, config)
            history += ended_from(answer.configs, len(history))
        keys = [domain.canonical(observation.config) for observation in history]
        assert len(set(keys)) == len(keys)


def check_goes_on_through_what_is_left(subject: Subject) -> None:
    """When a finite space changes in the middle, exactly the points of the new one that were not tried follow."""
    old, new = (
        space_of(SMALL),
        space_of({**SMALL, "a": Numeric(3, 5, integer=True), "n.b": Categorical(("x", "y"))}),
    )
    seen = to_the_end(subject.make(subject.spec(old)), [], points_of(subject, old))
    tried = sum(holds(new, observation.config) for observation in seen)
    assert 0 < tried < len(seen)
    before = len(seen)
    seen = to_the_end(subject.make(subject.spec(new)), seen, before + points_of(subject, new))
    assert len(seen) - before == points_of(subject, new) - tried
    assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)


def check_a_single_point(subject: Subject) -> None:
    """A space in which nothing varies has one config."""
    space = space_of({"x": Constant(3), "y": Categorical(("a", "a"))})
    searcher = subject.make(subject.spec(space))
    assert searcher.propose([], 4) == Proposals(({"x": 3, "y": "a"},), exhausted=True)


def check_directions_mirror(subject: Subject) -> None:
    """Maximising the negative is the same as minimising."""
    results = []
    for goal, sign in (("minimize", 1.0), ("maximize", -1.0)):
        spec = subject.spec(subject.wide(), goal=goal)  # type: ignore[arg-type]
        results.append([o.config for o in play(subject.make(spec), subject.asks, sign)])
    assert results[0] == results[1]


CHECKS: dict[str, Callable[[Subject], None]] = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}
"""All checks, by name."""
