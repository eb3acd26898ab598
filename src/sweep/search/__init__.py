"""Searchers: what proposes the configs of a sweep. Pure and seeded; no stores, processes or clocks.

The rule of this package: `make_searcher` and building a searcher are cheap; a heavy library is imported when its searcher
is first asked.
"""

from __future__ import annotations

from collections.abc import Callable

from sweep.core.plugins import Searcher
from sweep.core.spec import SweepSpec

DEFAULT_BAYES_ENGINE = "auto"


def engines() -> tuple[str, ...]:
    """The names of all engines; those beyond `grid` and `random` can stand under `engine` for `method: bayes`."""
    return tuple(_MAKERS)


def make_searcher(spec: SweepSpec) -> Searcher:
    """The searcher that `spec` names: its method's, or for `method: bayes` the one of `engine` (default: auto).

    Raises ValueError for an unknown engine, one whose library is not installed, and for a grid over a continuous parameter.
    """
    name = engine_of(spec)
    if name not in _MAKERS:
        raise ValueError(f"engine {name!r} is unknown; there are {', '.join(_MAKERS)}")
    made = _MAKERS[name](spec)
    return made if not spec.initial else _with_initial(spec, made)


def _with_initial(spec: SweepSpec, made: Searcher) -> Searcher:
    from sweep.search._initial import InitialFirst

    return InitialFirst(spec, made)


def engine_of(spec: SweepSpec) -> str:
    """The name of the engine that `spec` asks for."""
    if spec.method != "bayes":
        return spec.method
    return spec.engine or DEFAULT_BAYES_ENGINE


def _grid(spec: SweepSpec) -> Searcher:
    from sweep.search._simple import GridSearcher

    return GridSearcher(spec)


def _random(spec: SweepSpec) -> Searcher:
    from sweep.search._simple import RandomSearcher

    return RandomSearcher(spec)


def _tpe(spec: SweepSpec) -> Searcher:
    from sweep.search._tpe import TpeSearcher

    return TpeSearcher(spec)


def _forest(name: str) -> Callable[[SweepSpec], Searcher]:
    def make(spec: SweepSpec) -> Searcher:
        from sweep.search._forest import ForestSearcher

        return ForestSearcher(spec, name)

    return make


def _gp(spec: SweepSpec) -> Searcher:
    from sweep.search._optuna_gp import OptunaGpSearcher

    return OptunaGpSearcher(spec)


def _cma(spec: SweepSpec) -> Searcher:
    from sweep.search._cma import CmaSearcher

    return CmaSearcher(spec)


def _sobol(spec: SweepSpec) -> Searcher:
    from sweep.search._sobol import SobolSearcher

    return SobolSearcher(spec)


def _blend(name: str) -> Callable[[SweepSpec], Searcher]:
    def make(spec: SweepSpec) -> Searcher:
        from sweep.search._blend import BlendSearcher

        return BlendSearcher(spec, name)

    return make


_MAKERS: dict[str, Callable[[SweepSpec], Searcher]] = {
    "grid": _grid,
    "random": _random,
    "auto": _blend("auto"),
    "blend": _blend("blend"),
    "optuna-tpe": _tpe,
    "optuna-gp": _gp,
    "optuna-cmaes": _cma,
    "skopt-et": _forest("skopt-et"),
    "skopt-rf": _forest("skopt-rf"),
    "skopt-gp": _forest("skopt-gp"),
    "sobol": _sobol,
}
