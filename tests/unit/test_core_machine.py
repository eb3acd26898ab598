"""Everything that can happen to a sweep, in any order that hypothesis finds: the state stays sound."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.spec import Limits, Metric, Retry, RetryRule
from sweep.testing.states import check_state, dump

VALUES = st.sampled_from([0.1, 0.5, 0.9, 1.5, math.nan, math.inf])
AGENTS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(-1, 12)
ERRORS = st.sampled_from(["exit", "gpu_memory", "node", "run_time"])
OUTCOMES = st.sampled_from(["completed", "failed", "pruned", "paused", "cancelled", "lost", "preempted"])


class SweepMachine(RuleBasedStateMachine):
    """Agents and people say anything at any time; the controller decides whenever it likes."""

    @initialize(
        cap=st.sampled_from([None, 0, 1, 3, 6]),
        replicates=st.integers(1, 3),
        retry=st.integers(0, 2),
        limit=st.sampled_from([None, 1.0]),
        lookahead=st.integers(0, 3),
        aim=st.sampled_from([None, 0.1]),
        wall=st.sampled_from([None, 40.0]),
    )
    def begin(
        self,
        cap: int | None,
        replicates: int,
        retry: int,
        limit: float | None,
        lookahead: int,
        aim: float | None,
        wall: float | None,
    ) -> None:
        spec = make_spec(
            run_cap=cap,
            replicates=replicates,
            retry=retry,
            metric=Metric(name="m", target=aim),
            wall_time_s=wall,
        )
        self.lab = Lab(spec, limit=limit, lookahead=lookahead)
        self.cap = cap

    # --- the controller

    @rule(points=st.sampled_from([None, None, 4]))
    def controller(self, points: int | None) -> None:
        before = len(self.lab.state.trials)
        self.lab.work(points)
        cap = self.cap
        assert cap is None or len(self.lab.state.trials) <= max(cap, before)

    # --- agents

    @rule(agent=AGENTS, slots=st.integers(1, 3))
    def join(self, agent: str, slots: int) -> None:
        self.lab.add(e.AgentJoined(agent, "h", 1, slots))

    @rule(agent=AGENTS, slot=st.integers(0, 2))
    def offer(self, agent: str, slot: int) -> None:
        known = self.lab.state.agents.get(agent)
        taken = {
            r.entry.slot
            for r in self.lab.journal
            if isinstance(r.entry, e.RunAssigned)
            and known is not None
            and r.entry.run in known.runs
            and self.lab.run(r.entry.run).attempt == r.entry.attempt
        }
        if known is None or (slot < known.slots and slot not in taken):  # agents know their own slots
            self.lab.offer(agent, slot)

    @rule(agent=AGENTS, slot=st.integers(0, 2), offer=st.integers(1, 20))
    def withdraw(self, agent: str, slot: int, offer: int) -> None:
        self.lab.add(e.SlotWithdrawn(agent, slot, offer))

    @rule(agent=AGENTS, kind=st.sampled_from([e.AgentLost, e.AgentLeft]))
    def gone(self, agent: str, kind: Any) -> None:
        self.lab.add(kind(agent))

    @rule(run=NUMBERS, stale=st.sampled_from([0, 0, 0, -1, 1]), gpus=st.sampled_from([(), ("g0",)]))
    def started(self, run: int, stale: int, gpus: tuple[str, ...]) -> None:
        attempt, agent = self._attempt(run)
        self.lab.add(e.RunStarted(run, attempt + stale, agent, 1, "h", 0, gpus))

    @rule(
        run=NUMBERS,
        stale=st.sampled_from([0, 0, 0, -1]),
        values=st.lists(VALUES, max_size=3),
        step=st.integers(0, 4),
    )
    def reported(self, run: int, stale: int, values: list[float], step: int) -> None:
        steps = tuple(float(step + i) for i in range(len(values)))
        self.lab.add(e.ObjectiveReported(run, self._attempt(run)[0] + stale, step, steps, tuple(values)))

    @rule(run=NUMBERS, stale=st.sampled_from([0, 0, 0, -1]), outcome=OUTCOMES, score=VALUES, error=ERRORS)
    def attempt_ended(
        self, run: int, stale: int, outcome: e.Outcome, score: float, error: e.ErrorClass
    ) -> None:
        attempt, agent = self._attempt(run)
        why = error if outcome == "failed" else ""
        self.lab.add(
            e.AttemptEnded(run, attempt + stale, agent, outcome, "so it was", score=score, error_class=why)
        )

    def _attempt(self, run: int) -> tuple[int, str]:
        if not 0 <= run < len(self.lab.state.runs):
            return 1, "a"
        return self.lab.run(run).attempt, self.lab.run(run).agent

    # --- people and time

    @rule(kind=st.sampled_from([e.PauseRequested, e.ResumeRequested, e.StopRequested, e.CancelRequested]))
    def request(self, kind: Any) -> None:
        self.lab.add(kind("ann"))

    @rule(cap=st.integers(0, 9))
    def extend(self, cap: int) -> None:
        self.lab.add(e.ExtendRequested(cap))
        self.cap = cap

    @rule(
        cap=st.sampled_from([None, 2, 6]),
        patience=st.sampled_from([None, 1, 2]),
        gpu_s=st.sampled_from([None, 15.0, 1000.0]),
        aim=st.sampled_from([None, 0.1, 0.9]),
        retry=st.builds(
            Retry,
            max=st.integers(0, 2),
            rules=st.sampled_from([{}, {"oom": RetryRule(max=2, wait_s=10.0)}, {"node": RetryRule(max=0)}]),
        ),
    )
    def revise(
        self, cap: int | None, patience: int | None, gpu_s: float | None, aim: float | None, retry: Retry
    ) -> None:
        hours = None if gpu_s is None else gpu_s / 3600
        spec = msgspec.structs.replace(
            self.lab.state.spec,
            run_cap=cap,
            patience=patience,
            retry=retry,
            metric=Metric(name="m", target=aim),
            limits=Limits(gpu_hours=hours),
        )
        assert self.lab.add(e.SpecRevised(self.lab.state.revision + 1, spec_to_builtins(spec))) is None
        self.cap = cap

    @rule(runs=st.lists(NUMBERS, max_size=3))
    def retry(self, runs: list[int]) -> None:
        self.lab.add(e.RetryRequested(tuple(runs)))

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.lab.now += seconds

    # --- what must hold

    @invariant()
    def the_state_is_sound(self) -> None:
        check_state(self.lab.state)

    @precondition(lambda self: len(self.lab.journal) % 7 == 0)
    @invariant()
    def folding_again_gives_the_same(self) -> None:
        assert dump(refold(self.lab)) == dump(self.lab.state)

    def teardown(self) -> None:
        if not hasattr(self, "lab"):
            return
        self.lab.work(points=None)
        check_state(self.lab.state)
        rows = self.lab.fold.take()
        assert rows == rebuild(self.lab.fresh(), self.lab.journal)


SweepMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
test_anything_may_happen = SweepMachine.TestCase
