"""The page: one self-contained `index.html` per sweep that needs no network.

The rule of this file: a page is a function of the table alone (no clock, no environment), everything that comes from a
run or a spec is escaped, and a content security policy forbids the page to load anything.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import resources
from typing import Any

import msgspec

from sweep.analysis import text
from sweep.analysis.figures import theme, web
from sweep.analysis.figures.pictures import Picture, Pictures
from sweep.analysis.groups import means_of_runs, seed_parts
from sweep.analysis.records import duration_s, flatten, iso_time
from sweep.analysis.summary import Summary, summary
from sweep.analysis.table import ABSENT, SweepTable
from sweep.core.space import Parameter
from sweep.core.views import RunView

MOST_TABLE_BYTES = 1_500_000
# plotly.js compiles the programs of parallel coordinates at run time, which is what 'unsafe-eval' is for.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
)


def render(table: SweepTable, pictures: Pictures) -> str:
    """The whole page."""
    data = {
        "figures": web.figures(pictures),
        "states": {state: style.colour for state, style in theme.STATES.items()},
    }
    runs, left_out = _runs(table)
    data["runs"] = runs
    name = table.spec.name or table.sweep.name or table.sweep.sweep
    body = [
        _header(table, pictures, name),
        "<main>",
        *(_picture(picture) for picture in _in_order(pictures)),
        _run_section(left_out),
        "</main>",
    ]
    return shell(f"{name} · {table.sweep.sweep}", body, data, _asset("page.js"))


def shell(title: str, body: Iterable[str], data: Any, script: str) -> str:
    """A page that needs nothing but itself. `data` is in the element `data` for the `script`, which has plotly."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        f"<style>{_asset('page.css')}</style></head><body>",
        *body,
        f'<script type="application/json" id="data">{_json(data)}</script>',
        f"<script>{_plotly()}</script>",
        f"<script>{script}</script>",
        "</body></html>",
    ]
    return "\n".join(parts)


def _in_order(pictures: Pictures) -> Iterable[Picture]:
    more = (pictures.confirmed, pictures.expected, pictures.usage)
    first = (pictures.importance, pictures.best, pictures.curves, pictures.parallel, pictures.slices)
    return (*first, *(picture for picture in more if picture is not None))


# --- header ----------------------------------------------------------------------------------------------------


def _header(table: SweepTable, pictures: Pictures, name: str) -> str:
    facts = summary(table)
    sweep = table.sweep
    engine = f" by {table.spec.engine}" if table.spec.engine else ""
    about = [f"{table.spec.method}{engine}"]
    if table.metric is not None:
        about.append(f"{table.metric}, {table.direction}")
    if sweep.created_s:
        about.append(f"created {(iso_time(sweep.created_s) or '')[:16].replace('T', ' ')} UTC")
    if sweep.reason:
        about.append(sweep.reason)
    links = [f'<a href="#{picture.key}">{_text(_link(picture))}</a>' for picture in _in_order(pictures)]
    return "\n".join(
        [
            '<header class="top"><div>',
            f'<h1>{_text(name)}<span class="state">{_text(sweep.state)}</span></h1>',
            f'<p class="about"><span class="id">{_text(sweep.sweep)}</span> · {_text(" · ".join(about))}</p>',
            _description(table),
            _facts(table, facts),
            _best_config(facts),
            f'<nav>{"".join(links)}<a href="#runs">Runs</a></nav>',
            "</div></header>",
        ]
    )


def _link(picture: Picture) -> str:
    return "Importance" if picture.key == "importance" else picture.title


def _description(table: SweepTable) -> str:
    return f'<p class="about">{_text(table.spec.description)}</p>' if table.spec.description else ""


def _facts(table: SweepTable, facts: Summary) -> str:
    best = "–" if facts.best_objective is None else text.number(facts.best_objective, 5)
    where = ""
    if facts.best_run is not None:
        where = f"run {facts.best_run}"
        if facts.best_replicates > 1:
            where = f"trial {facts.best_trial}, mean of {facts.best_replicates}"
    counts = ", ".join(f"{count:,} {state}" for state, count in facts.counts.items())
    items = [
        (f"Best {table.metric}" if table.metric else "Best", best, where),
        ("Trials", f"{facts.trials:,}", ""),
        ("Runs", f"{facts.runs:,}", counts),
        ("Mean time of a completed run", text.duration(facts.mean_duration_s), ""),
        ("Run time in total", text.duration(facts.total_time_s), ""),
        ("From first start to last end", text.duration(facts.wall_time_s), ""),
    ]
    shown = "".join(
        f"<div><dt>{_text(label)}</dt><dd>{_text(value)} <small>{_text(more)}</small></dd></div>"
        for label, value, more in items
    )
    return f'<dl class="facts">{shown}</dl>'


def _best_config(facts: Summary) -> str:
    if facts.best_config is None:
        return ""
    cells = "".join(
        f"<div><span>{_text(key)}</span><code>{_text(text.shorten(text.value(item), 80))}</code></div>"
        for key, item in flatten(facts.best_config).items()
    )
    return f'<h2>Best config</h2><div class="columns">{cells}</div><br>'


# --- sections --------------------------------------------------------------------------------------------------


def _picture(picture: Picture) -> str:
    parts = [f'<section id="{picture.key}"><h2>{_text(picture.title)}</h2>']
    if picture.empty:
        parts.append(f'<p class="empty">{_text(picture.empty)}</p>')
    else:
        many = " many" if picture.key in ("slices", "usage") else ""
        hint = (
            " Drag along an axis to select trials; the table of runs follows."
            if picture.key.startswith("par")
            else ""
        )
        parts.append(f'<p class="subtitle">{_text(picture.subtitle + ("." if hint else "") + hint)}</p>')
        parts.append(f'<div class="scroll"><div class="plots{many}"></div></div>')
        if picture.note:
            parts.append(f'<p class="note">{_text(picture.note)}</p>')
    return "".join(parts) + "</section>"


def _run_section(left_out: int) -> str:
    more = (
        f"The last {left_out:,} runs are not on this page; sweep runs --format csv has all."
        if left_out
        else ""
    )
    note = f'<p class="note">{_text(more)}</p>' if more else ""
    return (
        '<section id="runs"><h2>Runs</h2><div class="tools">'
        '<input id="search" type="search" placeholder="Find in all columns" aria-label="Find in all columns">'
        '<span id="count"></span><button id="reset" hidden>Show all</button></div>'
        '<div class="scroll"><table class="runs"><thead></thead><tbody></tbody></table></div>'
        f'<p><button class="more" id="more" hidden>Show more</button></p>{note}</section>'
    )


def _runs(table: SweepTable) -> tuple[dict[str, Any], int]:
    """The run table's columns and rows (the first two are run and trial), and how many runs did not fit."""
    parts, means = seed_parts(table), means_of_runs(table)
    columns = [
        {"label": "run", "kind": "number"},
        {"label": "trial", "kind": "number"},
        *([{"label": "replicate", "kind": "number"}, {"label": "seed", "kind": "text"}] if parts else []),
        {"label": "state", "kind": "state"},
        {"label": table.metric or "objective", "kind": "objective"},
        *([{"label": f"mean {table.metric or 'objective'} of its config", "kind": "text"}] if parts else []),
        {"label": "time", "kind": "seconds"},
        *({"label": p.name, "kind": _kind(table, p)} for p in table.parameters),
        {"label": "reason", "kind": "text"},
    ]
    rows: list[list[Any]] = []
    size = 0
    for run in table.runs:
        row = _run_row(table, run, parts, means)
        size += len(msgspec.json.encode(row)) + 1
        if size > MOST_TABLE_BYTES:
            break
        rows.append(row)
    best = table.best
    return {
        "columns": columns,
        "rows": rows,
        "sort": 5 if parts else 3,
        "descending": table.goal == "maximize",
        "best": min((run.run for run in best.runs), default=None) if best else None,
    }, len(table.runs) - len(rows)


def _kind(table: SweepTable, parameter: Parameter) -> str:
    values = (row.value(parameter) for row in table.trials)
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return "number" if plain else "text"


def _run_row(table: SweepTable, run: RunView, parts: dict[int, str], means: dict[int, str]) -> list[Any]:
    flat: list[Any] = [run.run, run.trial]
    if parts:
        part = parts[run.run]
        flat.extend((run.replicate, f"fresh, {part}" if run.purpose == "confirm" else part))
    flat.extend((run.state, run.objective))
    if parts:
        flat.append(means.get(run.run, ""))
    flat.append(duration_s(run))
    for parameter in table.parameters:
        item = table.value(run, parameter)
        number = isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 2**53
        flat.append(item if number else ("" if item is ABSENT else text.shorten(text.value(item), 120)))
    flat.append(text.shorten(" ".join(run.reason.split()), 160))
    return flat


# --- pieces ----------------------------------------------------------------------------------------------------


def _text(words: str) -> str:
    return html.escape(words)


def _json(data: Any) -> str:
    """JSON that cannot end the script element that it stands in; NaN becomes null."""
    return msgspec.json.encode(data).decode("utf-8").replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")
