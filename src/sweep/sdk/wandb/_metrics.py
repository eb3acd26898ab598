"""`define_metric`: which aggregates of a metric go to the summary, and which metric serves as its steps. Pure.

A value that is logged twice at one step counts once, with its last value, as it does in wandb: the value of the open
step is kept apart until the step is over. NaN is in no aggregate but `last` and `first`.
"""

from __future__ import annotations

from sweep.sdk._wire import as_number
from sweep.sdk.wandb._errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPERATIONS = ("min", "max", "mean", "last", "copy", "none", "first", "best")


class Metric:
    """One definition. `name` may end with `*`."""

    def __init__(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: tuple[str, ...] | None = None,
        overwrite: bool | None = None,
        goal: str | None = None,
    ) -> None:
        self.name, self.step_metric, self.hidden, self.summary = name, step_metric, hidden, summary
        self.step_sync = step_sync if step_sync is not None else step_metric is not None
        self.goal = goal
        self._overwrite = overwrite

    def completed(self, earlier: Metric | None) -> Metric:
        """This definition with what it leaves open taken from an earlier one of the same name."""
        if earlier is None or self._overwrite:
            return self
        merged = Metric(self.name, self.step_metric or earlier.step_metric)
        merged.step_sync = self.step_sync or earlier.step_sync
        merged.hidden = self.hidden if self.hidden is not None else earlier.hidden
        merged.summary = self.summary or earlier.summary
        merged.goal = self.goal or earlier.goal
        return merged


def checked(
    name: Any,
    step_metric: Any,
    step_sync: Any,
    hidden: Any,
    summary: Any,
    overwrite: Any,
    goal: Any,
) -> Metric:
    """The definition that a script's arguments make. Raises wandb's Error for what it does not take."""
    if not name:
        raise Error("define_metric() requires non-empty name argument")
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    kinds = (
        ("name", name, str),
        ("step_metric", step_metric, str),
        ("step_sync", step_sync, bool),
        ("hidden", hidden, bool),
        ("summary", summary, str),
        ("overwrite", overwrite, bool),
        ("goal", goal, str),
    )
    for label, value, kind in kinds:
        if value is not None and not isinstance(value, kind):
            raise Error(f"Unhandled define_metric() arg: {label} type: {type(value).__name__}")
    if "*" in name[:-1]:
        raise Error(f"Unhandled define_metric() arg: name (glob suffixes only): {name}")
    operations = tuple(word.strip().lower() for word in summary.split(",")) if summary else None
    for word in operations or ():
        if word not in OPERATIONS:
            raise Error(f"Unhandled define_metric() arg: summary op: {word}")
    short = goal.lower()[:3] if goal else None
    if short not in (None, "min", "max"):
        raise Error(f"Unhandled define_metric() arg: goal: {goal}")
    return Metric(name, step_metric, step_sync, hidden, operations, overwrite, short)


class Aggregate:
    """min, max, mean, first and last of one metric."""

    __slots__ = ("_count", "_first", "_max", "_min", "_open", "_step", "_sum")

    def __init__(self) -> None:
        self._min, self._max = float("inf"), float("-inf")
        self._sum, self._count = 0.0, 0
        self._first: float | None = None
        self._open: float | None = None
        self._step: int | None = None

    def add(self, step: int, value: float) -> None:
        """A value at a step; a second one at the same step replaces the first."""
        if self._open is not None and step != self._step:
            self._close(self._open)
        self._step, self._open = step, value

    def _close(self, value: float) -> None:
        if self._first is None:
            self._first = value
        if value == value:
            self._min, self._max = min(self._min, value), max(self._max, value)
            self._sum += value
            self._count += 1

    def result(self, operation: str, goal: str | None) -> float | None:
        """The aggregate now; None when there is none yet. `best` is the minimum unless the goal is `max`."""
        value = self._open
        if value is None:
            return None
        if operation == "best":
            operation = goal or "min"
        if operation in ("last", "copy"):
            return value
        if operation == "first":
            return value if self._first is None else self._first
        counts = value == value
        if not counts and self._count == 0:
            return None
        if operation == "mean":
            return (self._sum + value) / (self._count + 1) if counts else self._sum / self._count
        pick = min if operation == "min" else max
        closed = self._min if operation == "min" else self._max
        return pick(closed, value) if counts else closed


class Metrics:
    """All definitions of a run, and the aggregates they ask for."""

    def __init__(self) -> None:
        self.defined = False
        self._exact: dict[str, Metric] = {}
        self._globs: dict[str, Metric] = {}
        self._of: dict[str, Metric | None] = {}
        self._aggregates: dict[str, Aggregate] = {}
        self._steps: dict[str, Any] = {}
        """The last value of each metric that serves as steps."""

    def define(self, metric: Metric) -> None:
        """Take a definition in. A name that ends with `*` is for every name that begins so and has no definition of its own."""
        place = self._globs if metric.name.endswith("*") else self._exact
        key = _key(metric.name)
        place[key] = metric.completed(place.get(key))
        self._of.clear()
        self.defined = True

    def of(self, name: str) -> Metric | None:
        """The definition that `name` falls under."""
        if name not in self._of:
            if len(self._of) > 10_000:
                self._of.clear()
            key = _key(name)
            found = self._exact.get(key)
            if found is None and not name.startswith("_"):
                begins = [glob for glob in self._globs if key.startswith(glob[:-1])]
                found = self._globs[max(begins, key=len)] if begins else None
            self._of[name] = found
        return self._of[name]

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """A row with the last value of the metrics that serve as steps for those in it, where it does not have them."""
        self._note_steps(values)
        missing: dict[str, Any] = {}
        for name in values:
            metric = self.of(name)
            if metric is None or not metric.step_metric or not metric.step_sync:
                continue
            steps = metric.step_metric
            if name != steps and steps not in values and steps in self._steps:
                missing[steps] = self._steps[steps]
        return {**values, **missing} if missing else values

    def _note_steps(self, values: dict[str, Any]) -> None:
        for metric in (*self._exact.values(), *self._globs.values()):
            name = metric.step_metric
            if name and name in values:
                self._steps[name] = values[name]

    def add(self, step: int, values: dict[str, Any]) -> tuple[dict[str, dict[str, float]], set[str]]:
        """Count a row. Returns name -> aggregate -> value for those that are defined, and the names whose plain last value
        does not belong in the summary."""
        found: dict[str, dict[str, float]] = {}
        not_plain: set[str] = set()
        for name, value in values.items():
            metric = self.of(name)
            if metric is None or not metric.summary:
                continue
            not_plain.add(name)
            number = as_number(value)
            if "none" in metric.summary or number is None:
                continue
            aggregate = self._aggregates.get(name)
            if aggregate is None:
                aggregate = self._aggregates[name] = Aggregate()
            aggregate.add(step, float(number))
            results = {word: aggregate.result(word, metric.goal) for word in metric.summary if word != "copy"}
            found[name] = {word: result for word, result in results.items() if result is not None}
        return found, not_plain


def _key(name: str) -> str:
    """Names as they are compared: nested values are logged with `/` and defined with `.` as often."""
    return name.replace(".", "/")
