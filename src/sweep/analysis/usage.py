"""What runs and whole sweeps have used of machines: CPU time, GPU time, energy, memory, disks.

The rule of this file: what was not measured is None and is counted apart; it never becomes a zero in a sum. Every attempt counts,
however it ended.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sweep.analysis.history import same_name
from sweep.analysis.records import Record, length_s
from sweep.core.views import AttemptView, RunView

if TYPE_CHECKING:  # most listings show no samples
    from sweep.core.samples import Samples

FIELDS = (
    "cpu_s",
    "gpu_s",
    "energy_j",
    "memory_bytes",
    "read_bytes",
    "written_bytes",
    "gpu_percent",
    "gpu_memory_bytes",
    "gpu_celsius",
    "gpu_energy_j",
    "gpu_shared",
    "node_cpu_energy_j",
    "node_sent_bytes",
    "node_received_bytes",
    "samples",
)
"""What `usage` of a record has, of an attempt and of a run over all its attempts."""
_NOTHING: Record = dict.fromkeys(FIELDS)
_LARGEST = ("memory_bytes", "gpu_memory_bytes", "gpu_celsius", "gpu_shared")
_BARS = "▁▂▃▄▅▆▇█"
J_PER_KWH = 3.6e6


class Spent(msgspec.Struct, kw_only=True):
    """What several attempts have used together."""

    attempts: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """CPU time and energy of those of which it is known."""
    energy_j: float = 0.0
    gpu_s: float = 0.0
    no_cpu: int = 0
    """How many of them are not in these sums: nobody measured it."""
    no_energy: int = 0


def spent_by(attempts: Sequence[AttemptView], now_s: float) -> Spent:
    """What these, which have started, used together; one that has not ended counts up to `now_s` (Unix seconds; 0: no time)."""
    cpu_s = [one.cpu_s for one in attempts if one.cpu_s is not None]
    energy_j = [one.energy_j for one in attempts if one.energy_j is not None]
    return Spent(
        attempts=len(attempts),
        wall_s=sum([length_s(one, now_s) or 0.0 for one in attempts]),
        cpu_s=sum(cpu_s),
        energy_j=sum(energy_j),
        gpu_s=sum([one.gpu_s(now_s) for one in attempts if one.gpu_share]),
        no_cpu=len(attempts) - len(cpu_s),
        no_energy=len(attempts) - len(energy_j),
    )


def spent(runs: Iterable[RunView], now_s: float) -> dict[str, Spent]:
    """How the attempts that started have ended (`running`: not yet) -> what they have used; `total` is all of them and comes
    first. Whatever is asked of a run once more, each of its attempts counts."""
    by_outcome: dict[str, list[AttemptView]] = {}
    for run in runs:
        for attempt in run.attempts:
            if attempt.started_s is not None:
                by_outcome.setdefault(attempt.outcome or "running", []).append(attempt)
    found = {name: spent_by(attempts, now_s) for name, attempts in by_outcome.items()}
    return {"total": functools.reduce(together, found.values(), Spent()), **found}


def together(one: Spent, other: Spent) -> Spent:
    """The sum of both."""
    names = Spent.__struct_fields__
    return Spent(**{name: getattr(one, name) + getattr(other, name) for name in names})


def spent_record(found: Mapping[str, Spent]) -> Record:
    """As plain data; sums in which nothing was measured are null."""
    return {name: _spent_record(one) for name, one in found.items()}


def _spent_record(one: Spent) -> Record:
    measured = one.attempts - one.no_cpu, one.attempts - one.no_energy
    return {
        "attempts": one.attempts,
        "wall_s": round(one.wall_s, 3),
        "cpu_s": round(one.cpu_s, 3) if measured[0] else None,
        "gpu_s": round(one.gpu_s, 3),
        "energy_kwh": one.energy_j / J_PER_KWH if measured[1] else None,
        "cpu_not_measured": one.no_cpu,
        "energy_not_measured": one.no_energy,
    }


def usage_of(attempt: AttemptView, now_s: float | None) -> Record:
    """What an attempt has used, by FIELDS; None: not measured (`gpu_s` is known from its times)."""
    found = _NOTHING.copy() if attempt.usage is None else _NOTHING | msgspec.structs.asdict(attempt.usage)
    found["cpu_s"], found["energy_j"] = attempt.cpu_s, attempt.energy_j
    found["gpu_s"] = attempt.gpu_s(attempt.started_s or 0.0 if now_s is None else now_s)
    if found["memory_bytes"] is None:  # over before its first sample: the largest of its processes
        found["memory_bytes"] = attempt.maxrss_bytes or None
    return found


def usage_of_run(run: RunView, now_s: float | None) -> Record:
    """The same over all attempts of `run`: sums, of what is a level the largest, of the GPUs' busyness the last one's. A sum is None
    where an attempt that started was not measured."""
    started = [usage_of(attempt, now_s) for attempt in run.attempts if attempt.started_s is not None]
    if len(started) == 1:
        return started[0]
    found: Record = dict.fromkeys(FIELDS)
    for name in FIELDS if started else ():
        values = [one[name] for one in started]
        known = [value for value in values if value is not None]
        if name in _LARGEST:
            found[name] = max(known, default=None)
        elif name == "gpu_percent":
            found[name] = values[-1]
        elif len(known) == len(values):
            found[name] = math.fsum(known) if isinstance(known[0], float) else sum(known)
    return found


def usage_columns(runs: Sequence[RunView], now_s: float | None) -> dict[str, list[Any]]:
    """`usage.cpu_s` and its like -> its values, one a run."""
    rows = [usage_of_run(run, now_s) for run in runs]
    return {f"usage.{name}": [row[name] for row in rows] for name in FIELDS}


def sampled(samples: Samples, name: str) -> list[float | None]:
    """The values of one column, by either spelling of its name; None for what was not measured. Empty for an unknown one."""
    wanted = same_name(name)
    found = next((column for key, column in samples.columns.items() if same_name(key) == wanted), None)
    return [] if found is None else [None if math.isnan(value) else value for value in found]


def samples_record(attempt: int, samples: Samples) -> Record:
    """What an attempt used over time as plain data: `seconds` since its start, and a list for each column."""
    from sweep.core.samples import COLUMNS

    return {
        "attempt": attempt,
        "began_s": samples.began_s,
        "gpu_shared": samples.gpu_shared,
        "seconds": [round(at, 3) for at in samples.times],
        **{name: sampled(samples, name) for name in COLUMNS if name in samples.columns},
    }


# --- in words --------------------------------------------------------------------------------------------------


def spark(values: Sequence[float | None], width: int = 30, plain: bool = False) -> str:
    """A small picture of a curve, from zero up; a blank where nothing was measured. `plain`: in ASCII."""
    bars = ".:-=+*#%@" if plain else _BARS
    cells = []
    count = min(width, len(values))
    for cell in range(count):
        part = values[cell * len(values) // count : (cell + 1) * len(values) // count]
        known = [value for value in part if value is not None]
        cells.append(sum(known) / len(known) if known else None)
    top = max((cell for cell in cells if cell is not None), default=0.0)
    if top <= 0:
        return "".join(" " if cell is None else bars[0] for cell in cells)
    last = len(bars) - 1
    return "".join(" " if cell is None else bars[round(cell / top * last)] for cell in cells)


def size(count: float | None) -> str:
    """1.2 GB, 34 MB, 5.6 kB, 78 B; `not measured` for None."""
    if count is None:
        return "not measured"
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * least:
            return f"{count / least:.3g} {unit}"
    return f"{count:.0f} B"


def energy(joules: float | None) -> str:
    """2.1 kWh, 3.4 Wh, 120 J; `not measured` for None."""
    if joules is None:
        return "not measured"
    if joules >= 0.9995 * J_PER_KWH:
        return f"{three(joules / J_PER_KWH)} kWh"
    return f"{three(joules / 3600)} Wh" if joules >= 3600 else f"{three(joules)} J"


def hours(seconds: float) -> str:
    """Hours to three digits: `0.0123`, `1.25`, `312`; `<0.001` for less than that, and `0` for nothing alone."""
    value = seconds / 3600
    return "<0.001" if 0 < value < 0.001 else three(value)


def three(value: float) -> str:
    """To three digits, larger ones whole: 0.0123, 1.5, 210, 12,345."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def usage_lines(
    attempt: AttemptView, now_s: float, samples: Samples | None, plain: bool = False
) -> list[tuple[str, str]]:
    """(name, text) of what an attempt has used, for a person; with small curves where it was sampled."""
    used = usage_of(attempt, now_s)
    found = [
        ("CPU", _cpu(attempt, used, now_s), "cpu.percent"),
        ("memory", _memory(used), "memory.bytes"),
        ("disk", _disk(used), "disk.written_bytes_per_s"),
        ("network", _network(used), ""),
    ]
    if attempt.gpus:
        device = " (of the device, which others use too: not attributable)" if used["gpu_shared"] else ""
        found.append(("GPU", _gpu(used) + device, "gpu.percent"))
        found.append(("GPU energy", energy(used["gpu_energy_j"]) + device, "gpu.watts"))
    node = used["node_cpu_energy_j"]
    of_node = "" if node is None else " (of all the node's processors: not attributable)"
    found.append(("CPU energy", energy(node) + of_node, "node.cpu_watts"))
    if used["energy_j"] is not None and (used["gpu_shared"] or node is not None):
        found.append(("counted", f"{energy(used['energy_j'])}, its part in the sweep's energy", ""))
    curves = [
        spark(sampled(samples, key), 30, plain) if samples is not None and key else "" for *_, key in found
    ]
    return [
        (name, f"{text}  {curve}".rstrip() if curve.strip() else text)
        for (name, text, _), curve in zip(found, curves, strict=True)
    ]


def _cpu(attempt: AttemptView, used: Record, now_s: float) -> str:
    if used["cpu_s"] is None:
        return "not measured" if attempt.ended_s is not None else "not known yet"
    lasted_s = length_s(attempt, now_s)
    busy = f", {100 * used['cpu_s'] / lasted_s:.0f}% of one CPU" if lasted_s and attempt.ended_s else ""
    return f"{three(used['cpu_s'])} s{busy}"


def _memory(used: Record) -> str:
    return "not measured" if used["memory_bytes"] is None else f"{size(used['memory_bytes'])} at most"


def _disk(used: Record) -> str:
    if used["read_bytes"] is None:
        return "not measured"
    return f"{size(used['read_bytes'])} read, {size(used['written_bytes'])} written"


def _network(used: Record) -> str:
    own = "not measured (systems tell it by node only)"
    if used["node_sent_bytes"] is None:
        return own
    told = f"{size(used['node_sent_bytes'])} sent, {size(used['node_received_bytes'])} received"
    return f"{own}; the whole node meanwhile: {told}"


def _gpu(used: Record) -> str:
    percent = used["gpu_percent"]
    busy = "busyness not measured" if percent is None else f"{percent:.0f}% busy"
    hot = "" if used["gpu_celsius"] is None else f", {used['gpu_celsius']:.0f} °C at most"
    memory = used["gpu_memory_bytes"]
    taken = "memory not measured" if memory is None else f"{size(memory)} taken at most"
    return f"{busy}, {taken}{hot}"
