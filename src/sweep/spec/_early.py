"""Checks of `early_terminate` beyond the types of its keys: what a rule needs, and what would have no effect."""

from __future__ import annotations

from sweep.spec._models import EarlyTerminateModel, SweepFile
from sweep.spec._problems import Path, Report, listed, number

ETA, ETA_OF_ASHA = 3.0, 2.0
COMPARING = ("asha", "median", "percentile")
"""Rules of our own that compare runs."""
KEYS_OF_RULE: dict[str, tuple[str, ...]] = {
    "hyperband": ("s", "eta", "strict"),
    "asha": ("eta", "min_runs", "resume", "trend"),
    "median": ("min_runs", "trend"),
    "percentile": ("percentile", "min_runs", "trend"),
    "plateau": ("patience", "patience_share", "min_delta"),
    "threshold": ("threshold",),
}
"""What each rule of `early_terminate` has besides `min_iter`, `max_iter` and `step`."""


def check_early_terminate(file: SweepFile, report: Report) -> None:
    """What is wrong with the rule that ends runs early."""
    early = file.early_terminate
    if early is None or early.type == "none":
        return
    at: Path = ("early_terminate",)
    if file.metric is None:
        report.error(at, "needs a metric to compare runs by; add `metric: {name: …, goal: minimize}`")
    _check_keys_of_rule(early, report)
    if early.type != "hyperband":
        _check_own_rule(early, report)
    elif early.min_iter is None and early.max_iter is None:
        report.error(at, "needs `min_iter`, or `max_iter` and `s`; write, for example, `min_iter: 3`")
    elif early.min_iter is None and early.s is None:
        report.error(
            at,
            "`max_iter` needs `s`, the number of iterations at which runs may end; write, for example, `s: 2`",
        )
    elif early.min_iter is not None and early.max_iter is not None:
        if early.max_iter < early.min_iter:
            report.error(at, f"min_iter ({early.min_iter}) must not be above max_iter ({early.max_iter})")
        elif early.s is None:
            report.warn((*at, "max_iter"), "has no effect without `s`: runs may end at min_iter·eta^k")
    elif early.max_iter is not None and early.max_iter < (eta := float(early.eta or ETA)):
        report.warn(
            at, f"ends no run: max_iter/eta ({early.max_iter}/{number(eta)}) is below the first iteration"
        )


def _check_keys_of_rule(early: EarlyTerminateModel, report: Report) -> None:
    """A key of another rule would have no effect, and whoever wrote it thinks that it has."""
    keys = KEYS_OF_RULE[early.type]
    for key in sorted(early.model_fields_set - {"type", "step", "min_iter", "max_iter", *keys}):
        having = [f"`{rule}`" for rule, own in KEYS_OF_RULE.items() if key in own]
        report.error(
            ("early_terminate", key),
            f"is a key of {listed(having)}, and the type is {early.type}; its keys are "
            + listed([f"`{name}`" for name in ("min_iter", "max_iter", *keys, "step")]),
        )


def _check_own_rule(early: EarlyTerminateModel, report: Report) -> None:
    at: Path = ("early_terminate",)
    if early.type == "threshold" and early.threshold is None:
        report.error(
            at, "needs `threshold`, the value that a run must reach; write, for example, `threshold: 0.7`"
        )
    if early.patience is not None and early.patience_share is not None:
        report.error((*at, "patience_share"), "is what holds without `patience`; remove one of them")
    if early.min_iter is not None and early.max_iter is not None and early.min_iter >= early.max_iter:
        report.error(
            at, f"min_iter ({early.min_iter}) must be below max_iter ({early.max_iter}), the end of a run"
        )
    if early.step == "time" and early.min_iter is None and early.max_iter is None:
        report.error(
            at, "with `step: time` iterations are seconds; say from when on runs may be ended: `min_iter: 60`"
        )
