"""What `status`, `show` and `runs` say about what was used of machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sweep.analysis.usage import (
    J_PER_KWH,
    energy,
    hours,
    samples_record,
    size,
    spent,
    spent_record,
    three,
    usage_lines,
    usage_of_run,
)
from sweep.cli.common import speaks_utf8
from sweep.core.rows import Views
from sweep.core.views import AttemptView, RunView

if TYPE_CHECKING:
    from sweep.core.samples import Samples

HEADS = ("CPU-S", "MEMORY", "READ", "WRITTEN", "GPU-HOURS", "ENERGY")
_WORDS = {"running": "running now"}


def spent_of(views: Views) -> dict[str, Any]:
    """What the sweep has used, by how attempts ended, as plain data."""
    return spent_record(spent(views.runs, time.time()))


def print_spent(views: Views) -> None:
    """What the sweep has used in all and of its budgets; where attempts ended in several ways, apart."""
    found, limits = spent(views.runs, time.time()), views.spec.limits
    total = found.pop("total")
    budgets = (limits.gpu_hours, limits.cpu_hours, limits.energy_kwh)
    if not total.attempts and not any(budgets):
        return
    of_gpu, of_cpu, of_kwh = ("" if budget is None else f" of {budget:g}" for budget in budgets)
    parts = []
    if total.no_cpu < total.attempts or limits.cpu_hours is not None:
        parts.append(f"{hours(total.cpu_s)}{of_cpu} CPU-hours")
    if total.gpu_s or limits.gpu_hours is not None:
        parts.append(f"{hours(total.gpu_s)}{of_gpu} GPU-hours")
    if total.no_energy < total.attempts or limits.energy_kwh is not None:
        parts.append(f"{three(total.energy_j / J_PER_KWH)}{of_kwh} kWh")
    missing = _missing(total.no_cpu, total.no_energy, total.attempts)
    click.echo(f"  spent     {', '.join(parts) or 'nothing that was measured'}{missing}")
    for name, one in sorted(found.items(), key=lambda item: -item[1].wall_s) if len(found) > 1 else ():
        used = [f"{hours(one.cpu_s)} CPU-hours"] if one.no_cpu < one.attempts else ["CPU time not measured"]
        used += [f"{hours(one.gpu_s)} GPU-hours"] if total.gpu_s else []
        used += [energy(one.energy_j)] if one.no_energy < one.attempts else []
        many = f"{one.attempts} attempt{'s' if one.attempts != 1 else ''}"
        click.echo(f"            {_WORDS.get(name, name)}: {', '.join(used)} in {many}")


def _missing(no_cpu: int, no_energy: int, attempts: int) -> str:
    """What is not in the sums."""
    parts = []
    if no_cpu == attempts:
        parts += ["CPU time"] if attempts else []
    elif no_cpu:
        parts.append(f"CPU time of {no_cpu} of {attempts} attempts")
    if no_energy == attempts:
        parts += ["energy"] if attempts else []
    elif no_energy:
        parts.append(f"energy of {no_energy} of {attempts} attempts")
    return f" (not measured, or not yet: {', '.join(parts)})" if parts else ""


def sampled_records(samples: dict[int, Samples]) -> list[dict[str, Any]]:
    """As plain data, the first attempt first."""
    return [samples_record(attempt, found) for attempt, found in samples.items()]


def print_usage(attempt: AttemptView, samples: Samples | None) -> None:
    """What an attempt has used, with small curves."""
    if attempt.started_s is None:
        return
    for name, words in usage_lines(attempt, time.time(), samples, plain=not speaks_utf8()):
        click.echo(f"    {name:<10}{words}" if len(name) < 10 else f"    {name} {words}")


def usage_cells(runs: Sequence[RunView], now_s: float) -> list[tuple[str, ...]]:
    """The columns HEADS, one row a run; a dash for what was not measured."""
    rows = []
    for run in runs:
        used = usage_of_run(run, now_s)
        gpu_s = used["gpu_s"]
        cells = [
            None if used["cpu_s"] is None else f"{used['cpu_s']:.4g}",
            *(
                None if used[key] is None else size(used[key])
                for key in ("memory_bytes", "read_bytes", "written_bytes")
            ),
            None if gpu_s is None else hours(gpu_s),
            None if used["energy_j"] is None else energy(used["energy_j"]),
        ]
        rows.append(tuple("-" if cell is None else cell for cell in cells))
    return rows
