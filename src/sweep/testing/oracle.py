"""The oracle: a second, naive account of what must hold, told from the journal and from what really happened.

The rule of this file: nothing of `evolve`, `decide`, `lifecycle` or `state` is used; each rule is written as a person would
check it by hand. Whatever breaks one is a `Violation`.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from sweep.core import entries as e
from sweep.core.codec import spec_from_builtins
from sweep.core.equality import canonical
from sweep.core.seeds import run_seed
from sweep.core.spec import Confirm, SweepSpec
from sweep.testing.accounts import AttemptAccount, RunAccount, settle, trial_end
from sweep.testing.ledger import Ledger
from sweep.testing.naive import naive_score
from sweep.testing.pauses import check_pause, check_promotion, condemned, pauses, pruned_for_good
from sweep.testing.proposals import check_proposal
from sweep.testing.terms import (
    CUTS,
    naive_confirms_more,
    naive_fixed,
    naive_more,
    naive_notes,
    naive_points,
    naive_share,
    naive_told,
    naive_unit,
)

if TYPE_CHECKING:
    pass

replace = msgspec.structs.replace

CLOSE_S = 0.01
"""A limit that is over since less than this may not be seen yet: clocks of nodes are compared only so well."""
LATE_S = 9.0
"""In a quiet world a controller is found and acts within this time, and a run ends that is told to."""


class Account(Ledger):
    """Follows a journal entry by entry."""

    # --- the sweep

    def _PauseRequested(self, _: e.PauseRequested, __: e.Recorded) -> None:
        if self.phase == "active":
            self.phase = "paused"

    def _ResumeRequested(self, _: e.ResumeRequested, __: e.Recorded) -> None:
        self.said = ""
        if self.phase == "ended":
            self.to_reopen, self.stopping, self.only_confirm = True, False, False
            self.patience.begin_anew()
        elif self.phase == "active" and self.only_confirm:
            self.only_confirm = False
            self.patience.begin_anew()
            self._take_up()
        elif self.phase in ("paused", "finishing"):
            self.phase, self.stopping = "active", False
            self._take_up()

    def _StopRequested(self, _: e.StopRequested, __: e.Recorded) -> None:
        if self.phase != "ended" or self.to_reopen:
            self.stopping, self.ever_cut_short, self.said = True, True, ""
            self.world.counts["stop of a sweep about to go on"] += self.phase == "ended"
            self.phase = "finishing" if self.phase != "ended" else "ended"

    _CancelRequested = _StopRequested

    def _ExtendRequested(self, entry: e.ExtendRequested, _: e.Recorded) -> None:
        self._adopt(replace(self.spec, run_cap=entry.run_cap))

    def _ConfirmRequested(self, entry: e.ConfirmRequested, recorded: e.Recorded) -> None:
        if self.phase == "ended" and {*CUTS} & set(self.stopped_by(recorded.at_s)):
            return
        self._adopt(replace(self.spec, confirm=Confirm(top=entry.top, seeds=entry.seeds)))
        again = [run for run in self._confirmations() if run.final in ("failed", "cancelled")]
        self._to_confirm(again)
        for run in again:
            self._again(run)

    def _SpecRevised(self, entry: e.SpecRevised, _: e.Recorded) -> None:
        spec = spec_from_builtins(entry.spec)
        if entry.revision == self.revision + 1 and naive_fixed(self.spec, spec):
            self.world.counts["spec revised"] += 1
            old = self.spec
            self._adopt(spec)
            if naive_confirms_more(old, spec) and not naive_more(old, spec):
                self._to_confirm(())
        else:
            self.world.counts["revision refused"] += 1

    def _adopt(self, spec: SweepSpec) -> None:
        """Another revision of the spec."""
        old, self.spec, self.cap = self.spec, spec, spec.run_cap
        self.revision += 1
        self.revised, self.said = self.position, ""
        self.run_times[self.revision] = spec.limits.run_time_s
        if spec.space != old.space:
            points = naive_points(spec.space)
            self.exhausted = points is not None and set(points) <= set(self.configs)
        if spec.metric != old.metric:
            self.target_hit = False
            for run in self.runs:
                self._value(run, naive_score(run, self.world.goal))
        if spec.patience != old.patience:
            self.patience.judge(spec.patience)
        if naive_unit(spec) != naive_unit(old):
            for run in self.runs:
                run.granted = None
        if naive_more(old, spec):
            self.only_confirm = False
        if self.phase == "ended":
            without_runs = len({run.added.trial for run in self.runs}) < len(self.configs)
            left = any(run.shelved for run in self.runs) or without_runs or not self.spent()
            if naive_more(old, spec) and left and not self.stopped_by(self.times[-1]):
                self.to_reopen = True
        elif not self.stopping:
            self._take_up()

    def _Annotated(self, entry: e.Annotated, _: e.Recorded) -> None:
        if entry.run >= len(self.runs):
            return
        self.notes[entry.run] = naive_notes(*self.notes.get(entry.run, ((), "")), entry)

    def _RunReproduced(self, entry: e.RunReproduced, _: e.Recorded) -> None:
        """For people: nothing acts on it."""

    def _ArtifactLogged(self, entry: e.ArtifactLogged, _: e.Recorded) -> None:
        """For people and for other runs: nothing acts on it."""

    def _ArtifactUsed(self, entry: e.ArtifactUsed, _: e.Recorded) -> None:
        """For people: nothing acts on it."""

    def _DataUsed(self, entry: e.DataUsed, _: e.Recorded) -> None:
        """For people: nothing acts on it."""

    def _DataChecked(self, entry: e.DataChecked, _: e.Recorded) -> None:
        """For people: nothing acts on it."""

    def _CodeChanged(self, entry: e.CodeChanged, _: e.Recorded) -> None:
        """For people: nothing acts on it."""

    def _RetryRequested(self, entry: e.RetryRequested, _: e.Recorded) -> None:
        for number in entry.runs:
            if number < len(self.runs) and self.runs[number].final in ("failed", "cancelled"):
                self._again(self.runs[number])
                self.runs[number].asked = True
                if self.phase == "ended":
                    self.to_reopen, self.only_confirm = True, False

    def _SweepEnded(self, entry: e.SweepEnded, recorded: e.Recorded) -> None:
        self.need(bool(entry.reason), "the sweep ended without a reason")
        self.need(self.phase != "ended", "the sweep ended twice")
        left = [run.added.run for run in self.runs if not run.final]
        self.need(not left, f"the sweep ended while runs {left} had not")
        keys = (*CUTS, "target", "patience")
        named = [key for key in keys if key in entry.reason]
        if self.only_confirm:
            self.need(bool(named) or entry.reason == self.last_end or self.stopping, "it ended as it had not")
        for key in named if entry.reason != self.last_end or not self.only_confirm else ():
            self.need(
                key in self.stopped_by(recorded.at_s),
                f"it ended by {key}, which does not hold: {entry.reason}",
            )
            self.world.counts[f"ended by {key}"] += 1
        self._same_end(entry.reason, named)
        if not self.stopping and not {*CUTS} & set(self.stopped_by(recorded.at_s)):
            self._all_confirmed()
        if self.only_confirm:
            pass
        elif not self.stopping and not named:
            self.need(self.spent(), "the sweep ended with budget left, and nobody stopped it")
            self._nothing_left_out()
        else:
            self.ever_cut_short = True
        self.phase, self.to_reopen, self.stopping, self.only_confirm = "ended", False, False, False
        self.last_end = entry.reason

    def _same_end(self, reason: str, named: list[str]) -> None:
        """After nothing but retries it ends as it had, unless a retried run has reached the target, or a limit is over."""
        if self.said and (named == ["patience"] or "target" in self.said):
            limits = {*CUTS} & set(named)
            self.need(bool(limits) or reason == self.said, f"it ended: {reason}; before: {self.said}")
            self.world.counts["ended again after a retry"] += 1
        self.said = reason if named in (["target"], ["patience"]) else ""

    def _nothing_left_out(self) -> None:
        """Every trial has all its replicates; none is cancelled unless the sweep was once cut short."""
        have = Counter(run.added.trial for run in self.runs if run.added.purpose == "search")
        want = dict.fromkeys(range(len(self.configs)), self.spec.replicates)
        self.need(dict(have) == want, f"replicates per trial: {dict(have)}, should be {want}")
        if not self.ever_cut_short:
            cancelled = [run.added.run for run in self.runs if run.final == "cancelled"]
            self.need(not cancelled, f"runs {cancelled} were cancelled, but nobody stopped the sweep")

    def _SweepReopened(self, entry: e.SweepReopened, _: e.Recorded) -> None:
        self.need(bool(entry.reason), "the sweep was reopened without a reason")
        self.need(self.phase == "ended", "a sweep that had not ended was reopened")
        self.need(self.to_reopen, "a sweep was reopened, and nothing gave it more to do")
        self.phase, self.to_reopen = "finishing" if self.stopping else "active", False
        if not self.stopping:
            self._take_up()

    def _take_up(self) -> None:
        for run in self.runs:
            if run.shelved and (run.added.purpose == "confirm" or not self.only_confirm):
                self._again(run)

    def _again(self, run: RunAccount) -> None:
        run.final, run.failures, run.losses, run.shelved = "", [], 0, False
        run.life += 1

    # --- agents

    def _AgentJoined(self, entry: e.AgentJoined, recorded: e.Recorded) -> None:
        self.agents.setdefault(entry.agent, True)
        self.nodes.hosts.setdefault(entry.agent, entry.host)
        self.shares.setdefault(entry.agent, self.spec.resources.gpus)
        if self.first_joined_s is None:
            self.first_joined_s = recorded.at_s

    def _AgentLeft(self, entry: e.AgentLeft | e.AgentLost, _: e.Recorded) -> None:
        if self.agents.get(entry.agent):
            self.agents[entry.agent] = False
            self.open_offers = {key: n for key, n in self.open_offers.items() if key[0] != entry.agent}

    _AgentLost = _AgentLeft

    def _SlotOffered(self, entry: e.SlotOffered, _: e.Recorded) -> None:
        if self.agents.get(entry.agent) and entry.agent not in self.nodes.aside:
            self.open_offers.setdefault((entry.agent, entry.slot), entry.offer)

    def _SlotWithdrawn(self, entry: e.SlotWithdrawn, _: e.Recorded) -> None:
        if self.open_offers.get((entry.agent, entry.slot)) == entry.offer:
            del self.open_offers[entry.agent, entry.slot]

    def _SlotKept(self, entry: e.SlotKept, _: e.Recorded) -> None:
        """It decides nothing."""

    def _NodeSetAside(self, entry: e.NodeSetAside, recorded: e.Recorded) -> None:
        self.need(bool(entry.reason), f"{entry.host} was set aside without a reason")
        if entry.runs:  # the first of the entries for its agents
            self.world.counts["node set aside"] += 1
            wrong = self.nodes.wrong_with(entry, self.runs, self.agents, recorded.at_s)
            self.need(not wrong, wrong)
            for run in self.nodes.forgive(entry.host, self.runs):
                self.world.counts["run forgiven"] += 1
                if self.runs[run].added.purpose == "search":
                    self.patience.take_back(self.runs[run].added.trial, self.spec.patience)
        if entry.agent:
            here = self.agents.get(entry.agent) and self.nodes.hosts[entry.agent] == entry.host
            told = f"{entry.agent} was told that {entry.host} is set aside"
            self.need(bool(here) and entry.agent not in self.nodes.aside, told)
            self.nodes.aside[entry.agent] = entry.reason
            self.open_offers = {key: n for key, n in self.open_offers.items() if key[0] != entry.agent}

    # --- trials and runs

    def _TrialsProposed(self, entry: e.TrialsProposed, recorded: e.Recorded) -> None:
        self.need(entry.seen < recorded.position, "the searcher saw the future")
        check_proposal(self, entry)
        self.configs += [json.dumps(config, sort_keys=True) for config in entry.configs]
        self.exhausted = entry.exhausted
        over = self.cap is not None and len(self.configs) > self.cap
        self.need(not over, f"{len(self.configs)} trials, but run_cap is {self.cap}")
        self.need(len(set(self.configs)) == len(self.configs), "a config was proposed twice")

    def _RunAdded(self, entry: e.RunAdded, _: e.Recorded) -> None:
        self.need(entry.run == len(self.runs), "runs are not dense")
        self.need(entry.trial < len(self.configs), "a run of a trial that nobody proposed")
        if entry.purpose == "confirm":
            self._check_confirms(entry)
        known = {(run.added.trial, run.added.replicate) for run in self.runs}
        self.need((entry.trial, entry.replicate) not in known, "a replicate was added twice")
        own = canonical(json.loads(self.configs[entry.trial])) if self.spec.seeds == "independent" else ""
        wanted = run_seed(self.spec.seed, entry.replicate, entry.purpose, own)
        self.need(entry.seed == wanted, "a run has a wrong seed")
        self.runs.append(RunAccount(entry))

    def _RunAssigned(self, entry: e.RunAssigned, recorded: e.Recorded) -> None:
        run = self.runs[entry.run]
        self.need(self.phase == "active", f"run {entry.run} was assigned while the sweep was {self.phase}")
        self.need(not run.final, f"run {entry.run} was assigned after it was {run.final}")
        self.need(entry.attempt == len(run.attempts) + 1, f"attempts of run {entry.run} are not dense")
        self.need(
            not run.attempts or run.attempts[-1].ended is not None,
            f"run {entry.run} was assigned again while attempt {entry.attempt - 1} was going on",
        )
        self.need((entry.agent, entry.offer) not in self.used_offers, "an offer was consumed twice")
        key = (entry.agent, entry.slot)
        self.need(self.open_offers.get(key) == entry.offer, f"offer {entry.offer} of {key} was not open")
        busy = [
            one.added.run
            for one in self.runs
            if one.attempts
            and one.attempts[-1].ended is None
            and (one.attempts[-1].assigned.agent, one.attempts[-1].assigned.slot) == key
        ]
        self.need(not busy, f"slot {key} got run {entry.run} while it had run {busy}")
        self.need(json.dumps(entry.config, sort_keys=True) == self.configs[entry.trial], "another config")
        decided_s = self.times[(recorded.based_on or 1) - 1]
        waiting = [
            n for n, one in enumerate(self.runs[: entry.run]) if self._waits(one) and one.ready_s <= decided_s
        ]
        check_promotion(self, run)
        waiting = [] if run.paused else waiting
        self.need(not waiting, f"run {entry.run} was assigned before runs {waiting}, which waited longer")
        self.need(recorded.at_s >= run.ready_s, f"run {entry.run} was to wait until {run.ready_s}")
        self.world.counts["run waited"] += run.ready_s > 0
        self.need(
            entry.after == run.last_error, f"run {entry.run} failed by {run.last_error}, not {entry.after}"
        )
        alone = not self.only_confirm or run.asked or run.added.purpose == "confirm"
        self.need(
            alone, f"run {entry.run} of the search was assigned, but only the result is to be confirmed"
        )
        self._may_begin(run, decided_s)
        if not self.stopped_by(recorded.at_s):
            host = self.nodes.hosts[entry.agent]
            blamed = self.nodes.blamed(host, self.agents)
            self.need(not blamed, f"{host} got run {entry.run}, but runs fail there only")
        del self.open_offers[key]
        self.used_offers.add((entry.agent, entry.offer))
        run.attempts.append(AttemptAccount(entry, recorded.position, self.revision))
        run.order, run.ready_s, run.paused = "", 0.0, False

    def _may_begin(self, run: RunAccount, at_s: float) -> None:
        """Nothing speaks against another run: no limit, no target or patience unless somebody asked for this very run, and
        nobody who should have been told to end first."""
        number, stopped = run.added.run, self.stopped_by(at_s - CLOSE_S)
        if (
            (run.asked or run.added.purpose == "confirm")
            and stopped
            and set(stopped) <= {"target", "patience"}
        ):
            self.world.counts["tried again after the end"] += run.asked
            stopped = []
        self.need(not stopped, f"run {number} was assigned, although these end the sweep: {stopped}")
        spared = [
            run.added.run
            for run in self.runs
            if run.attempts and run.attempts[-1].started and not run.attempts[-1].ended and not run.order
            if run.added.purpose == "search"
        ]
        for other in spared:
            self.need(not condemned(self, other), f"run {number} was assigned, and run {other} not pruned")

    def _waits(self, run: RunAccount) -> bool:
        return not run.final and not run.paused and (not run.attempts or run.attempts[-1].ended is not None)

    def current(self, run: int, attempt: int, agent: str) -> tuple[RunAccount, AttemptAccount] | None:
        """The run and its open attempt, when this fact is about it."""
        if run >= len(self.runs) or not self.runs[run].attempts:
            return None
        account = self.runs[run]
        last = account.attempts[-1]
        fits = last.assigned.attempt == attempt and agent in ("", last.assigned.agent)
        return (account, last) if fits and last.ended is None else None

    def _RunStarted(self, entry: e.RunStarted, recorded: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, entry.agent)
        if found is not None and not found[1].started:
            attempt = found[1]
            attempt.started, attempt.started_s = True, recorded.at_s
            attempt.gpus = naive_share(self.shares[attempt.assigned.agent], len(entry.gpus))

    def _ObjectiveReported(self, entry: e.ObjectiveReported, _: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, "")
        if found is not None and found[1].started:
            had = sum(len(report.values) for report in found[1].reports)
            self.need(entry.first == had, f"run {entry.run} reported value {entry.first} after {had} values")
            found[1].timed = found[1].timed or (not had and naive_unit(self.spec) == "time")
            found[1].reports.append(entry)
            for value in entry.values:
                self._value(found[0], value)

    def _UsageReported(self, entry: e.UsageReported, recorded: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, entry.agent)
        if found is not None and found[1].started:
            found[1].note_used(recorded.at_s, entry.cpu_s, entry.energy_j)

    def _RunPruned(self, entry: e.RunPruned, recorded: e.Recorded) -> None:
        if self.runs[entry.run].paused:
            pruned_for_good(self, entry, recorded.at_s)
            return
        self._order(entry, "pruned")
        searched = self.runs[entry.run].added.purpose == "search"
        self.need(searched, f"run {entry.run} was pruned, but it confirms a result")
        self.need(condemned(self, entry.run), f"run {entry.run} was pruned, but its rule does not condemn it")
        over = self.stopping or bool(self.stopped_by(recorded.at_s))
        self.need(over or not pauses(self), f"run {entry.run} was pruned, where it should have been paused")

    def _RunPaused(self, entry: e.RunPaused, _: e.Recorded) -> None:
        searched = self.runs[entry.run].added.purpose == "search"
        self.need(searched, f"run {entry.run} was paused, but it confirms a result")
        check_pause(self, entry)
        self._order(entry, "paused")

    def _RunCancelled(self, entry: e.RunCancelled, recorded: e.Recorded) -> None:
        run = self.runs[entry.run]
        if self._waits(run):
            cut = self.stopping or {*CUTS} & set(self.stopped_by(recorded.at_s))
            spared = run.asked or run.added.purpose == "confirm"
            self.need(bool(cut) or not spared, f"run {entry.run} was to be executed, and was cancelled")
            run.asked = False
            self.need(bool(entry.reason), f"run {entry.run} was cancelled without a reason")
            run.final, run.shelved, self.ever_cut_short = "cancelled", True, True
            run.ready_s = 0.0
            self._finished(run)
        else:
            self._order(entry, "cancelled")
            self.ever_cut_short = True

    def _order(self, entry: e.RunPruned | e.RunPaused | e.RunCancelled, order: str) -> None:
        self.need(bool(entry.reason), f"run {entry.run} was {order} without a reason")
        found = self.current(entry.run, entry.attempt, entry.agent)
        self.need(
            found is not None, f"run {entry.run} was {order}, but attempt {entry.attempt} is not going on"
        )
        assert found is not None
        self.need(not found[0].order, f"run {entry.run} was told to end twice")
        self.need(order == "cancelled" or found[1].started, f"run {entry.run} was {order} before it started")
        found[0].order = order
        rule = getattr(self.spec.early_terminate, "type", "")
        self.world.counts[f"{order} by {rule}"] += order != "cancelled"

    def _AttemptEnded(self, entry: e.AttemptEnded, recorded: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, entry.agent)
        if found is None:
            return
        run, attempt = found
        if not attempt.started and entry.outcome in ("completed", "pruned", "paused"):
            return
        self.need(bool(entry.reason) or entry.outcome == "completed", f"run {entry.run}: no reason")
        attempt.ended, attempt.ended_s = entry, recorded.at_s
        attempt.note_used(recorded.at_s, entry.cpu_s, entry.usage.energy_j if entry.usage else None)
        self._check_in_time(run, attempt, recorded.at_s)
        self._value(run, entry.score)
        self.nodes.note_end(run, attempt, entry, recorded.at_s)
        spared = attempt.assigned.agent in self.nodes.aside
        settle(run, entry, self.spec.retry, recorded.at_s, spared)
        if entry.outcome == "failed":
            self.world.counts["failed on a node set aside" if spared else f"failed: {run.last_error}"] += 1
        if run.final or run.paused:
            self._finished(run)

    def _check_in_time(self, run: RunAccount, attempt: AttemptAccount, at_s: float) -> None:
        """Long after a limit of the sweep nothing ends by itself; and a limit that ended a run was the spec's."""
        ended = attempt.ended
        assert ended is not None
        over_s = at_s - LATE_S
        quiet = self.world.quiet_at_s is not None and over_s - LATE_S > self.world.quiet_at_s
        if quiet and attempt.started and self.revised <= attempt.position and not run.order:
            cut = {*CUTS} & set(self.stopped_by(over_s))
            self.need(not cut, f"run {run.added.run} went on although {cut} had been over for {LATE_S} s")
        if ended.error_class == "run_time" and self.world.atomic:
            told = naive_told(self.run_times, attempt.revision, ended.reason)
            self.need(told, f"run {run.added.run}: {ended.reason}, but the limits were {self.run_times}")

    def _finished(self, run: RunAccount) -> None:
        """One of a trial's runs has ended: perhaps the trial has, and `patience` counts it."""
        run.asked = run.asked and not run.final
        if run.added.purpose != "search":
            return
        goal, trial = self.world.goal, run.added.trial
        finished, mean = trial_end(self.runs, trial, goal)
        if finished:
            self.patience.finished(trial, mean, goal, self.spec.patience)
