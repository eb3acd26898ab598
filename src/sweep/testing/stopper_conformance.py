"""What every stopper must do, as checks that any stopper can be put through.

    for name, check in CHECKS.items():
        if my_stopper_compares_runs or name not in COMPARING:
            check(make_my_stopper)        # (goal) -> a stopper that may judge from the first iterations on

The rule of this file: a check knows a stopper by its protocol alone, and fails with AssertionError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sweep.core.plugins import Stopper
from sweep.core.spec import Goal

MakeStopper = Callable[[Goal], Stopper]
_RUNS = 12
_ITERATIONS = 30


def check_knows_nothing_at_first(make: MakeStopper) -> None:
    """A run that has reported nothing is not condemned, whether it was mentioned or not."""
    stopper = make("minimize")
    assert stopper.condemned(0) is None
    stopper.report(0, [])
    assert stopper.condemned(0) is None


def check_spares_the_best(make: MakeStopper) -> None:
    """A run that is the best at every iteration is spared, also as the first one and in both directions."""
    goals: tuple[Goal, ...] = ("minimize", "maximize")
    for goal in goals:
        stopper, sign = make(goal), 1.0 if goal == "minimize" else -1.0
        stopper.report(0, [-sign] * _ITERATIONS)
        assert stopper.condemned(0) is None
        for run, values in _curves().items():
            stopper.report(run + 1, [sign * value for value in values])
            assert stopper.condemned(0) is None


def check_equals_survive(make: MakeStopper) -> None:
    """Runs that report the same are not told apart."""
    stopper = make("minimize")
    for run in range(_RUNS):
        stopper.report(run, [0.5] * _ITERATIONS)
    assert _condemned(stopper) == {}


def check_gives_reasons(make: MakeStopper) -> None:
    """Hopeless runs are condemned, and the reason names an iteration."""
    stopper = make("minimize")
    for run, values in _curves().items():
        stopper.report(run, values)
    stopper.report(_RUNS - 1, [1e6] * _ITERATIONS)
    reasons = _condemned(stopper)
    assert reasons
    assert all("iteration" in reason and "\n" not in reason for reason in reasons.values())


def check_never_finite_is_condemned(make: MakeStopper) -> None:
    """A run that has had nothing but NaN is ended beside good ones."""
    stopper = make("minimize")
    for run in range(1, _RUNS):
        stopper.report(run, [run / 100 - step for step in range(_ITERATIONS)])
    stopper.report(0, [math.nan] * _ITERATIONS)
    assert stopper.condemned(0)


def check_the_order_of_runs_does_not_matter(make: MakeStopper) -> None:
    """A restarted controller tells them by number, the first one as they reported."""
    forth, back = make("maximize"), make("maximize")
    for run, values in _curves().items():
        forth.report(run, values)
    for run, values in reversed(list(_curves().items())):
        back.report(run, values)
    assert _condemned(forth) == _condemned(back)


def check_a_place_that_comes_again_replaces(make: MakeStopper) -> None:
    """What was at a place that comes again, and beyond it, counts as if it had never been; unless each value is an iteration,
    wherever it is said to be."""
    if _counts(make):
        return
    again, once = make("minimize"), make("minimize")
    for run, values in _curves().items():
        at = [float(step + 1) for step in range(len(values))]
        middle = len(values) // 2
        again.report(run, [*values, *values[middle:]], [*at, *at[middle:]])
        once.report(run, values, at)
        again.report(run, [*values, *values[middle:]], [*at, *at[middle:]])
    assert _condemned(again) == _condemned(once)


def check_it_takes_any_places(make: MakeStopper) -> None:
    """Skipped and unknown places, those that begin at 0, and others: no exception, and asking twice gives the same."""
    stopper = make("minimize")
    for run, values in _curves().items():
        strides = [float((step * (run + 1)) % 40) for step in range(len(values))]
        strides[run % len(strides)] = math.nan
        stopper.report(run, values, strides)
    assert _condemned(stopper) == _condemned(stopper)


def check_asking_changes_nothing(make: MakeStopper) -> None:
    """A question has no effect on later ones."""
    asked, unasked = make("minimize"), make("minimize")
    for run, values in _curves().items():
        for end in range(1, len(values) + 1):
            asked.report(run, values[:end])
            asked.condemned(run)
            unasked.report(run, values[:end])
    assert _condemned(asked) == _condemned(unasked)


def check_steps_do_not_matter(make: MakeStopper) -> None:
    """All values in one report, or one by one, or the same report twice: the same judgement."""
    single, whole = make("minimize"), make("minimize")
    for run, values in _curves().items():
        for end in range(1, len(values) + 1):
            single.report(run, values[:end])
        whole.report(run, values)
        whole.report(run, values)
    assert _condemned(single) == _condemned(whole)


def check_takes_rewriting(make: MakeStopper) -> None:
    """Values that a later attempt rewrote, or has not reached yet, count as if the old ones had never been."""
    rewritten, fresh = make("minimize"), make("minimize")
    for run, values in _curves().items():
        rewritten.report(run, list(reversed(values)))
        rewritten.report(run, values[: len(values) // 2])
        rewritten.report(run, [*values[: len(values) - 1], values[-1] / 2])
    for run, values in _curves().items():
        fresh.report(run, [*values[: len(values) - 1], values[-1] / 2])
    rewritten.report(3, _curves()[3][:2])
    fresh.report(3, _curves()[3][:2])
    assert _condemned(rewritten) == _condemned(fresh)


def check_not_finite_is_worst(make: MakeStopper) -> None:
    """NaN and infinities of either sign are the worst value: condemned beside finite runs, spared among themselves."""
    for bad in (math.nan, math.inf, -math.inf):
        stopper = make("minimize")
        stopper.report(0, [bad] * _ITERATIONS)
        assert stopper.condemned(0) is None
        for run in range(1, _RUNS):
            stopper.report(run, [0.5] * _ITERATIONS)
        assert set(_condemned(stopper)) == {0}


def check_directions_mirror(make: MakeStopper) -> None:
    """Maximising the negative condemns the same runs as minimising."""
    down, up = make("minimize"), make("maximize")
    for run, values in _curves().items():
        down.report(run, values)
        up.report(run, [-value for value in values])
    assert set(_condemned(down)) == set(_condemned(up))


CHECKS: dict[str, Callable[[MakeStopper], None]] = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}
"""All checks, by name."""

COMPARING = frozenset(("spares_the_best", "equals_survive", "not_finite_is_worst", "directions_mirror"))
"""Those that hold only where runs are compared with each other, and not for a rule that looks at each run alone."""


def _curves() -> Mapping[int, list[float]]:
    """Learning curves of runs that end at different levels, the later ones worse; each of another length."""
    return {
        run: [run + 1 / (step + 1) for step in range(_ITERATIONS - run)] + [run + 0.01 * (run % 3)]
        for run in range(_RUNS)
    }


def _counts(make: MakeStopper) -> bool:
    """Whether the stopper takes each value for an iteration, wherever it is said to be."""
    placed, plain = make("minimize"), make("minimize")
    for run, values in _curves().items():
        placed.report(run, values, [step / 1e6 for step in range(1, len(values) + 1)])
        plain.report(run, values)
    return _condemned(placed) == _condemned(plain) != {}


def _condemned(stopper: Stopper) -> dict[int, str]:
    """Run -> why it should end; those that should not are the same by both of the questions."""
    reasons = {run: stopper.condemned(run) for run in range(_RUNS)}
    spared = stopper.spared((run, None) for run in range(_RUNS))
    assert spared == [run for run, reason in reasons.items() if reason is None]
    return {run: reason for run, reason in reasons.items() if reason is not None}
