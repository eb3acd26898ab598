"""Who gets a slot of an agent of several sweeps: whatever happens, nothing is lent twice, nobody waits beside a free slot, shares are
equal, and priority comes first."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core.sharing import AGAIN_S, PATIENCE_S, Loan, Need, Sharing

ONE = Need(1.0)


def shared(*priorities: int, slots: int = 2, needs: Need = ONE) -> Sharing:
    """Sweeps a, b, … of these priorities, on a machine with so many CPUs."""
    sharing = Sharing(float(slots))
    for name, priority in zip("abcdef", priorities, strict=False):
        sharing.join(name, [needs] * slots, priority)
    return sharing


class World:
    """Sweeps with work, one agent, and a store that confirms a withdrawal some ticks later or assigns a run before it."""

    def __init__(self, sharing: Sharing, work: dict[str, int], lasts: dict[str, float]) -> None:
        self.sharing, self.work, self.lasts = sharing, work, lasts
        self.now = 0.0
        self.busy: dict[Loan, float] = {}
        """Loan -> when its run ends."""
        self.offers: set[Loan] = set()
        self.asked: set[Loan] = set()
        self.begun: list[str] = []
        self.slot_s = dict.fromkeys(work, 0.0)

    def tick(self, step_s: float = 0.25, late: bool = False) -> None:
        self.now += step_s
        for loan, end_s in list(self.busy.items()):
            self.slot_s[loan.sweep] += step_s
            if self.now >= end_s:
                del self.busy[loan]
                self.sharing.ended(loan.sweep, loan.slot, self.now)
        for loan in sorted(self.asked):
            if late and self.work[loan.sweep]:
                self.use(loan)  # the controller was faster than the withdrawal
            else:
                self.sharing.returned(loan.sweep, loan.slot)
        self.asked.clear()
        for loan in self.sharing.lend(self.now):
            assert loan not in self.offers | self.asked | self.busy.keys()
            self.offers.add(loan)
        for loan in self.sharing.recall(self.now):
            assert loan in self.offers
            self.offers.remove(loan)
            self.asked.add(loan)
        for loan in sorted(self.offers):
            if self.work[loan.sweep]:
                self.offers.remove(loan)
                self.use(loan)

    def use(self, loan: Loan) -> None:
        self.work[loan.sweep] -= 1
        self.begun.append(loan.sweep)
        self.busy[loan] = self.now + self.lasts[loan.sweep]
        self.sharing.began(loan.sweep, loan.slot, self.now)


def test_two_sweeps_have_one_of_two_slots_each() -> None:
    sharing = shared(0, 0)
    assert {loan.sweep for loan in sharing.lend(0.0)} == {"a", "b"}


def test_one_slot_goes_to_and_fro() -> None:
    world = World(shared(0, 0, slots=1), {"a": 9, "b": 9}, {"a": 1.0, "b": 1.0})
    while len(world.begun) < 10:
        world.tick()
    assert all(one != two for one, two in pairwise(world.begun))


def test_shares_are_of_time_not_of_runs() -> None:
    world = World(shared(0, 0, slots=1), {"a": 999, "b": 999}, {"a": 4.0, "b": 1.0})
    for _ in range(2000):
        world.tick()
    assert 0.9 < world.slot_s["a"] / world.slot_s["b"] < 1.1
    assert world.begun.count("b") > 3 * world.begun.count("a")


def test_the_higher_priority_has_all_slots_while_it_has_work() -> None:
    world = World(shared(0, 5), {"a": 4, "b": 6}, {"a": 1.0, "b": 1.0})
    for _ in range(100):
        world.tick()
    assert world.begun == ["b"] * 6 + ["a"] * 4


def test_a_priority_that_is_raised_counts_at_the_next_free_slot() -> None:
    sharing = shared(0, 0, slots=1)
    [first] = sharing.lend(0.0)
    sharing.began(first.sweep, first.slot, 0.0)
    sharing.look(first.sweep, priority=1, wants=True, now_s=0.5)
    sharing.ended(first.sweep, first.slot, 1.0)
    assert sharing.lend(1.0) == [first]


def test_an_offer_that_is_not_used_goes_to_another_sweep_when_it_has_come_back() -> None:
    sharing = shared(0, 0, slots=1)
    [offer] = sharing.lend(0.0)
    assert sharing.recall(PATIENCE_S / 2) == []
    assert sharing.next_wake_s(0.0) == PATIENCE_S
    assert sharing.recall(PATIENCE_S) == [offer]
    assert sharing.lend(PATIENCE_S) == []  # it may have been assigned a moment before
    sharing.returned(offer.sweep, offer.slot)
    assert [loan.sweep for loan in sharing.lend(PATIENCE_S)] == ["b"]


def test_a_run_that_was_assigned_before_its_offer_was_withdrawn_keeps_the_slot() -> None:
    sharing = shared(0, 0, slots=1)
    [offer] = sharing.lend(0.0)
    assert sharing.recall(PATIENCE_S) == [offer]
    sharing.began(offer.sweep, offer.slot, PATIENCE_S)
    assert sharing.lend(PATIENCE_S) == []
    sharing.ended(offer.sweep, offer.slot, 9.0)
    assert [loan.sweep for loan in sharing.lend(9.0)] == ["b"]


def test_who_did_not_use_an_offer_is_asked_again_later_or_when_there_is_news() -> None:
    def declined() -> Sharing:
        sharing = shared(0, 0, slots=1)
        [offer] = sharing.lend(0.0)
        sharing.recall(PATIENCE_S)
        sharing.returned(offer.sweep, offer.slot)
        [other] = sharing.lend(PATIENCE_S)
        assert other.sweep == "b"
        return sharing

    late = 2 * PATIENCE_S + AGAIN_S
    assert declined().recall(late - AGAIN_S) == []  # b does not use it either, and nobody else would
    assert declined().recall(late) == [Loan("b", 0)]
    sharing = declined()
    sharing.look("a", priority=0, wants=True, news="a run has ended", now_s=2.0)
    assert sharing.recall(2.0) == [Loan("b", 0)]


def test_a_lone_sweep_keeps_its_offers_and_a_dry_one_gives_them_to_the_other() -> None:
    sharing = shared(0, slots=2)
    assert len(sharing.lend(0.0)) == 2
    assert sharing.recall(1000.0) == []
    assert sharing.next_wake_s(0.0) is None
    sharing.join("b", [ONE] * 2, 0)
    sharing.look("a", priority=0, wants=True, dry=True, now_s=1000.0)
    assert len(sharing.recall(1000.0)) == 2


def test_paused_sweeps_and_slots_set_aside_get_nothing() -> None:
    sharing = shared(0, 0)
    sharing.look("a", priority=0, wants=False, now_s=0.0)
    sharing.look("b", priority=0, wants=True, blocked=[0], now_s=0.0)
    assert sharing.lend(0.0) == [Loan("b", 1)]


def test_slots_on_one_gpu_are_not_lent_twice() -> None:
    sharing = Sharing(8.0, ["g0", "g1"])
    sharing.join("wide", [Need(4.0, {"g0": 1.0, "g1": 1.0})], 0)
    sharing.join("halves", [Need(1.0, {f"g{n % 2}": 0.5}) for n in range(4)], 0)
    assert sharing.lend(0.0) == [Loan("wide", 0)]
    sharing.began("wide", 0, 0.0)
    sharing.ended("wide", 0, 1.0)
    assert [loan.sweep for loan in sharing.lend(1.0)] == ["halves"] * 4


def test_a_newcomer_has_no_claim_to_what_was_before() -> None:
    world = World(shared(0, slots=1), {"a": 999, "b": 999}, {"a": 1.0, "b": 1.0})
    for _ in range(400):
        world.tick()
    world.sharing.join("b", [ONE], 0)
    world.begun.clear()
    while len(world.begun) < 10:
        world.tick()
    assert 4 <= world.begun.count("b") <= 6


def test_as_many_runs_begin_as_are_left() -> None:
    sharing = shared(0, 0, slots=4)
    sharing.left = 3
    assert len(sharing.lend(0.0)) == 3
    assert sharing.lend(0.0) == []


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, list[bool], int | None]:
    cpus = draw(st.integers(1, 4))
    gpus = [f"g{n}" for n in range(draw(st.integers(0, 2)))]
    most = draw(st.none() | st.integers(1, 4))
    sharing = Sharing(float(cpus), gpus, most)
    work: dict[str, int] = {}
    lasts: dict[str, float] = {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        part = draw(st.sampled_from([0.0, 0.5, 1.0])) if gpus else 0.0
        each = draw(st.integers(1, cpus))
        needs = [
            Need(float(each), {gpus[n % len(gpus)]: part} if part else {})
            for n in range(max(1, cpus // each))
        ]
        sharing.join(name, needs, draw(st.integers(0, 2)))
        work[name], lasts[name] = draw(st.integers(0, 12)), draw(st.sampled_from([0.25, 1.0, 3.0]))
    return World(sharing, work, lasts), draw(st.lists(st.booleans(), max_size=40)), most


@settings(max_examples=100)
@given(worlds())
def test_nothing_is_lent_twice_and_all_work_is_done(
    drawn: tuple[World, list[bool], int | None],
) -> None:
    world, lates, most = drawn
    sharing = world.sharing
    beside: dict[str, float] = {}
    for number in range(4000):
        if not any(world.work.values()) and not world.busy:
            break
        world.tick(late=number < len(lates) and lates[number])
        loans = [*world.busy, *world.offers, *world.asked]
        assert len(loans) == len(set(loans))
        assert most is None or len(loans) <= most
        needs = [sharing._sweeps[loan.sweep].needs[loan.slot] for loan in loans]
        cpus, gpus = sharing._free(needs)
        assert cpus >= -1e-9
        assert all(part >= -1e-9 for part in gpus.values())
        _nobody_waits_long(world, beside)
    assert not any(world.work.values())


def _nobody_waits_long(world: World, beside: dict[str, float]) -> None:
    """A sweep with work does not stand beside something that it could have, for longer than others may consider it."""
    sharing = world.sharing
    for name, work in world.work.items():
        one = sharing._sweeps[name]
        used = [(loan.sweep, loan.slot) for loan in world.busy]
        cpus, gpus = sharing._free([sharing._sweeps[sweep].needs[slot] for sweep, slot in used])
        room = sharing._slots is None or len(used) < sharing._slots
        fits = room and any(
            slot not in one.busy
            and need.cpus <= cpus + 1e-9
            and all(part <= gpus[uuid] + 1e-9 for uuid, part in need.gpus.items())
            for slot, need in enumerate(one.needs)
        )
        beside[name] = beside.get(name, 0.0) + 0.25 if work and fits else 0.0
        assert beside[name] <= 3 * (PATIENCE_S + 0.75), f"{name} waited beside a free slot"
