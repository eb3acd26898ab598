"""The driver: the one loop that does I/O for the pure controller.

read entries -> evolve -> decide -> append decisions under the lease -> evolve them -> do the commands. All of a step
happens inside one store batch, so that an ended run and the next assignment are one commit; when the batch fails,
`forget` drops the folded state and the next step folds the journal again. Where a store lets others write between two
appends of a batch, an append that they overtook changes nothing: the driver reads, and decides again.
A snapshot of the folded state is kept in the store now and then, where it holds nobody up; it is only a shorter way to
what the journal says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sweep.controller.recovery import Keeper, recover
from sweep.controller.searching import Answer, Request, SearchFailed, SearchPort
from sweep.controller.standing import Standing
from sweep.core import entries as e
from sweep.core.decide import Propose, WakeAt, decide
from sweep.core.entries import Recorded
from sweep.core.index import IndexFold
from sweep.core.names import AGENT_LEASES, agent_lease
from sweep.core.promises import seen_with_promises
from sweep.core.rows import SWEEP_KEY
from sweep.core.spec import SweepSpec
from sweep.core.state import MakeStopper, State
from sweep.core.views import SweepView
from sweep.stores.base import IndexUpdate, Lease, Moved, Store, StoreError, lost_entries

MAX_ROUNDS = 10_000
"""A step that decides this often without coming to rest is a bug."""


class Driver:
    """Leads one sweep for as long as `lease` holds."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        lease: Lease,
        make_stopper: MakeStopper,
        make_search: Callable[[State], SearchPort] | None,
        warn: Callable[[str], None],
    ) -> None:
        """`make_search`: None for a driver that only winds down (a command line without an agent)."""
        self.store, self.sweep, self.lease = store, sweep, lease
        self._make_stopper, self._make_search, self._warn = make_stopper, make_search, warn
        self._state: State | None = None
        self._fold: IndexFold | None = None
        self._search: SearchPort | None = None
        self._searched: SweepSpec | None = None
        """The spec that the searcher was made for."""
        self._answer: Answer | None = None
        """What the searcher said and the journal does not have yet."""
        self._void = False
        """The open question was about a journal that never came to be."""
        self._writer = f"controller/{sweep}/{lease.token}"
        self._seq = 0
        self._indexed = 0
        self._rows: dict[str, bytes] = {}
        """Rows of the index that the store does not have yet."""
        self._keeper, self._standing = Keeper(store, sweep), Standing()
        self._at_rest_at = 0
        """The position at which the last step came to rest; 0 while one is under way, or after one that failed."""
        self._vouched: set[str] = set()
        self._vouched_until_s = 0.0
        """Until then, by the store's clock, none of these agents' leases can run out."""
        self.wake_at_s: float | None = None
        """Unix time at which `step` should run again at the latest."""
        self.wrote_s: float | None = None
        """Store's time of the last entry that the last step wrote; None when it wrote none."""
        self.latest = 0
        """The highest position of the journal that the last step saw; others may have written behind what is folded."""
        self.stirred = False
        """Whether the last step found what neither this driver nor whoever holds the lease had written."""
        self._mine: list[Recorded] = []
        """Entries behind `_mine_after` for whoever holds the lease, as far as they are folded and not asked for yet."""
        self._mine_after: int | None = None

    @property
    def state(self) -> State:
        """The folded state; folds the journal when there is none."""
        if self._state is None:
            self._recover()
        assert self._state is not None
        return self._state

    def view(self) -> tuple[int, SweepView | None]:
        """The position at which the last step came to rest, and the sweep as listings show it then; 0 and None where that is
        not known."""
        view = self._fold.sweep_view() if self._fold is not None and self._at_rest_at else None
        return (self._at_rest_at if view is not None else 0), view

    def orders(self, after: int) -> list[Recorded] | None:
        """Entries behind position `after` for whoever holds the lease, up to where the last step came to rest; what stands before
        them is forgotten. None where this driver has not seen all of them: the store has them."""
        if self._mine_after is None or after < self._mine_after or not self._at_rest_at:
            return None
        self._mine = [recorded for recorded in self._mine if recorded.position > after]
        self._mine_after = after
        return list(self._mine)

    def search_fileno(self) -> int | None:
        """Readable when a proposal is ready; None when there is nothing to wait for."""
        return self._search.fileno() if self._search is not None and self._search.busy else None

    def forget(self) -> None:
        """A batch failed: what is folded may be ahead of the store, and so may what the searcher was told."""
        self._state = self._fold = self._answer = self._mine_after = None
        self._rows, self._at_rest_at, self._mine = {}, 0, []
        self._vouched.clear()
        self._void = self._search is not None and self._search.busy
        self._standing.close()

    def close(self) -> None:
        """End the searcher, and keep a snapshot for the next controller. The lease stays with whoever acquired it."""
        self._end_search()
        self._standing.close()
        if self._state is not None and self._at_rest_at:
            self._keeper.leave(self._state)

    def step(self, now_s: float, written: Sequence[Recorded] = (), position: int | None = None) -> None:
        """Bring the sweep to rest as of `now_s` (Unix seconds, by the store's clock). Call it inside `store.batch()`.
        `written`: entries that the caller has just appended, or was told of, in order: those that follow on what is folded need not be
        read again. `position`: where the caller has just
        seen the journal; it need not be asked for again.

        Raises StaleFence when the lease is lost.
        """
        before, self._at_rest_at = self._at_rest_at, 0
        self.wrote_s, self.latest, self.stirred = None, position or 0, False
        if written:
            self._take_in(_following(written, self.state.position))
        overtaken = True
        for _ in range(MAX_ROUNDS):
            try:
                if overtaken:
                    self._look_around(position)
                    overtaken, position = False, None
                if self._at_rest(now_s):
                    self._flush_index()
                    self._at_rest_at = self.state.position
                    self._keeper.consider(self.state, quiet=before == self._at_rest_at)
                    self._standing.consider(self._at_rest_at)
                    return
            except Moved as moved:
                overtaken, position = True, moved.position
                self._take_in(_following(moved.written, self.state.position))
        raise RuntimeError("the controller does not come to rest; please report this")

    def catch_up(self, position: int | None = None) -> None:
        """Fold what others have written. `position`: where the journal was a moment ago, if the caller knows."""
        known = self.state.position
        if position is None or position < known:  # it may have been seen before the state was folded
            position = self.store.position(self.sweep)
        self.latest = max(self.latest, position)
        if position < known:
            raise StoreError(lost_entries(self.sweep, known, position))
        if position != known:
            self._take_in(self.store.read(self.sweep, self.state.position))

    def _take_in(self, entries: Iterable[Recorded]) -> None:
        fold = self._fold
        assert fold is not None
        for recorded in entries:
            fold.fold(recorded)
            self._note(recorded)
            if recorded.writer == self._writer:  # an append of ours that was taken for failed
                self._seq = max(self._seq, recorded.seq)
            elif recorded.writer != self.lease.holder:
                self.stirred = True

    def _note(self, recorded: Recorded) -> None:
        """It has been folded."""
        self._keeper.last = recorded
        if recorded.addressee == self.lease.holder:
            self._mine.append(recorded)

    # --- inside

    def _look_around(self, position: int | None) -> None:
        """Take in everything that does not come from deciding."""
        self.catch_up(position)
        self._note_lost_agents()
        self._take_answer()

    def _at_rest(self, now_s: float) -> bool:
        """Decide once and act on it. True when there was nothing to do."""
        lookahead = self._search.lookahead if self._search is not None else 0
        # It is not earlier than the last entry, whatever the clock of this node says.
        decisions, commands = decide(self.state, max(now_s, self.state.last_s), lookahead)
        if decisions:
            self._append(decisions)
            return False
        return not self._do(commands)

    def _recover(self) -> None:
        self._seq = self.store.last_seq(self.sweep, self._writer)
        self._indexed = self.store.read_index(self.sweep, SWEEP_KEY).upto
        self._state = recover(self.store, self.sweep, self._indexed, self._make_stopper, self._keeper)
        self._fold = IndexFold(self._state, self._load_row)  # the store has the rows up to here
        self._mine_after = self._state.position
        self.catch_up()

    def _load_row(self, key: str) -> bytes | None:
        if key in self._rows:
            return self._rows[key]
        return self.store.read_index(self.sweep, key).rows.get(key)

    def _append(self, entries: list[e.AnyEntry]) -> None:
        state, fold = self.state, self._fold
        assert fold is not None
        appended = self.store.append(
            self.sweep,
            entries,
            writer=self._writer,
            first_seq=self._seq + 1,
            fence=self.lease,
            after=state.position,
            based_on=state.position,
        )
        self._seq += len(entries)
        self.latest = max(self.latest, appended.last)
        for recorded in appended.recorded:
            fold.fold(recorded)
            self._note(recorded)
            self.wrote_s = recorded.at_s

    def _note_lost_agents(self) -> None:
        state = self.state
        alive = {name for name, agent in state.agents.items() if agent.alive}
        if alive <= self._vouched and self.store.clock() < self._vouched_until_s:
            return
        leases = {lease.name: lease.expires_s for lease in self.store.leases(AGENT_LEASES)}
        held = {name: leases[agent_lease(name)] for name in alive if agent_lease(name) in leases}
        if len(held) < len(alive):
            self._append([e.AgentLost(name) for name in state.agents if name in alive and name not in held])
        self._vouched, self._vouched_until_s = set(held), min(held.values(), default=0.0)

    def _take_answer(self) -> None:
        if self._answer is None:
            self._answer = self._poll()
        if self._answer is not None:
            self._record(self._answer)
            self._answer = None

    def _poll(self) -> Answer | None:
        if self._search is None or not self._search.busy:
            return None
        try:
            answer = self._search.poll()
        except SearchFailed as failure:
            self._warn(str(failure))
            self._void = False
            return None
        if answer is not None and self._void:
            self._void, answer = False, None
        return answer

    def _record(self, answer: Answer) -> None:
        """Write proposals down, unless the sweep has moved on to another spec meanwhile."""
        request, state = answer.request, self.state
        if request.first != len(state.trials) or request.revision != state.revision or state.phase == "ended":
            return
        proposals = answer.proposals
        self._append(
            [
                e.TrialsProposed(
                    request.first,
                    proposals.configs,
                    proposals.exhausted,
                    request.revision,
                    answer.engine,
                    answer.engine_version,
                    request.seen,
                )
            ]
        )

    def _do(self, commands: list[Propose | WakeAt]) -> bool:
        """Carry out commands. True when the state has changed by it."""
        before = self.state.position
        self.wake_at_s = None
        for command in commands:
            if isinstance(command, WakeAt):
                self.wake_at_s = command.at_s
            elif self._make_search is not None:
                self._propose(command.n)
        return self.state.position != before

    def _propose(self, n: int) -> None:
        state = self.state
        if self._search is not None and self._search.busy:
            return
        if self._search is None or not _searched_alike(self._searched, state.spec):
            assert self._make_search is not None
            self._end_search()
            self._search = self._make_search(state)
        self._searched = state.spec
        request = Request(len(state.trials), n, state.revision, state.position)
        self._search.ask(state.spec, request, seen_with_promises(state))
        self._take_answer()

    def _end_search(self) -> None:
        if self._search is not None:
            self._search.close()
            self._search = None

    def _flush_index(self) -> None:
        """Bring the listing up to this state. What others have written meanwhile does not matter: it says how far it goes."""
        assert self._fold is not None
        position = self.state.position
        self._rows.update(self._fold.take())
        if self._rows or self._indexed != position:
            appended = self.store.append(
                self.sweep,
                [],
                writer=self._writer,
                first_seq=self._seq + 1,
                fence=self.lease,
                index=IndexUpdate(position, self._rows),
                existing=True,
            )
            self._indexed, self._rows = position, {}
            self.latest = max(self.latest, appended.last)


def _following(entries: Sequence[Recorded], position: int) -> list[Recorded]:
    """Those that stand behind `position` without a gap."""
    found: list[Recorded] = []
    for recorded in entries:
        if recorded.position == position + len(found) + 1:
            found.append(recorded)
    return found


def _searched_alike(one: SweepSpec | None, other: SweepSpec) -> bool:
    """Whether a searcher made for `one` proposes for `other` as well: nothing that searchers read may differ."""
    return one is other or (one is not None and _read_by_searchers(one) == _read_by_searchers(other))


def _read_by_searchers(spec: SweepSpec) -> tuple[object, ...]:
    goal = spec.metric.goal if spec.metric is not None else None
    budget = spec.run_cap if spec.method == "bayes" else None  # it decides how many start points there are
    return spec.method, spec.engine, spec.space, spec.initial, spec.knowledge, spec.seed, goal, budget
