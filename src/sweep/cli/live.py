"""What `sweep agent` shows: plain lines anywhere, and on a terminal a live view below them (slots, best, progress)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import click

from sweep.cli.best import best_words
from sweep.cli.texts import config_text, duration_text
from sweep.core.names import run_id

if TYPE_CHECKING:  # listings use this module's texts, and should not pay for the agent
    from sweep.agents import Node, Snapshot
    from sweep.core import entries as e
    from sweep.core.rows import Views
    from sweep.core.spec import SweepSpec
    from sweep.core.views import SweepView

COLOURS = {"info": None, "warning": "yellow", "error": "red"}


def begin_live() -> Any:
    """A picture on standard error that is drawn anew when asked to, and is gone at its end."""
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False)
    live.start()
    return live


def make_view(sweep: str, spec: SweepSpec) -> PlainView:
    """A live view on a terminal, plain lines otherwise."""
    return LiveView(sweep, spec) if on_terminal() else PlainView(sweep, spec)


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return (
        sys.stderr is not None and sys.stderr.isatty()
    )  # it is None when the program was started without one


class PlainView:
    """One line for everything that happens."""

    def __init__(self, sweep: str, spec: SweepSpec) -> None:
        self.sweep, self.spec = sweep, spec
        self.best: float | None = None
        self.failed: dict[str, int] = {}
        self.failed_runs: list[int] = []
        """The first run that was seen to fail."""
        self.on_joined: Callable[[str], None] | None = None

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass

    def line(self, text: str, colour: str | None = None) -> None:
        """Write one line to standard error. When nobody reads it any more (a pipe that was closed, a terminal that is
        gone) the work goes on."""
        self.write(text, colour)

    @staticmethod
    def write(text: str, colour: str | None = None) -> None:
        """The same, whatever a kind of view does with its lines."""
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{click.style(text, fg=colour) if colour and on_terminal() else text}\n")
                sys.stderr.flush()

    def begin(self, node: Node, views: Views) -> None:
        """Say what this agent is about to do."""
        slots = len(node.slots)
        cpus = node.slots[0].cpus
        gpus = f", {len(node.gpus)} GPU{'s' if len(node.gpus) != 1 else ''}" if node.gpus else ""
        cpu_text = f"{cpus:g} CPU{'s' if cpus != 1 else ''} each"
        self.line(f"agent for sweep {self.sweep}: {slots} slot{'s' if slots != 1 else ''}, {cpu_text}{gpus}")
        self._begin(views)

    def begin_launch(self, views: Views, address: str) -> None:
        """Say which sweep is worked off on which cluster."""
        self.line(f"sweep {self.sweep} on the Ray cluster at {address}")
        self._begin(views)

    def _begin(self, views: Views) -> None:
        done = sum(views.sweep.counts.get(state, 0) for state in ("completed", "pruned", "failed"))
        if done:
            self.line(f"{done} runs are done already" if done != 1 else "1 run is done already")
        self.best = views.sweep.best

    def joined(self, agent: str) -> None:
        """The agent has its place in the sweep."""
        if self.on_joined is not None:
            self.on_joined(agent)

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message from the agent."""
        self.line(text if level == "info" else f"{level}: {text}", COLOURS[level])

    def started(self, assignment: e.RunAssigned) -> None:
        """A run's process exists."""
        again = f" (attempt {assignment.attempt})" if assignment.attempt > 1 else ""
        name = run_id(self.sweep, assignment.run)
        self.line(f"{name} started{again}: {config_text(assignment.config, 100)}")

    def ended(self, assignment: e.RunAssigned, event: e.AttemptEnded, duration_s: float) -> None:
        """A run's process is gone."""
        name = run_id(self.sweep, assignment.run)
        text = f"{name} {event.outcome} after {duration_text(duration_s)}"
        metric = self.spec.metric
        if metric is not None and event.score is not None:
            fresh = assignment.replicate >= self.spec.replicates  # it confirms the result
            mark = ", on a fresh seed" if fresh else self._best_mark(event.score, event.outcome)
            text += f": {metric.name} {event.score:.6g}{mark}"
        if event.reason:
            text += f" ({event.reason})"
        self.line(text, "red" if event.outcome == "failed" else None)
        if event.outcome == "failed" and not self.failed_runs:
            self.failed_runs.append(event.run)
        if event.outcome == "failed" and event.tail:
            self._tail(event)

    def show(self, snapshot: Snapshot) -> None:
        """Nothing: lines say it all."""

    def finish(self, views: Views) -> None:
        """The last words: how it went, and the best config."""
        sweep = views.sweep
        counts = ", ".join(f"{n} {state}" for state, n in sweep.counts.items() if n)
        ended = f"has ended: {sweep.reason}" if sweep.state == "ended" else f"is {sweep.state}"
        self.line(f"sweep {self.sweep} {ended} ({counts or 'no runs'})")
        if sweep.best_run is not None and self.spec.metric is not None and sweep.best is not None:
            best = next((run for run in views.runs if run.run == sweep.best_run), None)
            self.line(
                f"best: {best_words(sweep, self.spec.metric.name)}"
                if sweep.best_seeds
                else f"best: {run_id(self.sweep, sweep.best_run)} with {self.spec.metric.name} {sweep.best:.6g}"
            )
            if best is not None:
                self.line(f"  {config_text(best.config, 2000)}")
        if any(run.purpose == "confirm" for run in views.runs):
            from sweep.analysis.honest import honest, in_brief
            from sweep.analysis.table import SweepTable

            for sentence in in_brief(honest(SweepTable(views.spec, sweep, views.runs))):
                self.line(sentence)

    def _best_mark(self, score: float, outcome: str) -> str:
        goal = self.spec.metric.goal if self.spec.metric is not None else "minimize"
        is_best = self.best is None or (score < self.best if goal == "minimize" else score > self.best)
        if outcome not in ("completed", "pruned") or not is_best or self.spec.replicates > 1:
            return ""  # with replicates it takes all seeds of a config to know
        self.best = score
        return ", the best so far"

    def _tail(self, event: e.AttemptEnded) -> None:
        """The end of a failed run's output, once for each different end."""
        last = event.tail.rstrip().rsplit("\n", 1)[-1]
        self.failed[last] = self.failed.get(last, 0) + 1
        if self.failed[last] <= 2:
            for line in event.tail.rstrip().splitlines():
                self.line(f"  | {line}")
            if (hint := _hint(last, self.sweep)) is not None:
                self.line(f"  {hint}")
        else:
            self.line(
                f"  | {last}   (as before; `sweep logs {run_id(self.sweep, event.run)}` prints all of it)"
            )


def _hint(last: str, sweep: str) -> str | None:
    """What to do about the last line of a failed program's output, where that is known."""
    if last.endswith("No module named 'wandb'"):
        return f"a script that is written for wandb runs without it: `sweep agent {sweep} --wandb`"
    if last.startswith("wandb.errors.") and ("wandb login" in last or "API key" in last):
        return f"without an account, and recorded here: `sweep agent {sweep} --wandb` runs scripts that are written for wandb"
    if last.endswith(("ignored explicit argument 'True'", "ignored explicit argument 'False'")):
        return (
            "a flag takes no value: write `${args_no_boolean_flags}` for `${args}` in the spec's `command`, and `--flag` is given "
            f"or left out (`sweep edit {sweep} sweep.yaml`)"
        )
    if ": error: unrecognized arguments: --" in last:
        return (
            "the program has no such option: call the spec's parameters as it calls its options, or write a `command` without "
            "`${args}` and read `sweep.init().config`; then create the sweep again"
        )
    return None


class LiveView(PlainView):
    """Plain lines, and below them a picture of the slots that is drawn anew."""

    def __init__(self, sweep: str, spec: SweepSpec) -> None:
        super().__init__(sweep, spec)
        self._live: Any = None
        self._began_s: float | None = None
        """When a run was first seen at work: a cluster may take its time until then."""
        self._done_at_start: int | None = None

    def __enter__(self) -> LiveView:
        self._live = begin_live()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._live.stop()
        self._live = None

    def line(self, text: str, colour: str | None = None) -> None:
        """A line above the picture."""
        if self._live is None:
            super().line(text, colour)
        else:
            from rich.text import Text

            with contextlib.suppress(OSError):
                self._live.console.print(Text(text, style=colour or ""), soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the slots, the best so far, the progress."""
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.update(self._picture(snapshot), refresh=True)

    def _picture(self, snapshot: Snapshot) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        metric = self.spec.metric.name if self.spec.metric is not None else ""
        for title in ("slot", "run", "time", "rows", metric, "config"):
            table.add_column(title, no_wrap=True, overflow="ellipsis")
        for slot in snapshot.slots:
            where = f"{slot.slot}" + (f" {slot.gpus[0]}" if slot.gpus else "")
            if slot.run is None:
                table.add_row(where, Text(slot.waits or "free", style="yellow" if slot.waits else "dim"))
                continue
            last = "" if slot.last is None else f"{slot.last:.5g}"
            table.add_row(
                where,
                run_id(self.sweep, slot.run),
                duration_text(slot.running_s),
                str(slot.rows),
                last,
                f"ending: {slot.ending}" if slot.ending else config_text(slot.config, 120),
            )
        if self._began_s is None and any(slot.run is not None for slot in snapshot.slots):
            self._began_s = time.monotonic()
        return Group(Text(""), table, self._progress(snapshot.sweep), *self._notes(snapshot))

    def _progress(self, sweep: SweepView) -> Any:
        from rich.text import Text

        counts = sweep.counts
        done = sum(counts.get(state, 0) for state in ("completed", "pruned", "failed", "cancelled"))
        if self._done_at_start is None:
            self._done_at_start = done
        total = self._total(sweep.run_cap)
        text = Text()
        if total:
            width = 30
            filled = min(width, int(width * done / total))
            text.append("━" * filled, style="green")
            text.append("━" * (width - filled), style="dim")
            text.append(f" {done}/{total} runs")
        else:
            text.append(f"{done} run{'s' if done != 1 else ''} done")
        parts = [f"{counts[s]} {s}" for s in ("pruned", "failed") if counts.get(s)]
        if sweep.best is not None and sweep.best_run is not None:
            where = (
                run_id(self.sweep, sweep.best_run)
                if sweep.best_trial is None
                else f"trial {sweep.best_trial}"
            )
            parts.append(f"best {sweep.best:.5g} ({where})")
        fresh = done - self._done_at_start
        if self._began_s is not None and total and fresh >= 2 and done < total:
            elapsed = time.monotonic() - self._began_s
            parts.append(f"about {duration_text(elapsed / fresh * (total - done))} left")
        text.append("".join(f" · {part}" for part in parts))
        return text

    def _total(self, run_cap: int | None) -> int:
        """How many runs there will be, 0 when that is not known."""
        from sweep.core.sizes import trials

        count, confirm = trials(self.spec, run_cap) or 0, self.spec.confirm
        fresh = min(count, confirm.top) * confirm.seeds if confirm is not None else 0
        return count * self.spec.replicates + fresh

    def _notes(self, snapshot: Snapshot) -> list[Any]:
        from rich.text import Text

        notes = [snapshot.draining] if snapshot.draining else []
        if snapshot.sweep.state != "active":
            notes.append(f"the sweep is {snapshot.sweep.state}")
        return [Text(note, style="yellow") for note in notes]
