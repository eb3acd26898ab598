"""`confirm` and `report_metric`: what must hold between them and the other keys.

The rule of this file: a value that is to tell how good the result is may not have a part in choosing it.
"""

from __future__ import annotations

from sweep.core.spec import Confirm
from sweep.spec._models import SweepFile
from sweep.spec._problems import Report


def check_honest(file: SweepFile, report: Report) -> None:
    """Note in `report` what is wrong with the two keys."""
    _check_confirm(file, report)
    name, early = file.report_metric, file.early_terminate
    if name is None:
        return
    if file.metric is not None and file.metric.name == name:
        report.error(
            ("report_metric",),
            f"is the metric that selects; it says nothing new about what it has chosen. Log another one, of data that {name} "
            "is not computed on",
        )
    elif early is not None and early.step == f"metric:{name}":
        report.error(
            ("report_metric",),
            f"`early_terminate.step` is metric:{name}, and what is reported may end no run",
        )
    elif file.metric is None:
        report.error(
            ("report_metric",), "needs a metric that selects; add `metric: {name: …, goal: minimize}`"
        )


def _check_confirm(file: SweepFile, report: Report) -> None:
    given = file.confirm
    if given is None:
        return
    if file.metric is None:
        report.error(
            ("confirm",),
            "needs a metric to know the best configs by; add `metric: {name: …, goal: minimize}`",
        )
    confirm = Confirm(top=given.top, seeds=given.seeds, choose=given.choose)
    if confirm.choosing >= confirm.seeds:
        report.error(
            ("confirm", "choose"),
            f"must leave seeds to report on: choose fewer than {confirm.seeds}, the number of seeds",
        )
    elif confirm.seeds - confirm.choosing < 2:
        report.warn(
            ("confirm", "seeds"),
            f"leave {confirm.seeds - confirm.choosing} seed to report on, and of one value there is no interval; 5 leave 3",
        )
