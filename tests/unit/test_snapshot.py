"""Snapshots: the state from one, and the rest of the journal, is the state of a whole fold; damage is never believed."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from folded import Lab, make_spec, refold
from led import SWEEP, Led
from sweep.controller.recovery import NAME
from sweep.core import entries as e
from sweep.core import snapshot
from sweep.core.decide import decide
from sweep.core.evolve import evolve
from sweep.core.snapshot import Packer, mark_of, pack, read_mark, unpack
from sweep.core.space import Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Metric
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores.base import StoreError
from sweep.stores.memory import MemoryStore
from sweep.testing.snapshots import check_same, through_snapshot
from sweep.testing.states import dump

OUTCOMES: tuple[e.Outcome, ...] = ("completed", "completed", "failed", "lost", "preempted")
REQUESTS: tuple[e.AnyEntry, ...] = (
    e.PauseRequested("p"),
    e.ResumeRequested("p"),
    e.RetryRequested((0, 1, 2)),
    e.Annotated(0, ("good",), (), "a note"),
    e.RunReproduced(0, "identical", 4, 4),
    e.ExtendRequested(30),
    e.SlotOffered("nobody", 0, 1),
)


def random_journal(seed: int) -> list[e.Recorded]:
    """A sweep of up to 30 trials with crashes, lost agents, pruning, NaN, requests and late facts."""
    rng = random.Random(seed)
    spec = make_spec(
        run_cap=20,
        replicates=rng.choice((1, 1, 2)),
        retry=rng.choice((0, 1)),
        metric=Metric(name="loss", goal=rng.choice(("minimize", "maximize")), target=rng.choice((None, 9.0))),
        space=Space((Parameter(("a", "x"), Numeric(0.0, 1.0)),)),
        early_terminate=EarlyTerminate(min_iter=2, eta=2.0, strict=rng.random() < 0.5),
    )
    lab = Lab(spec)
    lab.fold.state.make_stopper = make_stopper
    lab.fold.state.stopper = make_stopper(spec)
    agents = 0
    for _ in range(60):
        lab.now += rng.random()
        if not any(agent.alive for agent in lab.state.agents.values()):
            agents += 1
            lab.join(f"agent{agents}", slots=3)
        lab.work()
        for number in sorted(lab.state.live):
            _happen(lab, number, rng)
        if rng.random() < 0.15:
            lab.add(rng.choice(REQUESTS))
        if rng.random() < 0.05:
            lab.add(e.AgentLost(f"agent{agents}"))
    lab.work()
    return lab.journal


def _happen(lab: Lab, number: int, rng: random.Random) -> None:
    run = lab.run(number)
    agent, attempt = run.agent, run.attempt
    if run.state == "assigned":
        lab.add(e.RunStarted(number, attempt, agent, 1, "host", 0, ("GPU-1",)))
    elif rng.random() < 0.7:
        first = len(run.values) if attempt == 1 else rng.choice((0, len(run.values)))
        value = rng.choice((rng.random(), rng.random(), math.nan, math.inf))
        lab.report(number, value, rng.random(), first=first, step=rng.choice((first, 0)))
    else:
        lab.end(number, rng.choice(OUTCOMES), score=rng.random())
        lab.offer(agent, rng.randrange(3))


def fold(journal: list[e.Recorded], state: State) -> State:
    for recorded in journal:
        evolve(state, recorded)
    return state


@pytest.mark.parametrize("seed", range(25))
def test_a_snapshot_and_the_rest_is_the_whole_fold(seed: int) -> None:
    journal = random_journal(seed)
    whole = fold(journal, State(make_stopper))
    rng = random.Random(seed)
    for position in {*rng.sample(range(1, len(journal)), 6), len(journal)}:
        early = fold(journal[:position], State(make_stopper))
        copy = through_snapshot(early, journal[position - 1])
        check_same(whole, fold(journal[position:], copy))
        # Deciding tidies a state up: its snapshot must serve as well.
        decisions = decide(early, 1e4, 3)
        assert decide(through_snapshot(early, journal[position - 1]), 1e4, 3) == decisions


@pytest.mark.parametrize("seed", range(25))
def test_what_has_not_changed_need_not_be_packed_again(seed: int) -> None:
    journal = random_journal(seed)
    rng = random.Random(seed)
    state, packer = State(make_stopper), Packer()
    state.block = rng.choice((1, 2, 7))
    for recorded in journal:
        evolve(state, recorded)
        if rng.random() < 0.1:
            packer.prepare(state, recorded.position - 20)
        if rng.random() < 0.02:
            copy = through_snapshot(state, recorded, packer)
            check_same(copy, through_snapshot(state, recorded))
            if rng.random() < 0.5:  # another controller takes over
                data = packer.pack(state, mark_of(recorded))
                assert data is not None
                packer, block = Packer(), state.block
                taken = packer.unpack(data, make_stopper)
                assert taken is not None
                state, state.block = taken, block
    through_snapshot(state, journal[-1], packer)


def test_only_what_has_changed_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed_blocks: list[int] = []
    real = snapshot._block

    def block(state: State, number: int) -> Any:
        packed_blocks.append(number)
        return real(state, number)

    monkeypatch.setattr(snapshot, "_block", block)
    lab = Lab()
    lab.state.block = 2
    lab.join(slots=2)
    lab.propose(8)
    lab.work()
    packer = Packer()
    assert packer.pack(lab.state, mark_of(lab.journal[-1])) is not None
    assert packed_blocks == [0, 1, 2, 3]
    packed_blocks.clear()
    lab.add(e.RunStarted(1, 1, "a", 1, "host", 0))
    assert not packer.prepare(lab.state, lab.state.position - 1), "it changed just now"
    assert packer.prepare(lab.state, lab.state.position)
    assert packer.pack(lab.state, mark_of(lab.journal[-1])) is not None
    assert packed_blocks == [0]


def test_the_journals_of_this_test_hold_what_matters() -> None:
    seen: set[str] = set()
    for seed in range(25):
        state = fold(random_journal(seed), State(make_stopper))
        seen |= {run.state for run in state.runs} | {type(r.entry).__name__ for r in random_journal(seed)}
        seen |= {"ignored"} if state.ignored else set()
        seen |= {"reached"} if state.reached else set()
        seen |= {"live"} if state.live else set()
    wanted = {"completed", "pruned", "failed", "ignored", "AgentLost", "RunPruned", "RetryRequested", "live"}
    assert wanted <= seen


@pytest.fixture
def packed() -> tuple[Lab, bytes]:
    lab = Lab()
    lab.running()
    lab.report(0, 0.5, math.nan)
    data = pack(lab.state, mark_of(lab.journal[-1]))
    assert data is not None
    return lab, data


def test_every_field_of_the_state_is_compared(packed: tuple[Lab, bytes]) -> None:
    lab, _ = packed
    copy = through_snapshot(lab.state, lab.journal[-1])
    for name, value in vars(copy).items():
        if name in ("make_stopper", "stopper", "_yardstick", "touched"):
            continue
        other = refold(lab)
        setattr(other, name, "something else")
        with pytest.raises(AssertionError, match=name):
            check_same(lab.state, other)
        setattr(other, name, value)
        check_same(lab.state, other)


def test_any_damage_is_noticed(packed: tuple[Lab, bytes]) -> None:
    _, data = packed
    assert unpack(data, make_stopper) is not None
    for position in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[position] ^= 0x20
        assert unpack(bytes(damaged), make_stopper) is None
    for length in range(0, len(data), 7):
        assert unpack(data[:length], make_stopper) is None


def test_other_code_voids_it(packed: tuple[Lab, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = packed
    assert read_mark(data) is not None
    monkeypatch.setattr(snapshot, "fingerprint", lambda: "another")
    assert (read_mark(data), unpack(data, make_stopper)) == (None, None)


def test_a_value_without_a_form_means_no_snapshot() -> None:
    lab = Lab()
    lab.propose(1)
    lab.state.trials[0].config["x"] = 2**70
    assert pack(lab.state, mark_of(lab.journal[-1])) is None
    lab.state.trials[0].config["x"] = object()
    with pytest.raises(TypeError, match="no form"):
        pack(lab.state, mark_of(lab.journal[-1]))


# --- the driver ----------------------------------------------------------------------------------------------------


class Reading:
    """A store that counts the entries read, and whose caches can fail."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.entries = 0
        self.puts = 0
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, *args: Any, **more: Any) -> list[e.Recorded]:
        found = self._inner.read(*args, **more)
        self.entries += len(found)
        return found

    def put_cache(self, *args: Any) -> None:
        if self.fails:
            raise StoreError("the disk is full")
        self.puts += 1
        self._inner.put_cache(*args)


def long_sweep(runs: int = 60) -> Led:
    """Worked off but for one run that is still going, with a driver that keeps snapshots early."""
    led = Led(make_spec(run_cap=runs), store=Reading)
    _eager(led)
    led.join()
    led.step()
    for number in range(runs - 1):
        led.outside(
            e.RunStarted(number, 1, "a", 5, "h", 0),
            e.ObjectiveReported(number, 1, 0, (0.0,), (1.0 / (number + 1),)),
            e.AttemptEnded(number, 1, "a", "completed", score=1.0 / (number + 1)),
            e.SlotOffered("a", 0, number + 2),
            writer="a",
        )
        led.step()
    return led


def _eager(led: Led) -> None:
    led.driver._keeper.every, led.driver._keeper.worthwhile = 300, 1


def take_over(led: Led) -> int:
    """Another driver leads and comes to rest; returns how many entries it read."""
    led.memory.release(led.driver.lease)
    led.driver = led.lead()
    led.store.entries = 0
    led.step()
    return int(led.store.entries)


def whole_fold(led: Led) -> State:
    return fold(led.memory.read(SWEEP, 0), State(lambda _: None))


def test_a_new_controller_reads_only_what_the_snapshot_does_not_have() -> None:
    led = long_sweep()
    led.driver.close()
    led.outside(e.RunStarted(59, 1, "a", 5, "h", 0), writer="a")
    assert take_over(led) == 1 + 1, "the entry that marks the snapshot, and the one after it"
    assert dump(led.driver.state) == dump(whole_fold(led))
    led.check_index()


def test_the_index_goes_on_where_it_was_after_a_snapshot() -> None:
    led = long_sweep()
    led.driver.close()
    led.outside(e.RunStarted(59, 1, "a", 5, "h", 0), writer="a")
    led.step()  # the index is now ahead of the snapshot
    led.outside(
        e.ObjectiveReported(59, 1, 0, (0.0,), (0.5,)), e.AttemptEnded(59, 1, "a", "failed", "x"), writer="a"
    )
    take_over(led)
    assert dump(led.driver.state) == dump(whole_fold(led))
    led.check_index()


def test_without_a_usable_snapshot_the_journal_is_folded() -> None:
    led = long_sweep()
    led.driver.close()
    data = led.memory.get_cache(SWEEP, NAME)
    assert data is not None
    for broken in (b"", b"nonsense", data[:-1], data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        led.memory.put_cache(SWEEP, NAME, broken)
        assert take_over(led) >= led.memory.position(SWEEP) - 1
        assert dump(led.driver.state) == dump(whole_fold(led))


def test_a_snapshot_of_another_journal_is_not_used() -> None:
    led, other = long_sweep(), long_sweep(50)
    other.outside(e.PauseRequested("somebody"))
    other.step()
    other.driver.close()
    strange = other.memory.get_cache(SWEEP, NAME)
    assert strange is not None
    led.memory.put_cache(SWEEP, NAME, strange)
    assert take_over(led) >= led.memory.position(SWEEP) - 1
    assert led.driver.state.phase == "active"
    assert dump(led.driver.state) == dump(whole_fold(led))


def test_one_is_kept_when_nothing_else_is_to_do() -> None:
    led = long_sweep()
    assert led.store.puts == 0, "it works all the time, and is not far behind"
    led.step()
    assert led.store.puts == 1
    led.step()
    assert led.store.puts == 1
    led.driver.close()
    assert led.store.puts == 1, "nothing has happened since"


def test_one_is_kept_in_spite_of_work_when_it_is_far_behind() -> None:
    led = Led(make_spec(run_cap=300), store=Reading)
    led.driver._keeper.every = 20
    led.join(slots=1)
    led.step()
    for number in range(40):
        led.outside(
            e.RunStarted(number, 1, "a", 5, "h", 0),
            e.AttemptEnded(number, 1, "a", "completed"),
            e.SlotOffered("a", 0, number + 2),
            writer="a",
        )
        led.step()
    assert 1 <= led.store.puts <= 6


def test_a_snapshot_that_cannot_be_kept_at_the_end_does_no_harm() -> None:
    led = long_sweep()
    led.store.fails = True
    led.driver.close()
    assert led.memory.get_cache(SWEEP, NAME) is None


def test_what_a_failed_batch_folded_is_not_kept() -> None:
    led = long_sweep()
    with pytest.raises(RuntimeError, match="boom"), led.store.batch():
        led.outside(e.RunStarted(59, 1, "a", 5, "h", 0), writer="a")
        led.driver.step(led.now)
        raise RuntimeError("boom")
    led.driver.close()  # without `forget`: the entry that it folded last does not stand in the journal
    assert led.memory.get_cache(SWEEP, NAME) is None
