"""`sweep.Optimizer`: ask for a config, tell what it was worth. The controller that `sweep agent` runs, in memory.

The rule of this file: nothing is decided here. An optimizer is an agent of one sweep in a store in memory: asking offers a slot,
telling ends the attempt, and what follows from it is the controller's business. There is no other process and no thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from sweep.api.learning import with_knowledge
from sweep.api.seeds import draw_seed
from sweep.controller import Driver, InlineSearch
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.domain import copied
from sweep.core.ending import ending, open_budget
from sweep.core.errors import SweepError
from sweep.core.names import agent_lease, controller_lease
from sweep.core.outcomes import Purpose
from sweep.core.plugins import TrialStatus
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.core.state import Run, State, best_finite, better
from sweep.search import make_searcher
from sweep.stopping import make_stopper
from sweep.stores import Lease
from sweep.stores.memory import MemoryStore

_SWEEP = "memory"
_AGENT = "optimizer"
_FOREVER_S = 1e12
_ORDERED: dict[str, e.Outcome] = {"pruned": "pruned", "paused": "paused", "cancelled": "cancelled"}


class NothingToAsk(SweepError):
    """There is no trial to try at present; the text says why."""


class Trial(msgspec.Struct, frozen=True):
    """One config to try: what `Optimizer.ask` gives."""

    id: int
    """Number of the run; the same again when a failed one is to be tried again, or a paused one goes on."""
    config: Config
    seed: int
    """For what is random in it: the same for all trials, so that they can be compared."""
    trial: int
    """Number of the config: its replicates share it."""
    replicate: int = 0
    attempt: int = 1
    purpose: Purpose = "search"
    """`confirm`: the search has ended, and this is one of its best configs on a fresh seed (`confirm` in the spec)."""


class Result(msgspec.Struct, frozen=True):
    """What is known of a trial, over all its replicates."""

    trial: int
    config: Config
    state: TrialStatus
    """open, completed, pruned or failed."""
    score: float | None
    """Mean over its replicates; None without a finite value."""


class Optimizer:
    """A sweep that is worked off by asking and telling.

    `spec`: the content of a `sweep.yaml` as a mapping, which needs neither `program` nor `command`, or the path of one.
    `clock`: Unix seconds, for `limits.wall_time`. May be used by several threads. Raises SpecError.

        opt = sweep.Optimizer({"method": "random", "run_cap": 20, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
        while not opt.done:
            trial = opt.ask()
            opt.tell(trial, (trial.config["x"] - 0.3) ** 2)
    """

    def __init__(
        self,
        spec: Mapping[str, Any] | SweepSpec | str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        read, source = _spec(spec)
        read, _ = with_knowledge(None, read, _folder(spec))
        self._clock = clock
        self._lock = threading.RLock()
        self._store = MemoryStore(clock=lambda: 0.0, now=clock)  # leases that never run out
        self._seq = self._offers = 0
        self._open: dict[tuple[int, int], int] = {}
        """(run, attempt) -> slot of what was asked for and not told yet."""
        self._reported: dict[tuple[int, int], int] = {}
        """How many values each of them has reported."""
        self._driver = Driver(
            self._store, _SWEEP, self._lease(controller_lease(_SWEEP)), make_stopper, _search, _warn
        )
        self._lease(agent_lease(_AGENT))
        self._write(
            e.SweepCreated(_SWEEP, spec_to_builtins(read), source),
            e.AgentJoined(_AGENT, "here", os.getpid(), 0),
        )

    # --- ask and tell

    def ask(self) -> Trial:
        """The next trial: one that was paused and may go on, else a new one. Several may be open at once. Raises NothingToAsk where
        `done` is true, and while all that is left are open trials."""
        with self._lock:
            slot = next(number for number in range(len(self._open) + 1) if number not in self._open.values())
            self._offers += 1
            self._write(e.SlotOffered(_AGENT, slot, self._offers))
            if (_AGENT, slot) in self._state.offers:
                self._write(e.SlotWithdrawn(_AGENT, slot, self._offers))
                raise NothingToAsk(self._why_nothing())
            runs = self._state.runs
            run = next(runs[number] for number in self._state.live if runs[number].state == "assigned")
            self._open[run.run, run.attempt] = slot
            self._write(e.RunStarted(run.run, run.attempt, _AGENT, os.getpid(), "here", slot))
            config = copied(self._state.trials[run.trial].config)
            return Trial(run.run, config, run.seed, run.trial, run.replicate, run.attempt, run.purpose)

    def report(self, trial: Trial, step: float, value: float) -> bool:
        """A value of the metric at a step, while the trial is at work. True when it should end now: the stopper gives it up (or
        a limit of the sweep is reached); `reason(trial)` says why, and `tell` ends it. With `early_terminate: {type: asha, resume: true}`
        the trial is paused: keep what it has come to under its `id`, for `ask` may give it again, with the next `attempt`, to go
        on from there."""
        with self._lock:
            run = self._at_work(trial)
            key = (run.run, run.attempt)
            first = self._reported.get(key, 0)
            self._write(e.ObjectiveReported(*key, first, (float(step),), (float(value),)))
            self._reported[key] = first + 1
            return bool(run.order)

    def reason(self, trial: Trial | None = None) -> str:
        """Why a trial was to end, or ended as it did; without a trial: why the sweep has ended. Empty where it has not."""
        with self._lock:
            if trial is not None:
                return self._state.runs[trial.id].reason
            return self._state.reason if self._state.phase == "ended" else ""

    def tell(
        self,
        trial: Trial,
        value: float | None = None,
        *,
        state: Literal["completed", "failed", "pruned"] = "completed",
        reason: str = "",
    ) -> None:
        """End a trial with its value; NaN is the worst there is. The trial's score is the best of this and what was reported, so
        that after `report` no value is needed. `state="failed"`: it gave none, and is tried again if the spec's `retry` says
        so. A trial that `report` told to end counts as pruned, also while it is only paused. Raises ValueError for one that was
        told before."""
        if state not in ("completed", "failed", "pruned"):
            raise ValueError(f"state must be completed, failed or pruned, not {state!r}")
        with self._lock:
            run = self._at_work(trial)
            if value is None and state == "completed" and not run.values and not run.order:
                raise ValueError(f"trial {trial.id} needs a value (or state='failed')")
            told = None if value is None else float(value)
            score = best_finite([*run.values, told], self._state.goal) if state != "failed" else None
            outcome: e.Outcome = state
            if state == "completed" and run.order:
                outcome = _ORDERED[run.order]
            del self._open[run.run, run.attempt]
            self._reported.pop((run.run, run.attempt), None)
            self._write(
                e.AttemptEnded(
                    run.run,
                    run.attempt,
                    _AGENT,
                    outcome,
                    reason,
                    error_class="exit" if state == "failed" else "",
                    score=score,
                )
            )

    # --- what is known

    @property
    def spec(self) -> SweepSpec:
        """What it was asked to do; `spec.seed` is set even where none was given."""
        return self._state.spec

    @property
    def done(self) -> bool:
        """Whether `ask` has nothing more to give: the sweep has ended, or what is left of it are open trials."""
        with self._lock:
            state = self._state
            end = ending(state, self._clock())
            if state.phase == "ended" or (end is not None and not (end.spares and state.spared_waiting)):
                return True
            left = state.waiting or state.paused or state.unexpanded < len(state.trials)
            return not left and not open_budget(state)

    @property
    def trials(self) -> list[Result]:
        """All trials so far, open ones too, by number."""
        with self._lock:
            return [Result(o.trial, copied(o.config), o.status, o.score) for o in self._state.observations]

    @property
    def best(self) -> Result | None:
        """The completed or pruned trial with the best score; None while there is none."""
        best: Result | None = None
        for found in self.trials:
            if found.score is None or found.state not in ("completed", "pruned"):
                continue
            if best is None or better(found.score, best.score, self._state.goal):
                best = found
        return best

    # --- inside

    @property
    def _state(self) -> State:
        return self._driver.state

    def _lease(self, name: str) -> Lease:
        lease = self._store.acquire(name, _AGENT, _FOREVER_S)
        assert lease is not None
        return lease

    def _write(self, *entries: e.AnyEntry) -> None:
        """Append what happened here, and let the controller act on it."""
        try:
            with self._store.batch():
                self._store.append(_SWEEP, list(entries), writer=_AGENT, first_seq=self._seq + 1)
                self._driver.step(self._clock())
        except BaseException:
            self._driver.forget()
            raise
        self._seq += len(entries)

    def _at_work(self, trial: Trial) -> Run:
        if not isinstance(trial, Trial):
            raise TypeError(f"the trial must be what ask() gave, not {trial!r:.80}")
        if (trial.id, trial.attempt) not in self._open:
            raise ValueError(f"trial {trial.id} was told already, or is none of this optimizer's")
        return self._state.runs[trial.id]

    def _why_nothing(self) -> str:
        if self._state.phase == "ended":
            return f"the sweep has ended: {self._state.reason}"
        return f"nothing is left but {len(self._open)} open trial{'s' if len(self._open) != 1 else ''}: tell what became of them"


def _spec(spec: Mapping[str, Any] | SweepSpec | str | os.PathLike[str]) -> tuple[SweepSpec, str]:
    """The spec, and the text that it was read from."""
    from sweep.spec import load, parse_dict  # slow to import

    if isinstance(spec, SweepSpec):
        return spec, ""
    if isinstance(spec, Mapping):
        parsed = parse_dict(spec, draw_seed=draw_seed, needs_program=False)
    else:
        parsed = load(Path(spec), draw_seed=draw_seed)
    return parsed.spec, parsed.source


def _folder(spec: object) -> Path:
    """Where paths in the spec begin."""
    return Path(spec).resolve().parent if isinstance(spec, str | os.PathLike) else Path.cwd()


def _search(state: State) -> InlineSearch:
    """Answers in this process, and only when asked."""
    return InlineSearch(make_searcher(state.spec), lookahead=0)


def _warn(text: str) -> None:
    raise SweepError(text)
