"""Rules that end or pause runs, and what becomes of those that are paused: the oracle's account of it.

The rule of this file: as in the oracle, by hand, from the reference page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.core import entries as e
from sweep.testing.accounts import RunAccount
from sweep.testing.naive import effective_curve, naive_condemned, naive_far, naive_shift

if TYPE_CHECKING:
    from sweep.testing.oracle import Account


def condemned(account: Account, run: int) -> bool:
    """What the rule by hand says of a run now."""
    stopper = account.spec.early_terminate
    if stopper is None:
        return False
    searched = [one for one in account.runs if one.added.purpose == "search"]
    curves = {one.added.run: effective_curve(one.attempts, stopper) for one in searched}
    attempts, since = account.runs[run].attempts, account.runs[run].granted
    if since is not None:
        since = since + naive_shift(attempts, stopper) if pauses(account) else None
    return naive_condemned(stopper, account.world.goal, curves, run, since)


def pauses(account: Account) -> bool:
    """Whether runs are paused where another rule would end them."""
    early = account.spec.early_terminate
    return early is not None and early.type == "asha" and early.resume


def check_pause(account: Account, entry: e.RunPaused) -> None:
    """A run is paused that its rule condemns, while runs go on at all."""
    number, run, need = entry.run, account.runs[entry.run], account.need
    need(not run.paused, f"run {number} was paused twice")
    need(condemned(account, number), f"run {number} was paused, but its rule does not condemn it")
    need(pauses(account), f"run {number} was paused, but its rule pauses nobody")
    need(not account.stopping, f"run {number} was paused, although nothing goes on any more")
    account.world.counts["promoted run paused again"] += run.granted is not None


def check_promotion(account: Account, run: RunAccount) -> None:
    """A run begins: paused ones that their rule would let go on do so before others, the one that is furthest first."""
    early, number = account.spec.early_terminate, run.added.run
    may = [one for one in account.runs if one.paused and not condemned(account, one.added.run)]
    if not run.paused:
        account.need(not may, f"run {number} was assigned, and paused runs may go on")
        return
    account.need(run in may, f"run {number} was promoted, but its rule condemns it")
    here, furthest = naive_far(run.attempts, early), max(naive_far(one.attempts, early) for one in may)
    account.need(
        here == furthest, f"run {number} was promoted at {here}, and another one waits at {furthest}"
    )
    run.granted = here
    account.world.counts["run promoted"] += 1


def pruned_for_good(account: Account, entry: e.RunPruned, at_s: float) -> None:
    """A paused run ends where nothing goes on any more, or where its rule ends runs now."""
    number, run, need = entry.run, account.runs[entry.run], account.need
    need(bool(entry.reason), f"run {number} was pruned without a reason")
    cut = account.stopping or bool(account.stopped_by(at_s))
    if not cut:
        need(condemned(account, number), f"run {number} was paused, and was pruned although it may go on")
        if pauses(account):
            busy = [one.added.run for one in account.runs if not one.final and not one.paused]
            done = account.spent() and not busy
            need(done, f"run {number} was pruned while it could still have been promoted")
    account.world.counts[f"paused until the {'end' if cut or pauses(account) else 'rule changed'}"] += 1
    run.final, run.paused, run.asked = "pruned", False, False
