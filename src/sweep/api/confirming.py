"""Confirming a sweep's result: the request for it."""

from __future__ import annotations

import time

import msgspec

from sweep.api.reading import load_views
from sweep.api.requests import Refused, limit_over, request
from sweep.core import entries as e
from sweep.core.confirming import confirm_problem, missing
from sweep.core.index import rebuild
from sweep.core.lifecycle import ENDED
from sweep.core.rows import Views
from sweep.core.spec import Confirm
from sweep.core.state import State
from sweep.core.views import SweepView
from sweep.stopping import make_stopper
from sweep.stores import Store


class Asked(msgspec.Struct, frozen=True):
    """What `confirm` did."""

    confirm: Confirm
    open: int
    """Confirmation runs that are now still to be done; 0 while the search goes on."""
    sweep: SweepView
    """As it was found afterwards."""


def confirm(
    store: Store,
    sweep: str,
    top: int | None = None,
    seeds: int | None = None,
    choose: int | None = None,
    by: str = "",
) -> Asked:
    """Have the best `top` configs run again on `seeds` fresh seeds, `choose` of which choose among them; what is not given is as in
    the spec, or 5, 5, and half of them. At once where the search has ended (the sweep is reopened for this alone; an agent
    works it off), else when it does. What was done before counts; what failed is tried again. Raises Refused."""
    views = load_views(store, sweep)
    old = views.spec.confirm or Confirm()
    new = Confirm(
        top=top or old.top,
        seeds=seeds or old.seeds,
        choose=choose if choose is not None or seeds not in (None, old.seeds) else old.choose,
    )
    _check(views, new)
    request(store, sweep, e.ConfirmRequested(new.top, new.seeds, new.choose, by))
    after = load_views(store, sweep)
    left = sum(run.purpose == "confirm" and run.state not in ENDED for run in after.runs)
    return Asked(new, left + (_to_be_added(store, sweep) if left else 0), after.sweep)


def _to_be_added(store: Store, sweep: str) -> int:
    """Runs that are added when those that wait have ended."""
    state = State(make_stopper)
    rebuild(state, store.read(sweep, 0))
    return len(missing(state))


def _check(views: Views, confirm: Confirm) -> None:
    sweep, name = views.sweep, views.sweep.sweep
    if views.spec.metric is None:
        raise Refused(f"sweep {name} has no metric, so no config is the best; there is nothing to confirm")
    if confirm.top < 1 or confirm.seeds < 2:
        raise Refused(
            "at least one config and two fresh seeds are needed: one to choose on, one to report on"
        )
    if confirm_problem(confirm) is not None:
        raise Refused(
            f"{confirm.choosing} of {confirm.seeds} seeds cannot choose: at least one does, and at least one is left to report on"
        )
    if sweep.state == "finishing":
        raise Refused(
            f"sweep {name} is finishing ({sweep.reason}) and starts no runs; wait until it has ended, or let it go on with "
            f"`sweep resume {name}`"
        )
    limit = limit_over(views, time.time()) if sweep.state == "ended" else ""
    if limit:
        raise Refused(
            f"sweep {name} can confirm nothing: {limit}; raise it in the spec with `sweep edit {name}`"
        )
    if sweep.state == "ended" and sweep.best_run is None:
        raise Refused(f"sweep {name} has ended and no trial has a finite score; there is nothing to confirm")
