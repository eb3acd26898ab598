"""`wandb.plot`: charts are kept as the table of their points, with a note which columns are drawn how."""

from __future__ import annotations

from sweep.sdk.wandb._errors import Error
from sweep.sdk.wandb._media import WBValue
from sweep.sdk.wandb.media import _listed
from sweep.sdk.wandb.tables import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from sweep.sdk.wandb._record import Record


class CustomChart(WBValue):
    """A table and how it is drawn."""

    def __init__(self, table: Table, spec: dict[str, Any]) -> None:
        self.table, self.spec = table, spec

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        return {**self.table._stored(record, key, step), "chart": self.spec}


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: dict[str, Any],
    string_fields: dict[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart of a table, drawn as `vega_spec_name` says. Raises wandb's Error for what is no table."""
    if not isinstance(data_table, Table):
        raise Error(
            f"Expected `data_table` to be `wandb.Table` type, instead got {type(data_table).__name__}"
        )
    spec = {"name": vega_spec_name, "fields": dict(fields), "strings": dict(string_fields or {})}
    return CustomChart(data_table, spec)


def visualize(id: str, value: Table) -> CustomChart:
    """A chart of a table."""
    return plot_table(id, value, {})


Visualize = visualize


def line(
    table: Table,
    x: str,
    y: str,
    stroke: str | None = None,
    title: str = "",
    split_table: bool = False,
) -> CustomChart:
    """A line through two columns."""
    fields = {"x": x, "y": y, **({"stroke": stroke} if stroke else {})}
    return plot_table("wandb/line/v0", table, fields, {"title": title})


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Points of two columns."""
    return plot_table("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title})


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A bar for each row."""
    return plot_table("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title})


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """How the values of a column are spread."""
    return plot_table("wandb/histogram/v0", table, {"value": value}, {"title": title})


def line_series(
    xs: Iterable[Any],
    ys: Iterable[Iterable[Any]],
    keys: Iterable[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> CustomChart:
    """Several lines; `xs` is one list for all, or one for each. ValueError when their numbers differ."""
    lines = [list(_listed(values)) for values in ys]
    first = list(_listed(xs))
    shared = not first or not hasattr(first[0], "__iter__")
    places = [first] * len(lines) if shared else [list(_listed(values)) for values in first]
    labels = list(keys) if keys is not None else [f"key_{number}" for number in range(len(lines))]
    if len(places) != len(lines) or len(labels) != len(lines):
        raise ValueError("Number of x-lines, y-lines and keys must match")
    data = [
        [x, label, y]
        for places_of, values, label in zip(places, lines, labels)
        for x, y in zip(places_of, values)
    ]
    table = Table(columns=["step", "lineKey", "lineVal"], data=data)
    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    return plot_table("wandb/lineseries/v0", table, fields, {"title": title, "xname": xname})


def confusion_matrix(
    probs: Any = None,
    y_true: Sequence[Any] | None = None,
    preds: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often each class was taken for each. Either `probs`, a row for each sample, or `preds`. ValueError otherwise."""
    if (probs is None) == (preds is None) or y_true is None:
        raise ValueError("confusion_matrix takes y_true, and either probs or preds")
    if preds is None:
        rows = [list(_listed(row)) for row in _listed(probs)]
        preds = [row.index(max(row)) for row in rows]
    true, found = list(_listed(y_true)), list(_listed(preds))
    if len(true) != len(found):
        raise ValueError("y_true and the predictions must have the same length")
    classes = sorted({*true, *found}, key=lambda value: (str(type(value)), value))
    if class_names is not None and all(isinstance(value, int) for value in classes):
        classes = list(range(max(len(class_names), *(value + 1 for value in classes or [0]))))
    labels = [
        str(class_names[number]) if class_names is not None and number < len(class_names) else str(value)
        for number, value in enumerate(classes)
    ]
    counts: dict[tuple[Any, Any], int] = {}
    for pair in zip(true, found):
        counts[pair] = counts.get(pair, 0) + 1
    data = [
        [labels[i], labels[j], counts.get((one, other), 0)]
        for i, one in enumerate(classes)
        for j, other in enumerate(classes)
    ]
    table = Table(columns=["Actual", "Predicted", "nPredictions"], data=data)
    fields = {name: name for name in table.columns}
    return plot_table("wandb/confusion_matrix/v1", table, fields, {"title": title})


def roc_curve(
    y_true: Any,
    y_probas: Any = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart:
    """True against false positives of each class, one against the rest. `y_probas`: a row for each sample."""
    data = [
        [label, _rounded(fp / negatives), _rounded(tp / positives)]
        for label, counted, positives, negatives in _by_class(y_true, y_probas, labels, classes_to_plot)
        if positives and negatives
        for tp, fp in [(0, 0), *counted]
    ]
    table = Table(columns=["class", "fpr", "tpr"], data=data)
    return plot_table(
        "wandb/area-under-curve/v0", table, {"x": "fpr", "y": "tpr", "class": "class"}, {"title": title}
    )


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart:
    """Precision at `interp_size` values of recall for each class, one against the rest."""
    data = []
    for label, counted, positives, _ in _by_class(y_true, y_probas, labels, classes_to_plot):
        points = [(tp / positives, tp / (tp + fp)) for tp, fp in counted if positives]
        for number in range(interp_size if points else 0):
            recall = number / max(1, interp_size - 1)
            precision = max(p for r, p in points if r >= recall - 1e-12)
            data.append([label, _rounded(precision), _rounded(recall)])
    table = Table(columns=["class", "precision", "recall"], data=data)
    fields = {"x": "recall", "y": "precision", "class": "class"}
    return plot_table("wandb/area-under-curve/v0", table, fields, {"title": title})


def _by_class(
    y_true: Any, y_probas: Any, labels: Sequence[str] | None, wanted: Sequence[Any] | None
) -> list[tuple[str, list[tuple[int, int]], int, int]]:
    """For each class its label, (true, false) positives at each threshold from the highest, and both totals."""
    if y_true is None or y_probas is None:
        raise ValueError("y_true and y_probas are needed")
    true = list(_listed(y_true))
    rows = [list(_listed(row)) for row in _listed(y_probas)]
    if len(true) != len(rows):
        raise ValueError("y_true and y_probas must have the same length")
    found = []
    for number, value in enumerate(sorted(set(true))):
        if wanted is not None and value not in wanted:
            continue
        place = value if isinstance(value, int) and 0 <= value < len(rows[0]) else number
        label = str(labels[number]) if labels is not None and number < len(labels) else str(value)
        hits = sorted(((row[place], one == value) for row, one in zip(rows, true)), key=lambda pair: -pair[0])
        positives = sum(hit for _, hit in hits)
        found.append((label, _thresholds(hits), positives, len(true) - positives))
    return found


def _thresholds(hits: list[tuple[float, bool]]) -> list[tuple[int, int]]:
    counted = []
    tp = fp = 0
    for index, (score, hit) in enumerate(hits):
        tp, fp = tp + hit, fp + (not hit)
        if index + 1 == len(hits) or hits[index + 1][0] != score:
            counted.append((tp, fp))
    return counted


def _rounded(value: float) -> float:
    return round(value, 3)
