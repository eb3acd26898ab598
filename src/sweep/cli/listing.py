"""`sweep status` and `sweep show`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sweep.analysis.records import duration_s, iso_time, record
from sweep.api import find_sweep, load_views
from sweep.cli.best import best_words
from sweep.cli.common import command, json_option, kept, opened, print_json, store_option
from sweep.cli.results import has_result, print_result, seen_result, show_sweep, withheld
from sweep.cli.spending import print_spent, print_usage, sampled_records, spent_of
from sweep.cli.sweeps import shown_state, sweep_record
from sweep.cli.texts import config_text, duration_text, flat_config, local_text, number_text, print_map
from sweep.core.ran import code_of
from sweep.core.rows import Views
from sweep.core.views import AttemptView, RunView, nodes_aside

if TYPE_CHECKING:
    from sweep.core.samples import Samples

MOST_NAMED = 10


@command("status", "sweep status latest")
@click.argument("sweep_id", metavar="ID")
@store_option
@json_option
def status_command(sweep_id: str, store_url: str | None, as_json: bool) -> None:
    """Show how far sweep ID is: runs by state, the best so far, who works on it, what runs now."""
    with opened(store_url) as store:
        views = kept(load_views(store, find_sweep(store, sweep_id)))
        found = seen_result(store, views, "status") if has_result(views) else None
    if as_json:
        agents = [
            {
                "id": a.agent,
                "host": a.host,
                "pid": a.pid,
                "slots": a.slots,
                "gpus": list(a.gpus),
                "state": a.state,
                "aside": a.aside,
                "kept": [msgspec.to_builtins(slot) for slot in a.kept],
            }
            for a in views.agents
        ]
        running = [record(run, time.time()) for run in views.runs if run.state in ("assigned", "running")]
        print_json(
            {
                **sweep_record(views.sweep),
                "gpu_s": round(_gpu_s(views), 3),
                "spent": spent_of(views),
                "agents": agents,
                "running": running,
                **({} if found is None else {"result": msgspec.to_builtins(found)}),
            }
        )
        return
    print_status(views)
    if found is not None and (views.sweep.confirming or views.sweep.state == "ended"):
        print_result(found, "  ")


def _counts(views: Views) -> str:
    """How many runs are in each state; the failed ones by what made them fail."""
    why = Counter(error_class(run) for run in views.runs if run.state == "failed")
    failed = f" ({', '.join(f'{n} {name}' for name, n in why.most_common())})" if why else ""
    return ", ".join(
        f"{n} {state}{failed if state == 'failed' else ''}" for state, n in views.sweep.counts.items()
    )


def error_class(run: RunView) -> str:
    """What made a failed run fail, in one word."""
    last = run.attempts[-1] if run.attempts else None
    return (last.error_class or last.outcome or "") if last is not None else ""


def _gpu_s(views: Views) -> float:
    """GPU-seconds of all attempts, those that run counted up to now."""
    now = time.time()
    live = (run.attempts[-1].gpu_s(now) for run in views.runs if run.state == "running")
    return views.sweep.gpu_s + sum(live)


def print_status(views: Views) -> None:
    sweep, spec = views.sweep, views.spec
    title = f"sweep {sweep.sweep}" + (f" ({sweep.name})" if sweep.name else "")
    told = sweep.reason in ("", sweep.state)  # "is paused: paused" says nothing more
    click.echo(f"{title} is {shown_state(sweep)}" + ("" if told else f": {sweep.reason}"))
    for name, text in (("tags", ", ".join(sweep.tags)), ("note", sweep.note)):
        if text:
            click.echo(f"  {name:<10}{text}")
    from sweep.core.sizes import trials

    total = trials(spec, sweep.run_cap)
    cap = "" if total is None else f" of {total:,}"
    engine = f" ({spec.engine})" if spec.engine else ""
    click.echo(f"  search    {spec.method}{engine}, {sweep.trials}{cap} trials proposed, seed {spec.seed}")
    click.echo(f"  runs      {_counts(views) or 'none yet'}")
    print_spent(views)
    if sweep.best_run is not None and sweep.best is not None and spec.metric is not None:
        click.echo(f"  best      {best_words(sweep, spec.metric.name)}")
    elif spec.metric is not None and any(run.state == "completed" for run in views.runs):
        click.echo(f"  best      none: no run has ended with a finite value of {spec.metric.name}")
    if tainted := [run.id for run in views.runs if run.tainted]:
        more = f" and {len(tainted) - MOST_NAMED} more" if len(tainted) > MOST_NAMED else ""
        click.echo(f"  tainted   data changed while these ran: {', '.join(tainted[:MOST_NAMED])}{more}")
    if sweep.state == "active" and not any(agent.state == "joined" for agent in views.agents):
        click.echo(f"  agent     none is at work; `sweep agent {sweep.sweep}` starts one")
    for agent in views.agents:
        if agent.state == "joined":
            click.echo(
                f"  agent     {agent.agent} on {agent.host}, {agent.slots} slots, since {local_text(agent.joined_s)}"
            )
            for slot in agent.kept:
                click.echo(f"  slot      {agent.agent}: {slot.words}")
    for host, why in nodes_aside(views.agents).items() if sweep.state != "ended" else ():
        click.echo(f"  set aside {host}: {why}")
    now = time.time()
    for run in views.runs:
        if run.state in ("assigned", "running"):
            click.echo(
                f"  running   {run.id} for {duration_text(duration_s(run, now) or 0.0)}: {config_text(run.config, 90)}"
            )


@command("show", "sweep show latest-3")
@click.argument("run", metavar="RUN")
@store_option
@json_option
def show_command(run: str, store_url: str | None, as_json: bool) -> None:
    """Show everything that is recorded about RUN: config, seed, attempts, outcome, command, summary.

    Of a sweep's ID it shows how far that is, and its result.
    """
    from sweep.analysis.grading import grade
    from sweep.analysis.usage import usage_of
    from sweep.api.choosing import find_one
    from sweep.api.reading import read_samples
    from sweep.cli.grounds import print_grounds

    with opened(store_url) as store:
        if show_sweep(store, run, as_json):
            return
        sweep, number = find_one(store, run)
        views = load_views(store, sweep, (number,))
        rows = sum(chunk.count for chunk in store.read_history(sweep, number))
        [view] = views.runs
        samples = read_samples(store, view)
    found = withheld(record(view, time.time()), views)
    nodes = {agent.agent: agent.record for agent in views.agents}
    code = code_of(views, view)
    graded = grade(views, view)
    if as_json:
        ran_on = nodes.get(view.attempts[-1].agent, {}) if view.attempts else {}
        again = [msgspec.to_builtins(one) for one in view.reproduced]
        used = [{"attempt": one.attempt, **usage_of(one, time.time())} for one in view.attempts]
        print_json(
            {
                **found,
                "reproduced": again,
                "reproducible": None if graded is None else msgspec.to_builtins(graded),
                "data": [msgspec.to_builtins(one) for one in view.data],
                "used": [msgspec.to_builtins(one) for one in view.used],
                "history_rows": rows,
                "code": code,
                "node": ran_on,
                "attempt_usage": used,
                "sampled": sampled_records(samples),
            }
        )
        return
    reason = f" ({view.reason})" if view.reason else ""
    click.echo(f"run {view.id} is {view.state}{reason}")
    fields = [
        ("tags", ", ".join(view.tags)),
        ("note", view.note.replace("\n", "\n" + " " * 12)),
        ("trial", f"{view.trial}, replicate {view.replicate}"),
        ("seed", view.seed),
        ("objective", number_text(view.objective)),
        ("history", f"{rows} row{'s' if rows != 1 else ''}"),
        ("started", found["started"]),
        ("ended", found["ended"]),
        ("took", None if found["duration_s"] is None else duration_text(found["duration_s"])),
        ("code", _code_text(code)),
    ]
    for name, value in fields:
        if value not in (None, ""):
            click.echo(f"  {name:<10}{value}")
    print_grounds(view, graded)
    for one in view.reproduced:
        click.echo(f"  again     {one.verdict}, {iso_time(one.at_s)}: {one.report.get('reason', '')}")
    for use in view.used:
        click.echo(f"  used      artifact {use.asked}: {use.name}:v{use.version}, {use.digest[:12]}")
    print_map("config", dict(flat_config(view.config)))
    print_map("defaults of the program", dict(flat_config(view.defaults)))
    print_map("summary", found["summary"])
    for attempt in view.attempts:
        _print_attempt(attempt, nodes.get(attempt.agent, {}), samples.get(attempt.attempt))


def _code_text(code: Mapping[str, Any]) -> str:
    """`tree 1a2b3c4d5e6f, commit 0f1e2d3c4b5a with changes, 42 files`."""
    if not code:
        return ""
    git = code.get("git") or {}
    changed = " with changes" if git.get("dirty") else ""
    commit = f", commit {git['commit'][:12]}{changed}" if git.get("commit") else ""
    whole = "" if code.get("complete") else ", not whole (see `sweep show --json`)"
    files = f"{code['files']} file{'s' if code['files'] != 1 else ''}"
    return f"tree {code['tree'][:12]}{commit}, {files}{whole}"


def _print_attempt(attempt: AttemptView, node: dict[str, Any], samples: Samples | None) -> None:
    outcome = attempt.outcome or "not ended yet"
    click.echo(f"  attempt {attempt.attempt}: {outcome}" + (f" ({attempt.reason})" if attempt.reason else ""))
    gpus = f", GPUs {', '.join(attempt.gpus)}" if attempt.gpus else ""
    if attempt.host:
        click.echo(f"    on        {attempt.host}, slot {attempt.slot}{gpus}, process {attempt.pid}")
    hardware, python = node.get("hardware", {}), node.get("python", {})
    if hardware and python:
        cpu = hardware.get("cpu", {})
        cores = f"{cpu.get('cores_usable', '?')} cores of {cpu.get('model', 'unknown')}"
        click.echo(f"    node      Python {python.get('version')}, {cores}, {hardware.get('os')}")
    if attempt.exit_code is not None:
        error = f", {attempt.error_class}" if attempt.error_class not in ("", "exit", "signal") else ""
        click.echo(f"    exit      {attempt.exit_code}{error}")
    if attempt.gpu_share:
        spent = attempt.gpu_s(time.time()) / 3600
        click.echo(f"    spent     {spent:.3g} GPU-hours on {attempt.gpu_share:g} GPUs")
    print_usage(attempt, samples)
    if attempt.command:
        import shlex

        click.echo(f"    command   {shlex.join(attempt.command)}")
    if attempt.folder:
        click.echo(f"    folder    {attempt.folder}")
    if attempt.checkpoint:
        click.echo(f"    kept      its checkpoint, in the store: {attempt.checkpoint[:12]}")
    for line in attempt.tail.rstrip().splitlines():
        click.echo(f"    | {line}")
