"""What a searcher and a stopper must be. Implementations live in `sweep.search` and `sweep.stopping`.

Both are deterministic and pure: no clock, no environment, no I/O, no global random generator, and what they cache
must be derivable from their arguments, so that a restarted controller decides exactly as the one that died.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from sweep.core.space import Config

TrialStatus = Literal["open", "completed", "pruned", "failed"]


class Observation(msgspec.Struct, frozen=True):
    """One trial as a searcher sees it. Trials are numbered densely from 0 in the order of their proposal."""

    trial: int
    config: Config
    status: TrialStatus
    score: float | None = None
    """Mean over the trial's finished replicates in the metric's own direction; None without a finite score
    (open, failed, or nothing logged): to be treated as the worst value seen."""
    worth: float | None = None
    """What the score would be, by guess, had no replicate been ended early: what a model should learn in its place. None where none
    was, or nothing is known yet that it could be compared with. See `sweep.core.worth`."""
    promise: float | None = None
    """What the score of a trial that is not whole, open or ended early, would be by guess, had its runs gone as far as the longest; None
    where nothing is known of it yet, or no rule ends runs early. See `sweep.core.promises`."""


class Proposals(msgspec.Struct, frozen=True):
    """Configs for the next trials. Fewer than asked together with `exhausted` means: the space holds no more."""

    configs: tuple[Config, ...]
    exhausted: bool = False


class Searcher(Protocol):
    """Proposes configs. Built from (SweepSpec) by `sweep.search.make_searcher`."""

    name: str
    """The engine's name as the YAML has it (`grid`, `random`, `optuna-tpe`, ...)."""
    version: str
    """Version of the engine: a recorded proposal can be derived again only under the same one."""
    heavy: bool
    """True: slow to import or to ask; the driver runs it in a child process."""

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The configs of trials len(seen) … len(seen)+n-1, as plain Python values, none equal to one in `seen`
        or to each other in a discrete space. A pure function of (spec, seen, n); `seen[i].trial == i`."""
        ...


class Stopper(Protocol):
    """Ends poor runs early. Fed in the order of the journal."""

    def report(self, run: int, values: Sequence[float], at: Sequence[float] | None = None) -> None:
        """All objective values of `run` so far, in order. `at`: how far the run was at each, in the unit of
        `early_terminate.step`, NaN where that is not known; None: value k (from 1) is iteration k. A place that is not beyond the
        one before replaces what was there. Called after every change. A restarted attempt can have rewritten the end of the
        sequence. NaN and infinities may occur."""
        ...

    def condemned(self, run: int, since: float | None = None) -> str | None:
        """None, or why the run should end now, in words for a person: `iteration 9: 0.41 is worse than the best third (0.33)`.
        `since`: how far it was when it was allowed to go on from a pause; a rule that compares runs at rungs compares it only beyond
        the rung that it had reached there."""
        ...

    def spared(self, runs: Iterable[tuple[int, float | None]]) -> list[int]:
        """Those of these runs (each with its `since`) for which `condemned` is None, without the words: it is asked of all paused runs
        when a slot is free."""
        ...
