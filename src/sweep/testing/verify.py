"""What the oracle is asked about a finished world: the journal told again, the index, the proposals, the truth.

The rule of this file: each check raises; nothing is repaired and nothing is skipped.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from sweep.core import entries as e
from sweep.core.evolve import evolve
from sweep.core.index import rebuild
from sweep.core.promises import seen_with_promises
from sweep.core.rows import decode_views
from sweep.core.snapshot import Packer
from sweep.core.state import State
from sweep.testing.ledger import Violation
from sweep.testing.oracle import Account
from sweep.testing.scenario import SearcherFor, is_finite
from sweep.testing.snapshots import through_snapshot
from sweep.testing.states import check_state, dump
from sweep.testing.truth import check_listing, check_truth
from sweep.testing.world import World

Rows = Counter[tuple[str, str, str]]
"""(state of the run, entry, state after it) -> how often."""


def verify(world: World) -> Rows:
    """Check everything about a world whose story has been told. Raises AssertionError (mostly Violation).

    Returns how often each transition of a run happened.
    """
    journal = world.store.read(world.sweep, 0)
    account = Account(world)
    for recorded in journal:
        account.follow(recorded)
    if account.phase != "ended":
        raise Violation(f"the sweep is {account.phase}")
    if account.to_reopen:
        raise Violation("the sweep was given more to do and was not reopened")
    rows, state = _fold_again(world, journal)
    told, known = (state.best_score, state.unimproved), (account.patience.best, len(account.patience.row))
    if told != known:
        raise Violation(f"best score and trials in a row without a better one: {told}, it should be {known}")
    _check_index(world, journal, account)
    history: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
    for run in account.runs:
        for chunk in world.store.read_history(world.sweep, run.added.run):
            history[chunk.run, chunk.attempt] += chunk.data.split(b"\n")
    check_truth(account, history)
    return rows


def _fold_again(world: World, journal: list[e.Recorded]) -> tuple[Rows, State]:
    """Fold the journal twice, checking the state, the proposals and that both folds agree wherever one stops. Returns
    what happened to runs, and the state at the end."""
    state, other = State(world.make_stopper), State(world.make_stopper)
    stops = {world.looks.randrange(1, len(journal) + 1) for _ in range(3)} | {len(journal)}
    proposals = {r.entry.seen: r.entry for r in journal if isinstance(r.entry, e.TrialsProposed)}
    rows: Rows = Counter()
    packer, state.block = Packer(), 3
    for recorded in journal:
        _step(state, recorded, rows)
        packer.prepare(state, recorded.position - 10)
        if recorded.position in stops:
            check_state(state)
            through_snapshot(state, recorded, packer)
            for earlier in journal[other.position : recorded.position]:
                evolve(other, earlier)
            if dump(other) != dump(state):
                raise Violation(f"two folds of {recorded.position} entries differ")
        proposed = proposals.get(recorded.position)
        if proposed is not None:
            if (recorded.writer, recorded.seq) not in world.shown.get(proposed.seen, ()):
                raise Violation(f"trial {proposed.first} comes from a journal that never came to be")
            _propose_again(state, proposed)
    return rows, state


def _step(state: State, recorded: e.Recorded, rows: Rows) -> None:
    """Fold one entry, and count what it did to runs."""
    entry, kind = recorded.entry, type(recorded.entry).__name__
    if isinstance(
        entry,
        e.RetryRequested
        | e.ResumeRequested
        | e.SweepReopened
        | e.SpecRevised
        | e.ExtendRequested
        | e.ConfirmRequested
        | e.NodeSetAside,
    ):
        before = [run.state for run in state.runs]
        evolve(state, recorded)
        for earlier, run in zip(before, state.runs, strict=True):
            if earlier != run.state:
                rows[earlier, kind, run.state] += 1
        return
    number = getattr(entry, "run", None) if not isinstance(entry, e.Annotated) else None
    was = state.runs[number].state if number is not None and number < len(state.runs) else None
    refusal = evolve(state, recorded)
    if was is not None and number is not None:
        rows[was, kind, state.runs[number].state if refusal is None else "ignored"] += 1
    elif refusal is not None:
        rows["", kind, "ignored"] += 1


def _propose_again(state: State, proposed: e.TrialsProposed) -> None:
    """A proposal is a function of the spec, the seed and the journal up to the position that the searcher had seen."""
    searcher = SearcherFor(state.spec)
    if (proposed.engine, proposed.engine_version) != (searcher.name, searcher.version):
        raise Violation(f"trial {proposed.first} was proposed by {proposed.engine} {proposed.engine_version}")
    if proposed.first != len(state.trials):
        raise Violation(
            f"trial {proposed.first} was proposed by one that had seen {len(state.trials)} trials"
        )
    again = searcher.propose(tuple(seen_with_promises(state)), max(1, len(proposed.configs)))
    if again.configs != proposed.configs:
        raise Violation(f"trial {proposed.first} is {proposed.configs}, but derived again {again.configs}")
    if proposed.exhausted and not is_finite(state.spec.space):
        raise Violation("an infinite space was exhausted")


def _check_index(world: World, journal: list[e.Recorded], account: Account) -> None:
    """The stored listing is what a rebuild gives, and says of each run what the naive account says."""
    index = world.store.read_index(world.sweep)
    if index.rows != rebuild(State(world.make_stopper), journal[: index.upto]):
        raise Violation(f"the index at {index.upto} of {len(journal)} is not what a rebuild gives")
    views = decode_views(index.upto, index.rows)
    check_listing(account, views.runs, views.sweep)
    upto = {r.entry.agent for r in journal[: index.upto] if isinstance(r.entry, e.NodeSetAside)}
    told, known = {one.agent: one.aside for one in views.agents if one.aside}, account.nodes.aside
    if told != {agent: why for agent, why in known.items() if agent in upto}:
        raise Violation(f"the index says that these were set aside: {told}, it should be {known}")
    if views.sweep.state != "ended":
        raise Violation(f"the index says that the sweep is {views.sweep.state}")
    left = [r.entry for r in journal[index.upto :] if not isinstance(r.entry, e.AgentLeft)]
    late = [entry for entry in left if isinstance(entry, e.Decision)]
    if late:
        raise Violation(f"decisions that the index does not have: {late}")
