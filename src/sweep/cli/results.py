"""The result of a sweep, as it is printed wherever it is, and what is held back until then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from sweep.api import load_sweep_view, load_views
from sweep.cli.common import print_json, who
from sweep.cli.texts import config_text, print_table
from sweep.core.rows import Views
from sweep.stores import Store

if TYPE_CHECKING:  # what only lists does not pay for these
    from sweep.analysis.honest import Honest, HonestRow


def seen_result(store: Store, views: Views, name: str) -> Honest:
    """The result of a sweep, as the command `name` is about to show it: which counts as a look at `report_metric`."""
    from sweep.api.results import look, result

    return look(store, result(views), name, who())


def print_result(found: Honest, indent: str = "") -> None:
    """The result table, and what it says in sentences."""
    if any(row.choosing or row.reporting for row in found.rows):
        fresh = f"{found.metric} ON FRESH SEEDS"
        rows = [tuple(_cells(row, found)) for row in found.rows]
        print_table(("TRIAL", "", f"{found.metric} IN SEARCH", fresh, "N", "P", "CONFIG"), rows, indent)
    for sentence in found.words:
        click.echo(indent + sentence)


def _cells(row: HonestRow, found: Honest) -> list[str]:
    from sweep.analysis.honest import with_spread

    mark = "chosen" if row.trial == found.chosen else "tied" if row.tied else ""
    without = f" ({row.without_value} without a value)" if row.without_value else ""
    return [
        str(row.trial),
        mark,
        "" if row.score is None else f"{row.score:.6g}",
        ("" if row.confirmed is None else with_spread(row.confirmed)) + without,
        str(len(row.reporting)),
        "" if row.p is None else f"{row.p:.2g}",
        config_text(row.config, 90),
    ]


def print_groups(views: Views, as_json: bool) -> None:
    """The configs of a sweep, each with its runs taken together."""
    from sweep.analysis.groups import groups
    from sweep.analysis.honest import with_spread
    from sweep.analysis.table import SweepTable

    found = groups(SweepTable(views.spec, views.sweep, views.runs))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    metric = views.spec.metric.name if views.spec.metric is not None else "objective"
    fresh = any(group.fresh for group in found)
    rows = [
        (
            str(group.trial),
            group.state,
            str(len(group.values)),
            "" if group.mean is None else with_spread(group.mean),
            " ".join(f"{value:.5g}" for value in group.values),
            *(
                (
                    "" if group.fresh_mean is None else with_spread(group.fresh_mean),
                    str(len(group.fresh) or ""),
                    " ".join(f"{value:.5g}" for value in group.fresh),
                )
                if fresh
                else ()
            ),
            config_text(group.config, 90),
        )
        for group in found
    ]
    more = (f"{metric} ON FRESH SEEDS", "N", "VALUES") if fresh else ()
    print_table(("TRIAL", "STATE", "N", f"{metric} IN SEARCH", "VALUES", *more, "CONFIG"), rows)
    if any(group.mean is not None and group.mean.half is not None for group in found):
        click.echo(
            "± is the half width of a 95 % confidence interval of the mean, over N seeds"
            + ("; fresh seeds are those that report, which had no part in the choice" if fresh else "")
        )


def has_result(views: Views) -> bool:
    """Whether more is to be said of the result than which run was the best."""
    return views.spec.metric is not None and (
        views.spec.confirm is not None or views.spec.report_metric is not None
    )


def show_sweep(store: Store, name: str, as_json: bool) -> bool:
    """Show the sweep that `name` names, and its result; False where it rather names a run."""
    from sweep.cli.listing import print_status
    from sweep.cli.sweeps import sweep_record

    known = store.sweeps()
    matches = [one for one in known if name and one.startswith(name)] if not name.isdigit() else []
    sweep = name if name in known else matches[0] if len(matches) == 1 else None
    if sweep is None or sum(load_sweep_view(store, sweep).counts.values()) == 1:
        return False
    views = load_views(store, sweep)
    found = seen_result(store, views, "show")
    if as_json:
        print_json({**sweep_record(views.sweep), "result": msgspec.to_builtins(found)})
    else:
        print_status(views)
        print_result(found, "  ")
    return True


def withheld(found: dict[str, Any], views: Views) -> dict[str, Any]:
    """A run's record without the value of `report_metric`, which is shown for the chosen config only, and counted there."""
    name = views.spec.report_metric
    if name is None or name not in found["summary"]:
        return found
    told = f"held back (report_metric): `sweep best {views.sweep.sweep}` shows it for the chosen config"
    return {**found, "summary": {**found["summary"], name: told}}
