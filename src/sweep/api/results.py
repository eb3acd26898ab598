"""The result of a sweep, and the count of looks at its `report_metric`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from sweep.analysis.honest import Honest, honest, in_words
from sweep.analysis.table import SweepTable
from sweep.api.reading import load_sweep_view
from sweep.core import entries as e
from sweep.core.errors import SweepError
from sweep.core.rows import Views
from sweep.core.spec import SweepSpec
from sweep.core.views import RunView
from sweep.stores import Store


def result(views: Views) -> Honest:
    """The result table of a sweep."""
    return honest(SweepTable(views.spec, views.sweep, views.runs))


def look_at_runs(
    store: Store, sweep: str, spec: SweepSpec, runs: Iterable[RunView], command: str, by: str = ""
) -> None:
    """Record that somebody sees the values of `report_metric` of these runs, as raw data: as `look` does it."""
    name = spec.report_metric
    if name is None:
        return
    seen = [(run.id, run.summary[name]) for run in runs if name in run.summary]
    if seen:
        _record(store, sweep, e.ReportShown(name, command, by), seen)


def look(store: Store, found: Honest, command: str, by: str = "") -> Honest:
    """Record that somebody sees the value of `report_metric` in `found`, and say how often that has happened: the same figures
    shown to the same person by the same command count once. Where nothing can be written, nothing is: reading goes before."""
    if found.report is None or found.report_metric is None:
        return found
    _record(
        store,
        found.sweep,
        e.ReportShown(found.report_metric, command, by),
        (found.chosen, found.report_points),
    )
    looks = found.looks
    with contextlib.suppress(SweepError, OSError):
        looks = load_sweep_view(store, found.sweep).looks
    counted = msgspec.structs.replace(found, looks=looks)
    return msgspec.structs.replace(counted, words=in_words(counted))


def _record(store: Store, sweep: str, entry: e.ReportShown, figures: Any) -> None:
    """Append a look, unless the same figures were shown to the same person by the same command before."""
    text = repr((entry.by, entry.command, entry.metric, *figures))
    writer = f"look/{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    with contextlib.suppress(SweepError, OSError):
        with store.batch():
            new = store.append(sweep, [entry], writer=writer, first_seq=1, existing=True).recorded
        if new:
            from sweep.controller import settle  # what only reads does not pay for it

            settle(store, sweep)
