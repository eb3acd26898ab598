"""Freeing what is not needed any more: checkpoints and output of ended runs, blobs and run folders that no sweep has, old
runs that were started by hand.

The rule of this file: first a plan, which touches nothing; then each thing is looked at once more, in the same transaction of the
store that takes it away, so that a run that was asked to go on in the meantime keeps all it has.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from sweep.api.blobs import BlobUse, checkpoint_blobs
from sweep.api.places import (
    AGENTS,
    LOCAL,
    RUNS,
    TRASH,
    Trash,
    folders_in,
    size_bytes,
    store_folder,
    stores_elsewhere,
)
from sweep.api.reading import load_views
from sweep.core import entries as e
from sweep.core.lifecycle import ENDED
from sweep.core.names import AGENT_LEASES, output_cache
from sweep.core.rows import Views, decode_run, run_key
from sweep.core.views import RunView
from sweep.provenance.unpacking import trees_in, unused
from sweep.stores import Store, StoreError, open_store
from sweep.stores.output import HEAD, RING

Kind = Literal["folders", "blobs", "checkpoints", "logs", "local", "code"]
BATCH = 100
"""So many things are taken away in one transaction."""
_REVIVES = (
    e.ResumeRequested,
    e.SweepReopened,
    e.SpecRevised,
    e.ExtendRequested,
    e.ConfirmRequested,
)
"""Entries after which runs that were cancelled wait again."""
_AGENT_LOG_S = 3600.0
"""Logs of agents that are gone are of use for so long at least."""
_SQLITE = b"SQLite format 3\0"


class Keep(msgspec.Struct, frozen=True):
    """Of each sweep, the checkpoints of so many runs stay: the best, or those that ended last."""

    which: Literal["best", "last"]
    count: int


class Item(msgspec.Struct, frozen=True):
    """One thing that could be freed. `sweep` and `run` for what belongs to a run; `name` of a blob or a removed sweep."""

    bytes: int
    path: Path | None = None
    sweep: str = ""
    run: int = -1
    name: str = ""
    blobs: tuple[str, ...] = ()
    """What of it is in the store."""
    caches: tuple[str, ...] = ()
    """The same, by name in its sweep."""


class Plan(msgspec.Struct, frozen=True):
    """What could be freed, by kind."""

    items: dict[Kind, list[Item]]
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


def plan_collection(
    store: Store,
    sweeps: Sequence[str],
    *,
    keep: Sequence[Keep] = (),
    local_age_s: float = 0.0,
    everywhere: bool = True,
    now_s: float | None = None,
) -> Plan:
    """What could be freed: of the ended runs of `sweeps`, and with `everywhere` what belongs to no sweep at all."""
    now = time.time() if now_s is None else now_s
    root = store_folder(store)
    items: dict[Kind, list[Item]] = {kind: [] for kind in get_args(Kind)}
    notes: list[str] = []
    if everywhere:
        items["folders"], notes = _removed_folders(store, root)
        items["blobs"] = _orphans(store)
        items["local"] = list(_old_local(root, now - local_age_s))
        items["logs"] = list(_agent_logs(store, root, now - _AGENT_LOG_S))
        items["code"] = [Item(size_bytes(tree), tree) for tree in trees_in(root)]
    for sweep in sweeps:
        views = load_views(store, sweep)
        kept = set[int]().union(*(_kept(views, rule) for rule in keep))
        sizes = store.blobs() if _keeps(views) else {}
        for run in views.runs:
            if run.state in ENDED:
                _add_run(items, root, run, run.run not in kept)
                items["logs"] += _kept_output(store, run)
                if sizes and run.run not in kept:
                    items["checkpoints"] += _in_store(store, run, sizes)
    return Plan(items, tuple(notes))


def collect(store: Store, plan: Plan, kinds: Collection[Kind]) -> bool:
    """Free these kinds of what is planned, as far as it may still be freed. Whether the store's file has shrunk as well.
    Raises StoreError, OSError."""
    trash = Trash(store_folder(store))
    trash.empty()
    use = BlobUse(store)
    for kind in kinds:
        for part in _parts(plan.items[kind]):
            if kind == "blobs":
                _free_blobs(store, use, part)
            elif kind == "code":
                _free_code(trash, part)
            else:
                with store.batch():
                    for item in _still_free(store, kind, part):
                        if item.path is not None:
                            trash.put(item.path)
                        store.delete_blobs(item.blobs)
                        for name in item.caches:
                            store.put_cache(item.sweep, name, b"")
            trash.empty()
    return store.compact()


# --- what there is ---------------------------------------------------------------------------------------------


def _add_run(items: dict[Kind, list[Item]], root: Path, run: RunView, checkpoint: bool) -> None:
    folder = root / RUNS / run.sweep / str(run.run)
    saved = folder / "checkpoint"
    if checkpoint and saved.is_dir() and not saved.is_symlink() and any(saved.iterdir()):
        items["checkpoints"].append(Item(size_bytes(saved), saved, run.sweep, run.run))
    for log in sorted(folder.glob("output-*.log")):
        if log.stat().st_size:
            items["logs"].append(Item(size_bytes(log), log, run.sweep, run.run))


def _keeps(views: Views) -> bool:
    """Whether checkpoints of the sweep may be in the store."""
    return views.spec.checkpoints == "store" or any(a.checkpoint for run in views.runs for a in run.attempts)


def _in_store(store: Store, run: RunView, sizes: dict[str, int]) -> list[Item]:
    """What the store keeps of a run's checkpoints."""
    found = sorted(checkpoint_blobs(store, run.sweep, run.run, run.attempts) & sizes.keys())
    total = sum(sizes[digest] for digest in found)
    return [Item(total, sweep=run.sweep, run=run.run, blobs=tuple(found))] if found else []


def _kept_output(store: Store, run: RunView) -> Iterator[Item]:
    """What the store keeps of what a run's attempts have printed."""
    for attempt in run.attempts:
        sizes: dict[str, int] = {}
        for place in range(HEAD + RING):
            name = output_cache(run.run, attempt.attempt, place)
            data = store.get_cache(run.sweep, name)
            if not data:
                break
            sizes[name] = len(data)
        if sizes:
            yield Item(sum(sizes.values()), sweep=run.sweep, run=run.run, caches=tuple(sizes))


def _kept(views: Views, rule: Keep) -> set[int]:
    """The runs of a sweep whose checkpoints `rule` keeps."""
    ended = [run for run in views.runs if run.state in ENDED]
    if rule.which == "last":
        ended.sort(key=lambda run: (run.attempts[-1].ended_s or 0.0) if run.attempts else 0.0)
    else:
        ended = [run for run in ended if run.objective is not None and run.state in ("completed", "pruned")]
        smallest = views.spec.metric is None or views.spec.metric.goal == "minimize"
        ended.sort(key=lambda run: run.objective or 0.0, reverse=smallest)
    return {run.run for run in ended[-rule.count :]} if rule.count else set()


def _removed_folders(store: Store, root: Path) -> tuple[list[Item], list[str]]:
    """Run folders of sweeps that are gone. Listed before the sweeps are, so that a new sweep's folder is not among them."""
    found = list(folders_in(root / RUNS))
    known = set(store.sweeps())
    if os.environ.get("SWEEP_FOLDER"):  # several stores may use it, and which they are is not known
        unknown = [folder for folder in found if folder.name not in known]
        note = f"run folders in {root} of sweeps that are not in this store are left alone: SWEEP_FOLDER may serve several stores"
        return [], [note] if unknown else []
    if not all(folder.name in known for folder in found):
        try:
            known |= _sweeps_of_neighbours(root, store.url)
        except StoreError as error:
            return [], [f"run folders that seem to belong to no sweep are left alone: {error}"]
    gone = [
        Item(size_bytes(folder), folder, name=folder.name) for folder in found if folder.name not in known
    ]
    left = root / TRASH
    return gone + ([Item(size_bytes(left))] if left.is_dir() else []), []


def _sweeps_of_neighbours(root: Path, url: str) -> set[str]:
    """The sweeps of other stores whose run folders lie beside ours: in the same folder, or on a server. Raises StoreError when
    one of them cannot be read."""
    found: set[str] = set()
    for path in sorted(root.iterdir()):
        if not path.is_file() or f"sqlite:///{path}" == url or not _is_sqlite(path):
            continue
        with contextlib.closing(open_store(str(path), root)) as other:
            found |= set(other.sweeps())
    for elsewhere in stores_elsewhere(root):
        if elsewhere != url:
            with contextlib.closing(open_store(elsewhere, root)) as other:
                found |= set(other.sweeps())
    return found


def _is_sqlite(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False


def _orphans(store: Store) -> list[Item]:
    use = BlobUse(store)
    use.refresh()
    return [Item(size, name=digest) for digest, size in use.orphans().items()]


def _old_local(root: Path, before_s: float) -> Iterator[Item]:
    """Runs that were started by hand and in whose folders nothing has been written since."""
    for folder in folders_in(root / LOCAL):
        if _last_change_s(folder) < before_s:
            yield Item(size_bytes(folder), folder)


def _agent_logs(store: Store, root: Path, before_s: float) -> Iterator[Item]:
    """Logs of agents in the background that are gone."""
    held = {lease.holder for lease in store.leases(AGENT_LEASES)}
    for log in sorted((root / AGENTS).glob("*.log")):
        if log.stem not in held and _last_change_s(log) < before_s:
            yield Item(size_bytes(log), log)


def _last_change_s(path: Path) -> float:
    times = [0.0]
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            times.append(each.lstat().st_mtime)
    return max(times)


# --- taking it away --------------------------------------------------------------------------------------------


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _free_blobs(store: Store, use: BlobUse, part: Iterable[Item]) -> None:
    use.refresh()  # the long look, which holds nobody up
    with store.batch():
        use.refresh()
        store.delete_blobs({item.name for item in part} & use.orphans().keys())


def _free_code(trash: Trash, part: Iterable[Item]) -> None:
    for item in part:
        assert item.path is not None
        with unused(item.path) as free:
            if free:
                trash.put(item.path)


def _still_free(store: Store, kind: Kind, part: Iterable[Item]) -> Iterator[Item]:
    """Those of `part` that may be taken away now. Call it inside of a batch."""
    if kind == "folders":
        known = set(store.sweeps())
        yield from (item for item in part if item.name not in known)
        return
    by_sweep: dict[str, list[Item]] = {}
    for item in part:
        by_sweep.setdefault(item.sweep, []).append(item)
    for sweep, items in by_sweep.items():
        if not sweep:
            yield from items
            continue
        ended = _ended_now(store, sweep, {item.run for item in items})
        yield from (item for item in items if item.run in ended)


def _ended_now(store: Store, sweep: str, runs: Iterable[int]) -> set[int]:
    """Which of `runs`, of which each has ended once, nobody has asked to go on. The index may lag behind."""
    found, cancelled = set[int](), set[int]()
    upto = store.position(sweep)
    for run in runs:
        index = store.read_index(sweep, run_key(run))
        upto = min(upto, index.upto)
        if (row := index.rows.get(run_key(run))) is not None:
            view = decode_run(row)
            found |= {run} if view.state in ENDED else set()
            cancelled |= {run} if view.state == "cancelled" else set()
    for recorded in store.read(sweep, upto):
        if isinstance(recorded.entry, e.RetryRequested | e.NodeSetAside):
            found -= set(recorded.entry.runs)
        elif isinstance(recorded.entry, _REVIVES):
            found -= cancelled
    return found
