"""What one attempt has said: rows to be committed, objective values, summary.

Rule of this file: no sockets and no clock. A row is numbered by its place in the order of arrival, whoever sent it; the
number that the sender gave it only tells a repetition from something new, since lines are sent again after a connection
has broken, and the rest arrives in a file.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.lines import BadLine, Line, decode, number, shown, storable

LARGEST = sys.float_info.max
MAX_NAMES = 20_000
"""Distinct names of which the summary keeps the last value. History keeps all rows, whatever their names."""
MAX_TEXT = 4096
"""Characters of a text, and of the JSON of any other value, in the summary: it stands in every listing of the run."""


class Taken(msgspec.Struct, frozen=True):
    """What is to be committed."""

    first: int
    """Number of the first objective value of these, within the attempt, from 0."""
    steps: list[float]
    values: list[float]
    first_row: int
    count: int
    data: bytes
    """Rows first_row … first_row+count-1, separated by newlines."""
    progress: list[float] = []
    """How far the attempt was at each of the values, in the unit of `early_terminate.step`; empty where the steps say it."""


class RunInbox:
    """The receiving end of one attempt."""

    def __init__(self, run: int, attempt: int, metric: str | None, unit: str = "count") -> None:
        """`metric`: name of the objective; `val.loss` also finds `val/loss`, which is how nested values arrive. `unit`: what an
        iteration is for the stopper (`EarlyTerminate.step`)."""
        self.run, self.attempt = run, attempt
        self.rows = 0
        """Rows so far, committed or not."""
        self.duplicates = 0
        self.malformed = 0
        self.complaint = ""
        """What was wrong with the first line that could not be used."""
        self.config: dict[str, Any] = {}
        """Defaults that the program filled into its config."""
        self.state: dict[str, Any] = {}
        """How far its libraries are seeded and deterministic, by their own word."""
        self.ended = False
        """The program has said that this was all."""
        self.raises = False
        """The program wants to be told to stop, and no signal."""
        self.noted = False
        """It has logged artifacts, or asked for some, since somebody looked."""
        self.crowded = False
        """It logged more names than the summary keeps."""
        self.last_objective: float | None = None
        """The objective's latest value, may be NaN or infinite; None before the first."""
        self.pending_bytes = 0
        self._keys = () if metric is None else tuple(dict.fromkeys((metric, metric.replace(".", "/"))))
        self._raw: list[bytes] = []
        self._steps: list[float] = []
        self._values: list[float] = []
        self._unit = unit
        self._measured = unit.removeprefix("metric:") if unit.startswith("metric:") else ""
        self._progress: list[float] = []
        self._objectives = 0
        self._low, self._high = math.inf, -math.inf
        self._last_numbers: dict[str, int | float | str] = {}
        self._last_others: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._next = 0
        """All of the sender's numbers below this have been seen, except for those in the gaps."""
        self._gaps: list[tuple[int, int]] = []

    # --- taking in

    def feed(self, raw: bytes) -> bool:
        """One line without its newline; whether it was new and fit for use. Never raises on what a program sent."""
        try:
            line, raw = decode(raw)
        except BadLine as error:
            self.reject(f"{error}: {raw[:200].decode('utf-8', 'replace')}")
            return False
        if line.op:
            return self.heed(line)
        return self._add(line, raw)

    def heed(self, line: Line) -> bool:
        """A line that is no row."""
        if line.op == "summary":
            for name, value in (line.m or {}).items():
                self._summary[name] = shown(value)
                known = number(value) if name in self._keys else None
                if known is not None:
                    self._judge(known)
            self._summary.update(brief(line.x or {}))
            _keep_first(self._summary)
        elif line.op == "config":
            self.config.update(storable(line.c or {}))
        elif line.op == "state":
            self.state = storable(line.c or {})
        elif line.op == "artifact":
            self.noted = True
        elif line.op == "end":
            self.ended = True
        # Anything else is the word of a later version: not for us.
        return line.op in ("summary", "config", "state", "artifact", "end")

    def reject(self, complaint: str) -> None:
        """Count a line that cannot be used."""
        self.malformed += 1
        self.complaint = self.complaint or complaint

    def take_unsent(self, path: Path | str) -> int:
        """Take in the rows that the program could not send. Returns how many were new; 0 when there is no such file."""
        before = self.rows
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - after every run, and mostly there is none
                for raw in file:
                    if raw.strip():
                        self.feed(raw.rstrip(b"\r\n"))
        except OSError:
            pass
        return self.rows - before

    def _add(self, line: Line, raw: bytes) -> bool:
        i = line.i
        if i == self._next:
            self._next += 1
        elif i is not None and not self._is_new(i):
            self.duplicates += 1
            return False
        self._raw.append(raw)
        self.pending_bytes += len(raw)
        metrics = line.m
        if metrics:
            numbers = self._last_numbers
            numbers.update(metrics)
            if len(numbers) > MAX_NAMES:
                _keep_first(numbers)
                self.crowded = True
            for key in self._keys:
                if key in metrics:
                    self._report(metrics[key], line)
                    break
        if line.x:
            self._last_others.update(brief(line.x))
            _keep_first(self._last_others)
        self.rows += 1
        return True

    def _is_new(self, i: int) -> bool:
        if i > self._next:
            self._gaps.append((self._next, i))
            self._next = i + 1
            return True
        for index, (first, end) in enumerate(self._gaps):
            if first <= i < end:
                self._gaps[index : index + 1] = [gap for gap in ((first, i), (i + 1, end)) if gap[0] < gap[1]]
                return True
        return False

    def _report(self, raw: int | float | str, line: Line) -> None:
        if type(raw) is float:
            value = raw
        else:
            converted = number(raw)
            if converted is None:
                return
            value = float(converted)
        self._steps.append(self.rows if line.s is None else line.s)
        self._values.append(value)
        if self._unit != "count":
            self._progress.append(self._far(line))
        self.last_objective = value
        self._judge(value)

    def _far(self, line: Line) -> float:
        """How far the attempt is, in the stopper's unit; NaN when it has not said so. Rows without a step count as one iteration each."""
        if self._measured:
            known = number(self._last_numbers.get(self._measured, math.nan))
            return math.nan if known is None else float(known)
        if self._unit == "time":
            return math.nan if line.t is None else float(line.t)
        return float(self._objectives + len(self._values) if line.s is None else line.s)

    def _judge(self, value: float) -> None:
        """Keep the best, whichever way is good. NaN and infinities are neither above nor below anything here."""
        if -LARGEST <= value <= LARGEST:
            if value < self._low:
                self._low = value
            if value > self._high:
                self._high = value

    # --- giving out

    @property
    def has_objective(self) -> bool:
        """Objective values wait to be committed."""
        return bool(self._values)

    def take(self) -> Taken:
        """Everything that waits to be committed; it is the caller's from then on."""
        taken = Taken(
            self._objectives,
            self._steps,
            self._values,
            self.rows - len(self._raw),
            len(self._raw),
            b"\n".join(self._raw),
            self._progress,
        )
        self._objectives += len(self._values)
        self._steps, self._values, self._raw, self.pending_bytes = [], [], [], 0
        self._progress = []
        return taken

    def score(self, goal: str) -> float | None:
        """The best finite value of the objective so far, over rows and summary; None without one."""
        best = self._high if goal == "maximize" else self._low
        return float(best) if math.isfinite(best) else None

    def summary(self) -> dict[str, Any]:
        """The last value of each name, overridden by what the program set itself. NaN and infinities are floats."""
        numbers = {name: shown(value) for name, value in self._last_numbers.items()}
        return {**self._last_others, **numbers, **self._summary}

    def doubts(self) -> dict[str, str]:
        """What a person should know who takes the program's exit code 0 for success: kind -> words."""
        found = {}
        if self._keys and not math.isfinite(self._low):
            logged = {**self._last_numbers, **self._last_others, **self._summary}
            if any(key in logged for key in self._keys):
                found["no finite value"] = f"has logged {self._keys[0]}, but no finite value of it"
            else:
                found["no metric"] = (
                    f"has not logged {self._keys[0]}, the metric that is optimised; it logged {_listed(logged)}"
                )
        if self.crowded:
            found["crowded"] = (
                f"logged more than {MAX_NAMES:,} different names; its summary keeps the first ones, history all"
            )
        return found


def brief(values: dict[str, Any]) -> dict[str, Any]:
    """The same values for the summary: what is long is cut, or described."""
    return {name: _brief(value) for name, value in values.items()}


def _brief(value: Any) -> Any:
    if isinstance(value, str):
        text = storable(value)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"
    if isinstance(value, dict | list):
        kept = storable(value)
        size = len(msgspec.json.encode(kept))
        if size > MAX_TEXT:
            kind = "list" if isinstance(value, list) else "mapping"
            return f"(a {kind} of {len(value):,} items, {size:,} bytes: too large for the summary)"
        return kept
    return storable(value)


def _keep_first(values: dict[str, Any]) -> None:
    for name in list(values)[MAX_NAMES:] if len(values) > MAX_NAMES else ():
        del values[name]


def _listed(names: dict[str, Any]) -> str:
    shown_names = sorted(names)[:8]
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(name[:60] for name in shown_names) + more if names else "nothing"
