"""`sweep audit`: every proposal and every pruning of a recorded sweep, derived again from its journal.

The rule of this file: only the journal is believed, entry by entry, as a controller reads it; what was decided is derived from
what stood there before. Where this machine or its libraries are others than those that decided, numbers may come out differently
for that reason alone: that is said, and is no accusation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from sweep.core import entries as e
from sweep.core.decide import decide
from sweep.core.equality import canonical
from sweep.core.evolve import IllegalDecision, evolve
from sweep.core.names import run_id
from sweep.core.plugins import Observation, Proposals, Searcher
from sweep.core.promises import seen_with_promises
from sweep.core.seeds import seed_of
from sweep.core.spec import SweepSpec
from sweep.core.state import State
from sweep.provenance.hardware import hardware_record
from sweep.search import make_searcher
from sweep.stopping import make_stopper
from sweep.stores import Store

_INSTEAD = "random instead of "
_NUMERIC = ("numpy", "scipy")
_BLOCK = 10_000
_ENDINGS = (e.RunPruned, e.RunPaused)
_WORDS: dict[type[e.Entry], str] = {e.RunPruned: "pruned", e.RunPaused: "paused"}


class Finding(msgspec.Struct, frozen=True):
    """One decision that does not follow from what stood before it, or of which that cannot be said."""

    position: int
    """Of the entry in the journal."""
    what: str
    """For a person."""
    recorded: str = ""
    derived: str = ""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found."""

    sweep: str
    verdict: Literal["same", "differs", "inconclusive"]
    entries: int
    """How many entries of the journal were looked at: all, or up to the first difference."""
    proposals: int
    """Configs that were derived again and are the same."""
    prunings: int
    """Orders to prune or pause a run that were derived again and are the same."""
    difference: Finding | None = None
    """The first decision that differs."""
    unknown: tuple[Finding, ...] = ()
    """Decisions that could not be derived here, and why."""


def audit(
    store: Store,
    sweep: str,
    progress: Callable[[int, int], None] | None = None,
    make: Callable[[SweepSpec], Searcher] = make_searcher,
) -> Audit:
    """Derive what the controllers of `sweep` decided. `progress`: called with how many of how many entries are done; `make`: makes
    a spec's searcher, or raises ValueError."""
    auditor = _Auditor(store, sweep, _looked_at(store, sweep), make)
    total, difference = store.position(sweep), None
    for recorded in _journal(store, sweep):
        difference = auditor.take(recorded)
        if progress is not None:
            progress(recorded.position, total)
        if difference is not None:
            break
    verdict: Literal["same", "differs", "inconclusive"] = "inconclusive" if auditor.unknown else "same"
    return Audit(
        sweep=sweep,
        verdict="differs" if difference is not None else verdict,
        entries=auditor.state.position,
        proposals=auditor.proposals,
        prunings=auditor.prunings,
        difference=difference,
        unknown=tuple(auditor.unknown),
    )


def _journal(store: Store, sweep: str) -> Iterator[e.Recorded]:
    after = 0
    while block := store.read(sweep, after, limit=_BLOCK):
        yield from block
        after = block[-1].position


class _LookedAt(NamedTuple):
    """The positions that decisions were based on: what must be known there is kept when the fold comes by."""

    seen: set[int]
    """Up to where a searcher had read when it was asked."""
    judged: dict[int, float]
    """Where a controller has decided something, and so has judged the runs, and when (Unix time)."""
    ended: dict[int, dict[int, int]]
    """The runs that it told to end or to pause there, or gave up, and the positions of those entries."""


def _looked_at(store: Store, sweep: str) -> _LookedAt:
    found = _LookedAt(set(), {}, {})
    for recorded in _journal(store, sweep):
        entry = recorded.entry
        if isinstance(entry, e.TrialsProposed):
            found.seen.add(entry.seen)
        elif isinstance(entry, e.Decision):
            at = _basis(recorded)
            found.judged.setdefault(at, recorded.at_s)
            if isinstance(entry, _ENDINGS):
                found.ended.setdefault(at, {})[entry.run] = recorded.position
    return found


def _basis(recorded: e.Recorded) -> int:
    """The position that a decision was based on."""
    return recorded.based_on if recorded.based_on is not None else recorded.position - 1


class _Auditor:
    """Folds the journal, and compares each decision with what follows from the state before it."""

    def __init__(
        self, store: Store, sweep: str, looked_at: _LookedAt, make: Callable[[SweepSpec], Searcher]
    ) -> None:
        self.state = State(make_stopper)
        self.proposals = self.prunings = 0
        self.unknown: list[Finding] = []
        self._store, self._sweep, self._looked_at = store, sweep, looked_at
        self._asked: dict[int, tuple[SweepSpec, int, list[Observation]]] = {}
        """Position -> spec, its revision, and the results as a searcher that was asked there knew them."""
        self._make = make
        self._searchers: dict[str, tuple[SweepSpec, Searcher]] = {}
        self._condemned: dict[int, dict[int, tuple[type[e.Entry], str]]] = {}
        """Position -> the runs that a controller prunes or pauses there, with the reasons."""
        self._missing: Finding | None = None
        """A run that a controller prunes or pauses, where one decided otherwise."""
        self._here = _platform(hardware_record())
        self._there: dict[str, str] = {}
        """How the nodes that took part differ from this one."""

    def take(self, recorded: e.Recorded) -> Finding | None:
        """Look at one entry, and fold it. A finding when it differs from what is derived."""
        entry = recorded.entry
        try:
            finding = self._look(recorded)
        except Exception as error:  # a searcher, or a journal that no controller has written
            finding = Finding(recorded.position, f"it cannot be derived: {type(error).__name__}: {error}")
        if finding is not None:
            return finding
        try:
            evolve(self.state, recorded)
        except (IllegalDecision, ValueError) as error:
            return Finding(recorded.position, f"no controller could have decided this: {error}")
        if isinstance(entry, e.AgentJoined):
            self._compare_platform(entry)
        self._remember()
        return self._missing

    def _remember(self) -> None:
        """What decisions that were based on this position need."""
        state, at = self.state, self.state.position
        if at in self._looked_at.seen:
            self._asked[at] = (state.spec, state.revision, list(seen_with_promises(state)))
        if at in self._looked_at.judged:
            decisions, _ = decide(state, self._looked_at.judged[at])
            self._condemned[at] = {
                found.run: (type(found), found.reason) for found in decisions if isinstance(found, _ENDINGS)
            }
            self._note_missing(at)

    def _note_missing(self, at: int) -> None:
        """Whoever decided something here has seen that these runs were to end."""
        told = self._looked_at.ended.get(at, {})
        for run, (kind, reason) in self._condemned[at].items():
            if run not in told:
                what = f"what was to become of {run_id(self._sweep, run)}"
                self._missing = Finding(at, what, "nothing", f"{_WORDS[kind]}: {reason}")
                return

    def _look(self, recorded: e.Recorded) -> Finding | None:
        entry = recorded.entry
        if isinstance(entry, e.TrialsProposed):
            return self._proposed(recorded.position, entry)
        if isinstance(entry, _ENDINGS):
            return self._pruned(recorded, entry)
        if isinstance(entry, e.RunAdded):
            config = self.state.trials[entry.trial].config
            seed = seed_of(self.state.spec, config, entry.replicate, entry.purpose)
            return self._unlike(
                recorded.position, f"the seed of {run_id(self._sweep, entry.run)}", entry.seed, seed
            )
        if isinstance(entry, e.RunAssigned):
            config = self.state.trials[entry.trial].config
            what = f"the config of {run_id(self._sweep, entry.run)}"
            return self._unlike(recorded.position, what, entry.config, config)
        return None

    def _unlike(self, position: int, what: str, recorded: Any, derived: Any) -> Finding | None:
        if canonical(recorded) == canonical(derived):
            return None
        return Finding(position, what, _text(recorded), _text(derived))

    # --- proposals

    def _proposed(self, position: int, entry: e.TrialsProposed) -> Finding | None:
        first = f"trial {entry.first}"
        if entry.seen not in self._asked:
            return Finding(
                position, f"{first}: it was proposed from position {entry.seen}, which is not before it"
            )
        spec, revision, seen = self._asked.pop(entry.seen)  # nothing else was asked there
        if (revision, len(seen)) != (entry.revision, entry.first):
            return Finding(
                position,
                f"{first}: at position {entry.seen} the spec was at revision {revision}, with {len(seen)} trials",
                f"revision {entry.revision}, {entry.first} trials",
            )
        try:
            searcher = self._searcher(spec, entry.engine)
        except ValueError as error:
            self._leave(position, f"{first}: {error}")
            return None
        name = searcher.name if not entry.engine.startswith(_INSTEAD) else entry.engine
        if (name, searcher.version) != (entry.engine, entry.engine_version):
            made = f"{entry.engine} {entry.engine_version}"
            self._leave(position, f"{first}: the engine was {made}, and here it is {name} {searcher.version}")
            return None
        derived = searcher.propose(seen, max(len(entry.configs), 1))
        return self._compared(position, entry, derived)

    def _searcher(self, spec: SweepSpec, engine: str) -> Searcher:
        known = self._searchers.get(engine)
        if known is None or known[0] is not spec:
            asked = spec
            if engine.startswith(_INSTEAD):
                asked = msgspec.structs.replace(spec, method="random", engine=None)
            known = self._searchers[engine] = (spec, self._make(asked))
        return known[1]

    def _compared(self, position: int, entry: e.TrialsProposed, derived: Proposals) -> Finding | None:
        finding = None
        for number, config in enumerate(entry.configs):
            other = derived.configs[number] if number < len(derived.configs) else None
            finding = self._unlike(position, f"the config of trial {entry.first + number}", config, other)
            if finding is not None:
                break
        else:
            finding = self._unlike(
                position,
                "whether the space holds more after this",
                not entry.exhausted,
                not derived.exhausted,
            )
        if finding is None:
            self.proposals += len(entry.configs)
        elif self._there:
            self._leave(position, f"{finding.what} comes out differently here, on {self._elsewhere()}")
            return None
        return finding

    # --- prunings

    def _pruned(self, recorded: e.Recorded, entry: e.RunPruned | e.RunPaused) -> Finding | None:
        word = _WORDS[type(entry)]
        what = f"that {run_id(self._sweep, entry.run)} was {word}"
        kind, reason = self._condemned.get(_basis(recorded), {}).get(entry.run, (None, ""))
        derived = reason if kind is type(entry) else f"not {word}"
        finding = self._unlike(recorded.position, what, entry.reason, derived)
        self.prunings += finding is None
        return finding

    # --- platforms

    def _compare_platform(self, entry: e.AgentJoined) -> None:
        there = _platform(entry.record.get("hardware") or {})
        numeric = self._versions(entry.record.get("packages"))
        here = {**self._here, **_versions_here(numeric)}
        different = [
            f"{name}: {value} there, {here[name]} here"
            for name, value in {**there, **numeric}.items()
            if value and here.get(name) and here[name] != value
        ]
        if different:
            self._there[entry.host] = ", ".join(different)

    def _versions(self, packages: Any) -> dict[str, str]:
        """Those of the libraries that compute, where the record has them."""
        if isinstance(packages, str):
            data = self._store.get_blob(packages)
            packages = json.loads(data) if data is not None else []
        return {
            p["name"]: p["version"] for p in packages or () if p.get("name") in _NUMERIC and p.get("version")
        }

    def _elsewhere(self) -> str:
        host, difference = next(iter(self._there.items()))
        return f"another platform than {host}'s ({difference})"

    def _leave(self, position: int, what: str) -> None:
        self.unknown.append(Finding(position, what))


def _platform(hardware: dict[str, Any]) -> dict[str, str]:
    """What decides how numbers come out."""
    cpu = hardware.get("cpu") or {}
    return {
        "architecture": str(cpu.get("architecture") or ""),
        "processor": str(cpu.get("model") or ""),
        "libc": str(hardware.get("libc") or ""),
    }


def _versions_here(names: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
