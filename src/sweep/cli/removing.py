"""`sweep rm` and `sweep gc`: both show what would go, then ask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sweep.api import find_sweep
from sweep.cli.common import command, confirmed, json_option, opened, print_json, store_option, yes_option
from sweep.cli.texts import print_table

if TYPE_CHECKING:
    from sweep.api.collecting import Keep, Kind, Plan

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would go.")


# --- rm --------------------------------------------------------------------------------------------------------


@command("rm", "sweep rm latest")
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@yes_option
@dry_run_option
@store_option
@json_option
def rm_command(names: Sequence[str], yes: bool, dry_run: bool, store_url: str | None, as_json: bool) -> None:
    """Remove each sweep ID with everything recorded about it: journal, history, run folders, code that no other needs.

    It cannot be undone; `sweep export ID --out FILE` keeps a copy. Refused while agents work on it.
    """
    from sweep.api.removing import plan_removal, remove

    with opened(store_url) as store:
        sweeps = list(dict.fromkeys(find_sweep(store, name) for name in names))
        plans = [plan_removal(store, sweep) for sweep in sweeps]
        if not as_json:
            rows = [
                (
                    plan.sweep.sweep,
                    plan.sweep.name,
                    plan.sweep.state,
                    str(sum(plan.sweep.counts.values())),
                    size_text(plan.folder_bytes),
                    size_text(plan.blob_bytes),
                )
                for plan in plans
            ]
            print_table(("ID", "NAME", "STATE", "RUNS", "FOLDERS", "CODE"), rows)
        question = f"remove {'this sweep' if len(plans) == 1 else f'these {len(plans)} sweeps'} for good?"
        done = not dry_run and confirmed(question, yes)
        for sweep in sweeps if done else ():
            remove(store, sweep)
            if not as_json:
                click.echo(f"sweep {sweep} is removed", err=True)
        if done:
            store.compact()
    if as_json:
        found = [
            {"id": p.sweep.sweep, "removed": done, "folder_bytes": p.folder_bytes, "blob_bytes": p.blob_bytes}
            for p in plans
        ]
        print_json(found)


# --- gc --------------------------------------------------------------------------------------------------------

_WORDS: dict[Kind, tuple[str, str]] = {
    "folders": ("run folders of removed sweeps", ""),
    "blobs": ("recorded files that no sweep needs", ""),
    "checkpoints": ("checkpoints of ended runs", "--checkpoints or --keep best 1"),
    "logs": ("output of ended runs and agents", "--logs"),
    "local": ("runs started by hand, without sweep", "--local 30d"),
    "code": ("recorded code, unpacked and not in use", "--code"),
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class _Age(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions only
    """`30d`, `12h`."""

    name = "AGE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]{1,9})([smhdw])", str(value))
        if found is None:
            self.fail(f"{value!r} is no age: write 30d, 12h or 2w", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@command("gc", "sweep gc --keep best 3 --logs")
@click.argument("names", metavar="[ID]...", nargs=-1)
@click.option("--checkpoints", is_flag=True, help="Free the checkpoints of ended runs.")
@click.option(
    "--keep",
    type=(click.Choice(["best", "last"]), click.IntRange(0)),
    multiple=True,
    metavar="best|last K",
    help="Free checkpoints, but not those of the K best runs of each sweep, or of the K that ended last.",
)
@click.option(
    "--logs",
    is_flag=True,
    help="Free the output of ended runs, here and in the store, and logs of agents that are gone.",
)
@click.option(
    "--code",
    is_flag=True,
    help="Free recorded code that agents have unpacked on this machine and nobody uses.",
)
@click.option(
    "--local",
    "local_age_s",
    type=_Age(),
    metavar="AGE",
    help="Free runs started by hand whose folders have not changed for so long: 30d, 12h.",
)
@yes_option
@dry_run_option
@store_option
@json_option
def gc_command(
    names: Sequence[str],
    checkpoints: bool,
    keep: Sequence[tuple[str, int]],
    logs: bool,
    code: bool,
    local_age_s: float | None,
    yes: bool,
    dry_run: bool,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Free disk space: shows what could go and how large it is, and asks before it does what was chosen.

    Without options only what belongs to no sweep goes. With IDs, only what belongs to these sweeps. Runs that have not ended
    keep everything, and agents may be at work meanwhile. A run that is tried again without its checkpoint starts over.
    """
    from sweep.api.collecting import collect, plan_collection

    wanted: dict[Kind, bool] = {
        "folders": not names,
        "blobs": not names,
        "checkpoints": checkpoints or bool(keep),
        "logs": logs,
        "local": local_age_s is not None and not names,
        "code": code and not names,
    }
    kinds = [kind for kind, chosen in wanted.items() if chosen]
    with opened(store_url) as store:
        sweeps = list(dict.fromkeys(find_sweep(store, name) for name in names)) or store.sweeps()
        plan = plan_collection(
            store, sweeps, keep=_rules(keep), local_age_s=local_age_s or 0.0, everywhere=not names
        )
        if not as_json:
            _show(plan, kinds)
        total = sum(item.bytes for kind in kinds for item in plan.items[kind])
        some = any(plan.items[kind] for kind in kinds)
        done = some and not dry_run and confirmed(f"free {size_text(total)}?", yes)
        shrunk = collect(store, plan, kinds) if done else True
    if as_json:
        print_json(_records(plan, kinds, done))
    elif done:
        click.echo(f"freed {size_text(total)}", err=True)
        if not shrunk:
            click.echo("the store's file shrinks when gc runs while no agent is at work", err=True)
    elif not some:
        click.echo("nothing to free", err=True)


def _rules(keep: Sequence[tuple[str, int]]) -> list[Keep]:
    from sweep.api.collecting import Keep

    return [Keep("best" if which == "best" else "last", count) for which, count in keep]


def _show(plan: Plan, kinds: Sequence[Kind]) -> None:
    rows = []
    for kind, (what, option) in _WORDS.items():
        found = plan.items[kind]
        if found:
            them = "them" if len(found) != 1 else "it"
            chosen = "goes" if kind in kinds else f"stays ({option} frees {them})" if option else "stays"
            size = size_text(sum(item.bytes for item in found))
            rows.append((what, f"{len(found):,}", size, chosen))
    if rows:
        print_table(("WHAT", "HOW MANY", "SIZE", ""), rows)
    for note in plan.notes:
        click.echo(note, err=True)


def _records(plan: Plan, kinds: Sequence[Kind], done: bool) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "what": what,
            "count": len(plan.items[kind]),
            "bytes": sum(item.bytes for item in plan.items[kind]),
            "chosen": kind in kinds,
            "freed": done and kind in kinds,
        }
        for kind, (what, _) in _WORDS.items()
    ]


def size_text(size_bytes: float) -> str:
    """`0 B`, `812 B`, `4.1 kB`, `2.3 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return (
                f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"
            )
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
