"""The listing index: views of runs, agents and the sweep, kept up to date entry by entry.

Derived from the journal alone: folding a journal from its start gives the same rows as following it.
What its rows are called and how they are read: `sweep.core.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy

import msgspec

from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.evolve import evolve
from sweep.core.lifecycle import ENDED
from sweep.core.rows import (
    AGENT_PREFIX,
    ARTIFACT_PREFIX,
    SPEC_KEY,
    SWEEP_KEY,
    decode_agent,
    decode_artifact,
    decode_run,
    decode_spec,
    decode_sweep,
    run_key,
)
from sweep.core.state import COUNTED, Run, State
from sweep.core.views import (
    AgentView,
    ArtifactView,
    AttemptView,
    DataView,
    ReproductionView,
    RunView,
    SlotKeptView,
    SpecView,
    SweepView,
    UseView,
    VersionView,
)

_encode = msgspec.msgpack.Encoder().encode
_DATA = tuple(name for name in e.DataUsed.__struct_fields__ if name not in ("run", "instead"))


_OF_RUNS = frozenset(
    (
        e.RunAssigned,
        e.RunStarted,
        e.ObjectiveReported,
        e.UsageReported,
        e.RunPruned,
        e.RunPaused,
        e.RunCancelled,
        e.AttemptEnded,
    )
)
_OF_SLOTS = frozenset((e.SlotOffered, e.SlotWithdrawn))


_SpecEntry = e.SweepCreated | e.SpecRevised | e.ExtendRequested | e.ConfirmRequested
_TAKE_UP = (
    e.SweepReopened,
    e.ResumeRequested,
    e.SpecRevised,
    e.ExtendRequested,
    e.ConfirmRequested,
)
"""Entries after which runs that were cancelled may wait again."""


class IndexFold:
    """Follows a State and keeps the views of what changed.

    `load(key)` gives an encoded row that this fold has let go of (ended runs are not kept in memory), or None.
    """

    def __init__(self, state: State, load: Callable[[str], bytes | None] | None = None) -> None:
        self.state = state
        self._load = load
        self._runs: dict[int, RunView] = {}
        self._agents: dict[str, AgentView] = {}
        self._sweep: SweepView | None = None
        self._spec: SpecView | None = None
        self._artifacts: dict[str, ArtifactView] = {}
        self._dirty: dict[str, RunView | AgentView | SweepView | SpecView | ArtifactView] = {}

    def fold(self, recorded: e.Recorded) -> str | None:
        """Evolve the state by one entry and note what changed. Returns what `evolve` returns."""
        entry = recorded.entry
        refusal = evolve(self.state, recorded)
        if refusal is None:
            self._note(entry, recorded.at_s)
        return refusal

    def sweep_view(self) -> SweepView | None:
        """The sweep's row as `take` last gave it out; None when it never has."""
        return None if self._sweep is None or SWEEP_KEY in self._dirty else copy(self._sweep)

    def take(self) -> dict[str, bytes]:
        """Encoded rows that changed since the last call; ended runs are then let go."""
        if SWEEP_KEY in self._dirty:
            self._fill_sweep()
        rows = {key: _encode(view) for key, view in self._dirty.items()}
        if self._load is not None:
            for view in self._dirty.values():
                if isinstance(view, RunView) and self.state.runs[view.run].state in ENDED:
                    self._runs.pop(view.run, None)
        self._dirty.clear()
        return rows

    def _note(self, entry: e.AnyEntry, at_s: float) -> None:
        kind = type(entry)
        if kind in _OF_RUNS:
            view = self._run(entry.run)  # type: ignore[union-attr]
            if kind is not e.ObjectiveReported:
                self._attempt(view, entry, at_s)
                if view.state != self.state.runs[view.run].state:
                    self._sync_sweep(entry, at_s)
            self._sync(view)
        elif kind in _OF_SLOTS:
            return
        elif isinstance(entry, e.RunAdded):
            self._add(entry)
            self._sync_sweep(entry, at_s)
        elif isinstance(entry, e.AgentJoined | e.AgentLeft | e.AgentLost):
            self._agent(entry, at_s)
        elif isinstance(entry, e.NodeSetAside):
            self._set_aside(entry, at_s)
        elif isinstance(entry, e.SlotKept):
            self._kept(entry)
        elif isinstance(entry, e.Annotated):
            self._annotate(entry, at_s)
        elif isinstance(entry, e.RunReproduced):
            self._reproduced(entry, at_s)
        elif isinstance(entry, e.ReportShown):
            self._sync_sweep(entry, at_s)
            assert self._sweep is not None
            self._sweep.looks += 1
        elif isinstance(entry, e.ArtifactLogged):
            self._artifact_logged(entry, at_s)
        elif isinstance(entry, e.ArtifactUsed):
            self._artifact_used(entry, at_s)
        elif isinstance(entry, e.DataUsed | e.DataChecked):
            self._data(entry)
        elif isinstance(entry, e.CodeChanged):
            self._code(entry)
        else:
            if isinstance(entry, _SpecEntry):
                self._sync_spec(entry)
            self._sync_sweep(entry, at_s)

    def _sync_spec(self, entry: _SpecEntry) -> None:
        if isinstance(entry, e.SweepCreated):
            self._spec = SpecView(
                spec={}, source=entry.source, source_path=entry.source_path, record=entry.record
            )
        elif self._spec is None:
            blob = self._load(SPEC_KEY) if self._load is not None else None
            if blob is None:
                raise LookupError("the index has no row of the spec")
            self._spec = decode_spec(blob)
        self._spec.spec = spec_to_builtins(self.state.spec)
        if isinstance(entry, e.SpecRevised):
            self._spec.source = entry.source or self._spec.source
        self._dirty[SPEC_KEY] = self._spec

    def _add(self, entry: e.RunAdded) -> None:
        view = RunView(
            sweep=self.state.sweep,
            run=entry.run,
            trial=entry.trial,
            replicate=entry.replicate,
            purpose=entry.purpose,
            seed=entry.seed,
            config=self.state.trials[entry.trial].config,
        )
        self._runs[entry.run] = view
        self._dirty[run_key(entry.run)] = view

    def _run(self, number: int) -> RunView:
        view = self._runs.get(number)
        if view is None:
            blob = self._load(run_key(number)) if self._load is not None else None
            if blob is None:
                raise LookupError(f"the index has no row of run {number}")
            view = self._runs[number] = decode_run(blob)
        return view

    def _attempt(self, view: RunView, entry: e.AnyEntry, at_s: float) -> None:
        if isinstance(entry, e.RunAssigned):
            view.attempts.append(
                AttemptView(attempt=entry.attempt, agent=entry.agent, slot=entry.slot, assigned_s=at_s)
            )
        elif isinstance(entry, e.RunStarted):
            last = view.attempts[-1]
            last.started_s, last.host, last.pid, last.gpus = at_s, entry.host, entry.pid, entry.gpus
            last.command, last.env, last.folder = entry.command, entry.env, entry.folder
            last.code = entry.code
            last.gpu_share = self.state.runs[view.run].gpus
        elif isinstance(entry, e.UsageReported):
            last = view.attempts[-1]
            last.cpu_s = _more(last.cpu_s, entry.cpu_s)
            last.energy_j = _more(last.energy_j, entry.energy_j)
        elif isinstance(entry, e.AttemptEnded):
            last = view.attempts[-1]
            last.ended_s, last.outcome, last.reason = at_s, entry.outcome, entry.reason
            last.exit_code, last.error_class, last.rows, last.tail = (
                entry.exit_code,
                entry.error_class,
                entry.rows,
                entry.tail,
            )
            last.maxrss_bytes, last.wall_s, last.usage = entry.maxrss_bytes, entry.wall_s, entry.usage
            last.cpu_s = _more(last.cpu_s, entry.cpu_s)
            if entry.usage is not None:
                last.energy_j = _more(last.energy_j, entry.usage.energy_j)
            last.checkpoint, last.state = entry.checkpoint, entry.state
            if entry.summary:
                view.summary = {**view.summary, **entry.summary}
            if entry.defaults:
                view.defaults = entry.defaults

    def _sync(self, view: RunView) -> None:
        run: Run = self.state.runs[view.run]
        view.state, view.reason, view.objective, view.steps = (
            run.state,
            run.reason,
            run.score,
            len(run.values),
        )
        self._dirty[run_key(view.run)] = view

    def _annotate(self, entry: e.Annotated, at_s: float) -> None:
        view: RunView | SweepView
        if entry.run < 0:
            self._sync_sweep(entry, at_s)
            assert self._sweep is not None
            view = self._sweep
        else:
            view = self._run(entry.run)
            self._sync(view)
        kept = [tag for tag in view.tags if tag not in entry.remove]
        view.tags = tuple(dict.fromkeys([*kept, *entry.add]))
        view.note = view.note if entry.note is None else entry.note

    def _reproduced(self, entry: e.RunReproduced, at_s: float) -> None:
        view = self._run(entry.run)
        self._sync(view)
        found = ReproductionView(
            at_s=at_s,
            verdict=entry.verdict,
            compared=entry.compared,
            identical=entry.identical,
            metric=entry.metric,
            step=entry.step,
            report=entry.report,
            by=entry.by,
        )
        view.reproduced = (*view.reproduced, found)

    def _artifact_logged(self, entry: e.ArtifactLogged, at_s: float) -> None:
        key = ARTIFACT_PREFIX + entry.name
        view = self._artifacts.get(entry.name)
        if view is None:
            blob = self._load(key) if self._load is not None else None
            view = (
                decode_artifact(blob) if blob is not None else ArtifactView(name=entry.name, type=entry.kind)
            )
            self._artifacts[entry.name] = view
        number = next((v.version for v in view.versions if v.digest == entry.digest), len(view.versions))
        if number == len(view.versions):
            attempts = self._run(entry.run).attempts
            made = VersionView(
                version=number,
                digest=entry.digest,
                size=entry.size,
                files=entry.files,
                at_s=at_s,
                manifest=entry.manifest,
                place=entry.place,
                folder=entry.folder,
                host=attempts[-1].host if attempts else "",
                description=entry.description,
                metadata=entry.metadata,
                runs=(entry.run,),
                doubt=entry.doubt,
            )
            view.versions.append(made)
        else:
            known = view.versions[number]
            runs = tuple(dict.fromkeys([*known.runs, entry.run]))
            view.versions[number] = msgspec.structs.replace(known, runs=runs)
        view.aliases = {**view.aliases, **dict.fromkeys(entry.aliases, number), "latest": number}
        self._dirty[key] = view

    def _artifact_used(self, entry: e.ArtifactUsed, at_s: float) -> None:
        view = self._run(entry.run)
        self._sync(view)
        used = UseView(
            at_s=at_s,
            asked=entry.asked,
            sweep=entry.sweep,
            name=entry.name,
            version=entry.version,
            digest=entry.digest,
            type=entry.kind,
            manifest=entry.manifest,
            place=entry.place,
            folder=entry.folder,
        )
        view.used = (*view.used, used)

    def _data(self, entry: e.DataUsed | e.DataChecked) -> None:
        view = self._run(entry.run)
        self._sync(view)
        if isinstance(entry, e.DataUsed):
            found = {name: getattr(entry, name) for name in _DATA}
            old = (entry.attempt, entry.path, entry.instead)
            others = (o for o in view.data if not entry.instead or (o.attempt, o.path, o.digest) != old)
            view.data = (*others, DataView(**found))
        else:
            view.data = tuple(
                msgspec.structs.replace(one, changed=one.path in entry.changed)
                if one.attempt == entry.attempt
                else one
                for one in view.data
            )

    def _code(self, entry: e.CodeChanged) -> None:
        agent = self._agents[entry.agent] = self._known_agent(entry.agent)
        now = {"code": entry.code, "place": entry.place, "files": list(entry.files)}
        agent.codes = (*agent.codes, now)
        self._dirty[AGENT_PREFIX + entry.agent] = agent
        for number, attempt in entry.during:
            if 0 <= number < len(self.state.runs):
                view = self._run(number)
                for one in view.attempts:
                    if one.attempt == attempt and one.agent == entry.agent:
                        one.code_changed = tuple(dict.fromkeys([*one.code_changed, *entry.files]))
                self._sync(view)

    def _agent(self, entry: e.AgentJoined | e.AgentLeft | e.AgentLost, at_s: float) -> None:
        key = AGENT_PREFIX + entry.agent
        if isinstance(entry, e.AgentJoined):
            view = AgentView(
                agent=entry.agent,
                host=entry.host,
                pid=entry.pid,
                slots=entry.slots,
                gpus=entry.gpus,
                joined_s=at_s,
                record=entry.record,
            )
        else:
            view = self._known_agent(entry.agent)
            view.ended_s = at_s
            lost = isinstance(entry, e.AgentLost)
            view.state, view.reason = ("lost", "") if lost else ("left", entry.reason)  # type: ignore[union-attr]
        self._agents[entry.agent] = view
        self._dirty[key] = view

    def _known_agent(self, agent: str) -> AgentView:
        known = self._agents.get(agent)
        if known is None:
            key = AGENT_PREFIX + agent
            blob = self._load(key) if self._load is not None else None
            if blob is None:
                raise LookupError(f"the index has no row of agent {agent}")
            known = decode_agent(blob)
        return known

    def _set_aside(self, entry: e.NodeSetAside, at_s: float) -> None:
        for number in entry.runs:
            self._sync(self._run(number))
        if entry.runs:
            self._sync_sweep(entry, at_s)
        if entry.agent:
            view = self._agents[entry.agent] = self._known_agent(entry.agent)
            view.aside = entry.reason
            self._dirty[AGENT_PREFIX + entry.agent] = view

    def _kept(self, entry: e.SlotKept) -> None:
        view = self._agents[entry.agent] = self._known_agent(entry.agent)
        others = [slot for slot in view.kept if slot.slot != entry.slot]
        if entry.reason:
            others.append(SlotKeptView(entry.slot, entry.reason, entry.lasting))
        view.kept = tuple(sorted(others, key=lambda slot: slot.slot))
        self._dirty[AGENT_PREFIX + entry.agent] = view

    def _sync_sweep(self, entry: e.AnyEntry, at_s: float) -> None:
        """Note that the sweep's row has changed; `take` fills it."""
        state = self.state
        if self._sweep is None and self._load is not None and (blob := self._load(SWEEP_KEY)) is not None:
            self._sweep = decode_sweep(blob)
        if self._sweep is None:
            self._sweep = SweepView(sweep=state.sweep, name=state.spec.name or "", state=state.phase)
        view = self._sweep
        view.ended_s = (
            at_s if isinstance(entry, e.SweepEnded) else (None if state.phase != "ended" else view.ended_s)
        )
        if isinstance(entry, e.RetryRequested):
            for number in entry.runs:
                if 0 <= number < len(state.runs):
                    self._sync(self._run(number))
        if isinstance(entry, _TAKE_UP):
            for run in state.runs:
                if run.state == "queued":
                    self._sync(self._run(run.run))
        self._dirty[SWEEP_KEY] = view

    def _fill_sweep(self) -> None:
        """What the sweep's row says changes only with entries that `_sync_sweep` is called for."""
        state, view = self.state, self._sweep
        assert view is not None
        view.name, view.state, view.reason = state.spec.name or "", state.phase, state.reason
        view.created_s, view.revision = state.created_s, state.revision
        view.trials, view.exhausted, view.run_cap = len(state.trials), state.exhausted, state.spec.run_cap
        view.counts = {name: count for name, count in state.counts.items() if count}
        view.gpu_s, view.cpu_s, view.energy_j = state.gpu_s, state.cpu_s, state.energy_j
        view.confirming = state.confirming
        view.best_run, view.best_trial, view.best_seeds = state.best_run, None, ()
        view.best = None if state.best_run is None else state.runs[state.best_run].score
        if state.spec.replicates > 1:  # one lucky seed makes no config the best
            self._fill_best_trial(view)

    def _fill_best_trial(self, view: SweepView) -> None:
        state, number = self.state, self.state.best_trial
        view.best_run, view.best, view.best_trial = None, None, number
        if number is None:
            return
        runs = [state.runs[run] for run in state.trials[number].runs]
        counted = [
            run for run in runs if run.purpose == "search" and run.state in COUNTED and run.score is not None
        ]
        scores = {run.run: run.score for run in counted if run.score is not None}
        view.best, view.best_seeds = state.observations[number].score, tuple(scores.values())
        first = min if state.goal == "minimize" else max
        view.best_run = first(scores, key=scores.__getitem__, default=None)


def _more(known: float | None, told: float | None) -> float | None:
    """What counts of two measurements of what only grows."""
    return known if told is None else told if known is None else max(known, told)


def rebuild(state: State, journal: Iterable[e.Recorded]) -> dict[str, bytes]:
    """All index rows, folded from the start of the journal into the empty `state`."""
    fold = IndexFold(state)
    for recorded in journal:
        fold.fold(recorded)
    return fold.take()
