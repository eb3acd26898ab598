"""What runs used of their nodes over time: prepared once, and drawn by both renderers.

Unlike the other pictures it is there only where something was sampled. The rule of this file is that of `prepare`: what is shown is
decided once, and the two functions at the end decide nothing but how it looks.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from sweep.analysis import text
from sweep.analysis.figures import theme
from sweep.analysis.figures.packing import pack
from sweep.analysis.figures.pictures import Picture
from sweep.analysis.figures.web_layout import BUTTONS, base_layout, plain_axis, safe
from sweep.analysis.table import SweepTable
from sweep.core.samples import Samples
from sweep.core.views import AttemptView, RunView

MOST_RUNS = 60
"""So many runs are drawn; of more an even sample."""
_OTHERS = "other agents"

_PANELS = (
    ("cpu.percent", "CPU (% of one)", ""),
    ("memory.bytes", "memory", "B"),
    ("disk.read_bytes_per_s", "disk reads", "B/s"),
    ("disk.written_bytes_per_s", "disk writes", "B/s"),
    ("gpu.percent", "GPU busy (%)", ""),
    ("gpu.memory_bytes", "GPU memory", "B"),
    ("gpu.watts", "GPU power (W)", ""),
    ("gpu.celsius", "GPU temperature (°C)", ""),
    ("node.cpu_watts", "node's CPUs (W)", ""),
    ("node.sent_bytes_per_s", "node sent", "B/s"),
    ("node.received_bytes_per_s", "node received", "B/s"),
)
"""Column, what stands at its axis, and the unit that gets a prefix."""
_PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


class UsageLine(msgspec.Struct, frozen=True):
    """One attempt; a gap (NaN) where something was not measured."""

    run: int
    attempt: int
    agent: str
    group: int
    """Number of its colour: agents in the order in which they joined, all after the fourth alike."""
    xs: tuple[float, ...]
    ys: tuple[float, ...]


class UsagePanel(msgspec.Struct, frozen=True):
    label: str
    lines: tuple[UsageLine, ...]


class UsagePicture(Picture, kw_only=True):
    time_label: str = ""
    panels: tuple[UsagePanel, ...] = ()
    agents: tuple[str, ...] = ()
    """By group."""


def sample_of_runs(runs: list[RunView]) -> list[RunView]:
    """Those that are drawn, of the runs that have started."""
    started = [run for run in runs if run.attempts]
    if len(started) <= MOST_RUNS:
        return started
    return [started[number * len(started) // MOST_RUNS] for number in range(MOST_RUNS)]


def prepare_usage(table: SweepTable) -> UsagePicture | None:
    """None where nothing was sampled."""
    drawn = [
        (run, attempt, table.samples[run.run][attempt.attempt])
        for run in table.runs
        for attempt in run.attempts
        if attempt.attempt in table.samples.get(run.run, {})
    ]
    if not drawn:
        return None
    names = list(dict.fromkeys(attempt.agent for _, attempt, _ in drawn))
    groups = {name: min(at, len(theme.HIGHLIGHTS) - 1) for at, name in enumerate(names)}
    begin_s = min(samples.began_s for *_, samples in drawn)
    length_s = max(samples.began_s + samples.times[-1] - begin_s for *_, samples in drawn)
    unit_s, unit = text.time_unit(length_s)
    panels = []
    for column, label, bytes_unit in _PANELS:
        found = [(r, a, s) for r, a, s in drawn if any(map(math.isfinite, s.columns.get(column, ())))]
        if found:
            top = max(v for *_, s in found for v in s.columns[column] if math.isfinite(v))
            prefix, scale = _prefix(top) if bytes_unit else ("", 1.0)
            shown = f"{label} ({prefix}{bytes_unit})" if bytes_unit else label
            lines = [_line(r, a, s, column, groups[a.agent], begin_s, unit_s, scale) for r, a, s in found]
            panels.append(UsagePanel(shown, tuple(lines)))
    shared = any(samples.gpu_shared for *_, samples in drawn)
    runs = len({run.run for run, *_ in drawn})
    total = sum(1 for run in table.runs if run.attempts)
    agents = [
        *names[: len(theme.HIGHLIGHTS) - 1],
        *([_OTHERS] if len(names) >= len(theme.HIGHLIGHTS) else []),
    ]
    return UsagePicture(
        key="usage",
        title="What runs used",
        subtitle=f"One line per attempt of {text.plural(runs, 'run')}, coloured by agent",
        note=" ".join(
            filter(
                None,
                (
                    f"{runs} of {total:,} runs are drawn: those of an even sample that were long enough to be looked at."
                    if runs < total
                    else "",
                    "GPUs are shared: what is said of them is the devices', not attributable to one run."
                    if shared
                    else "",
                    "What is not shown was not measured.",
                ),
            )
        ),
        time_label=f"time since the first of them started ({unit})",
        panels=tuple(panels),
        agents=tuple(agents),
    )


def _line(
    run: RunView,
    attempt: AttemptView,
    samples: Samples,
    column: str,
    group: int,
    begin_s: float,
    unit_s: float,
    scale: float,
) -> UsageLine:
    xs = tuple((samples.began_s - begin_s + at) / unit_s for at in samples.times)
    ys = tuple(value / scale for value in samples.columns[column])
    return UsageLine(run.run, attempt.attempt, attempt.agent, group, xs, ys)


def _prefix(top: float) -> tuple[str, float]:
    return next(((name, size) for name, size in _PREFIXES if top >= size), ("", 1.0))


# --- how it looks ----------------------------------------------------------------------------------------------


def draw(picture: UsagePicture, sheet: Any) -> None:
    """On a sheet of `png`."""
    columns, tall, below = 2, 1.5, 0.55
    rows = math.ceil(len(picture.panels) / columns)
    sheet.size(tall * rows + below * (rows - 1), 0.7)
    named: dict[str, Any] = {}
    for number in range(rows):
        axes = sheet.row(columns, 0.75, (tall + below) * number, tall)
        panels = picture.panels[number * columns : (number + 1) * columns]
        for spare in axes[len(panels) :]:
            spare.set_visible(False)
        for ax, panel in zip(axes, panels, strict=False):
            for line in panel.lines:
                dot = "o" if len(line.xs) == 1 else None
                colour = theme.HIGHLIGHTS[line.group]
                (drawn,) = ax.plot(
                    line.xs, line.ys, color=colour, linewidth=0.9, alpha=0.75, marker=dot, ms=3
                )
                named.setdefault(picture.agents[line.group], drawn)
            ax.set_ylabel(panel.label, fontsize=8)
            ax.set_ylim(0, None if any(max(line.ys) > 0 for line in panel.lines) else 1)
            ax.set_xlim(left=0)
            if number == rows - 1:
                ax.set_xlabel(picture.time_label)
    if len(named) > 1:
        place = (1 - 0.015, 1 - 0.33 / sheet.height_in)
        sheet.figure.legend(
            list(named.values()), list(named), loc="upper right", ncols=len(named), bbox_to_anchor=place
        )


def web_figures(picture: UsagePicture) -> list[dict[str, Any]]:
    """As figures of `web`, one a panel."""
    return [_web_figure(picture, panel, legend=not at) for at, panel in enumerate(picture.panels)]


def _web_figure(picture: UsagePicture, panel: UsagePanel, *, legend: bool) -> dict[str, Any]:
    seen: set[int] = set()
    traces = []
    for line in panel.lines:
        agent = safe(picture.agents[line.group])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(line.xs) > 1 else "markers",
                "x": pack(line.xs),
                "y": pack(line.ys),
                "line": {"color": theme.HIGHLIGHTS[line.group], "width": 1.2},
                "marker": {"color": theme.HIGHLIGHTS[line.group], "size": 5},
                "opacity": 0.8,
                "name": agent,
                "legendgroup": agent,
                "showlegend": legend and len(picture.agents) > 1 and line.group not in seen,
                "meta": "runs",
                "customdata": [line.run] * len(line.xs),
                "hovertemplate": f"run {line.run}, attempt {line.attempt}, {safe(line.agent)}<br>%{{y:.4g}}<extra></extra>",
            }
        )
        seen.add(line.group)
    layout = base_layout(
        height=250,
        xaxis=plain_axis(picture.time_label) | {"rangemode": "tozero"},
        yaxis=plain_axis(panel.label) | {"rangemode": "tozero"},
    )
    return {"data": traces, "layout": layout, "buttons": BUTTONS}
