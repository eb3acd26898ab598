"""What a simulated sweep is: its spec, its searcher, and how each attempt's training behaves.

The rule of this file: everything is drawn from the seed; what a training program does depends on (seed, run, attempt)
alone, so that a controller that acts differently meets the same programs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

import msgspec

from sweep.controller.searching import Answer, Request, SearchFailed
from sweep.core import domain
from sweep.core.agent import Cause
from sweep.core.plugins import Observation, Proposals, Searcher
from sweep.core.space import Categorical, Condition, Config, Numeric, Parameter, Space
from sweep.core.spec import Metric, Resources, SweepSpec
from sweep.search import make_searcher
from sweep.search._initial import InitialFirst
from sweep.testing.revising import draw_gpus, draw_limits, draw_retry, draw_stopper

ADAPTIVE = "adaptive"
METRIC = "loss"
QUICK = "quick"
"""The name of a spec with many runs, which are short and seldom fail."""


def draw_spec(rng: Random, many: bool = False) -> SweepSpec:
    """A small spec of any kind; `many`: with several times as many trials."""
    method = rng.choice(("grid", "random", "random", "bayes", "bayes"))
    space = _draw_space(rng, continuous=method == "random" and rng.random() < 0.3, many=many)
    finite = all(isinstance(p.distribution, Categorical) for p in space.parameters)
    uncapped = finite and math.prod(_size(p) for p in space.parameters) <= 12 and rng.random() < 0.5
    spec = SweepSpec(
        name=QUICK if many else None,
        method=method,  # type: ignore[arg-type]
        engine=ADAPTIVE if method == "bayes" else None,
        space=space,
        seed=(seed := rng.randrange(2**32)),
        seeds="independent" if seed % 4 == 1 else "common",
        metric=Metric(
            name=METRIC,
            goal=rng.choice(("minimize", "maximize")),
            target=rng.choice((-0.4, -0.2, 1.8, 2.4)) if rng.random() < 0.25 else None,
        ),
        run_cap=None if uncapped else rng.randint(25, 50) if many else rng.randint(1, 14),
        replicates=rng.choice((1, 1, 1, 2, 3)),
        patience=rng.randint(1, 6) if rng.random() < 0.2 else None,
        early_terminate=draw_stopper(rng),
        resources=Resources(gpus=draw_gpus(rng)),
        retry=draw_retry(rng),
        limits=draw_limits(rng),
    )
    spec = _with_dependencies(spec, Random(f"dependencies {spec.seed}"))  # it moves none of the other draws
    return without_ends(spec) if many else spec


def _with_dependencies(spec: SweepSpec, rng: Random) -> SweepSpec:
    """Some specs have a constraint, a parameter that is there for some values of another one only, and configs to try first."""
    axes = [p for p in spec.space.parameters if isinstance(p.distribution, Categorical)]
    others = [p for p in spec.space.parameters if p not in axes]
    sizes = [_size(axis) for axis in axes]
    constraints: tuple[str, ...] = ()
    most = sizes[0] - 1
    if len(axes) > 1 and rng.random() < 0.3:
        most = rng.randint(0, sizes[0] + sizes[1] - 2)
        constraints = (f"{axes[0].name} + {axes[1].name} <= {most}",)
    if len(axes) > 2 and rng.random() < 0.5:
        values = tuple(rng.sample(range(sizes[0]), rng.randint(1, sizes[0])))
        axes[2] = msgspec.structs.replace(axes[2], when=(Condition(axes[0].path, values),))
    firsts = rng.sample(range(sizes[0]), rng.randint(1, sizes[0])) if rng.random() < 0.3 else []
    return msgspec.structs.replace(
        spec,
        space=Space((*axes, *others), constraints),
        initial=tuple({axes[0].name: value} for value in firsts if value <= most),
    )


def without_ends(spec: SweepSpec) -> SweepSpec:
    """The spec, with nothing but its budget to end it."""
    assert spec.metric is not None
    replace = msgspec.structs.replace
    return replace(
        spec,
        metric=replace(spec.metric, target=None),
        patience=None,
        limits=replace(spec.limits, wall_time_s=None, gpu_hours=None, cpu_hours=None, energy_kwh=None),
    )


def _draw_space(rng: Random, continuous: bool, many: bool) -> Space:
    axes = [
        Parameter((f"p{i}",), Categorical(tuple(range(rng.randint(1, 4) + 3 * many))))
        for i in range(rng.randint(1 + many, 3))
    ]
    if continuous:
        axes.append(Parameter(("q",), Numeric(0.0, 1.0)))
    return Space(tuple(axes))


def _size(parameter: Parameter) -> int:
    distribution = parameter.distribution
    return len(distribution.values) if isinstance(distribution, Categorical) else 0


# --- searching -----------------------------------------------------------------------------------------------------


class AdaptiveSearcher:
    """Proposes by everything that it has seen: the least change in what it is shown gives other proposals."""

    name = ADAPTIVE
    version = "1"
    heavy = True

    def __init__(self, spec: SweepSpec) -> None:
        self._seed = spec.seed
        grid = SearcherFor(msgspec.structs.replace(spec, method="grid", engine=None, initial=()))
        self._points = grid.propose([], 10_000).configs

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """Points that nobody has proposed, in an order that depends on all of `seen`."""
        known = {canonical(one.config) for one in seen}
        left = [point for point in self._points if canonical(point) not in known]
        Random(f"{self._seed} {[(o.trial, o.status, o.score, o.worth) for o in seen]!r}").shuffle(left)
        return Proposals(tuple(left[:n]), exhausted=len(left) <= n)


def SearcherFor(spec: SweepSpec) -> Searcher:
    """The searcher of a simulated sweep."""
    if spec.engine != ADAPTIVE:
        return make_searcher(spec)
    adaptive = AdaptiveSearcher(spec)
    return InitialFirst(spec, adaptive) if spec.initial else adaptive


class SlowSearch:
    """Answers after some virtual seconds, and sometimes not at all."""

    lookahead = 0

    def __init__(
        self,
        spec: SweepSpec,
        now: Callable[[], float],
        delay_s: Callable[[Request], float],
        fails: Callable[[], bool],
        wake: Callable[[float], None],
    ) -> None:
        """`wake` is told the delay after which `poll` will have the answer."""
        self._searcher = SearcherFor(spec)
        self._now, self._delay_s, self._fails, self._wake = now, delay_s, fails, wake
        self._answer: Answer | None = None
        self._ready_s = 0.0

    @property
    def busy(self) -> bool:
        return self._answer is not None

    def ask(self, spec: SweepSpec, request: Request, seen: Sequence[Observation]) -> None:  # noqa: ARG002
        proposals = self._searcher.propose(tuple(seen), request.n)
        self._answer = Answer(request, proposals, self._searcher.name, self._searcher.version)
        delay_s = self._delay_s(request)
        self._ready_s = self._now() + delay_s
        self._wake(delay_s)

    def poll(self) -> Answer | None:
        if self._answer is None or self._now() < self._ready_s:
            return None
        answer, self._answer = self._answer, None
        if self._fails():
            raise SearchFailed("the searcher ran out of memory")
        return answer

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._answer = None


def canonical(config: Config) -> str:
    """One text per point."""
    return json.dumps(config, sort_keys=True)


def is_finite(space: Space) -> bool:
    """Whether a space has finitely many points, so that none may come twice."""
    return domain.size(space) is not None


# --- training ------------------------------------------------------------------------------------------------------

Kind = Literal["normal", "crashing", "hanging", "silent", "unstartable"]


class Behaviour(msgspec.Struct, frozen=True):
    """What one attempt's program does."""

    kind: Kind
    iterations: int
    interval_s: float
    crash_at: int
    ignores_term: bool
    term_s: float
    """How long it takes to end after SIGTERM or being told."""
    term_code: int
    raises: bool
    """It asked to be told instead of signalled."""
    resumes: bool
    summary: dict[str, Any]
    cause: Cause | None
    """What the agent finds out when it crashes; None: nothing beyond its exit code."""


CAUSES = (
    None,
    None,
    Cause("gpu_memory", "out of GPU memory (CUDA out of memory)"),
    Cause("memory", "out of memory (MemoryError)"),
    Cause("node", "the node failed (No space left on device)"),
)


def behaviour(seed: int, spec: SweepSpec, run: int, attempt: int) -> Behaviour:
    """The behaviour of an attempt; iterations and pace are the run's, the rest is the attempt's."""
    own = Random(f"{seed}/{run}")
    rng = Random(f"{seed}/{run}/{attempt}")
    limited = spec.limits.run_time_s is not None or spec.limits.no_progress_s is not None
    broken = own.random() < 0.04
    quick = spec.name == QUICK
    draw = rng.random() if not quick else 1 - 0.85 * rng.random()
    kind: Kind = "normal"
    if broken or draw < 0.12:
        kind = "crashing"
    elif draw < 0.16:
        kind = "unstartable"
    elif draw < 0.22:
        kind = "silent"
    elif draw < 0.28 and limited:
        kind = "hanging"
    iterations = own.randint(1, 2 if quick else 10)
    summary: dict[str, Any] = {"accuracy": round(rng.random(), 3)} if rng.random() < 0.3 else {}
    if rng.random() < 0.1:
        summary[METRIC] = round(rng.uniform(-0.2, 2.2), 3)
    return Behaviour(
        kind=kind,
        iterations=iterations,
        interval_s=own.uniform(0.1, 0.4 if quick else 1.5),
        crash_at=rng.randint(0, iterations),
        ignores_term=rng.random() < 0.15,
        term_s=rng.choice((0.0, 0.05, 1.0, 3.0)),
        term_code=rng.choice((-15, -15, 0, 1)),
        raises=rng.random() < 0.2,
        resumes=own.random() < 0.5,
        summary=summary,
        cause=rng.choice(CAUSES),
    )


def spoilt(does: Behaviour) -> Behaviour:
    """The same program on a node where all of them crash at once."""
    cause = Cause("node", "the node failed (no space left on device)")
    return msgspec.structs.replace(does, kind="crashing", crash_at=0, interval_s=0.4, cause=cause)


def far_of(unit: str, step: float, number: int, does: Behaviour) -> float:
    """How far an attempt says that it is at its value `number`, by what the stopper calls an iteration. Of its epochs, two are in a
    step, and it forgets to log some of them."""
    if unit == "time":
        return round(does.interval_s * (number + 1), 3)
    if unit.startswith("metric:"):
        return math.nan if number % 4 == 1 else 2 * step
    return step


def value_of(seed: int, run: int, iteration: int) -> float:
    """The objective that a run's program logs at an iteration: falling, noisy, sometimes not a number."""
    digest = hashlib.blake2b(f"{seed}/{run}".encode(), digest_size=8).digest()
    level = int.from_bytes(digest, "little") / 2**64
    noise = Random(f"{seed}/{run}/{iteration}/v")
    draw = noise.random()
    if draw < 0.04:
        return math.nan
    if draw < 0.06:
        return math.inf if draw < 0.05 else -math.inf
    return round(level + 1.0 / (1 + iteration) + noise.uniform(-0.3, 0.3), 4)
