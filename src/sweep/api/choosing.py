"""From what a person types to several runs: names of runs, `best`, and ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sweep.api.finding import LATEST, NotFound, find_run, find_sweep
from sweep.api.reading import load_sweep_view
from sweep.core.names import run_id
from sweep.stores import Store

BEST = "best"
_RANGE = re.compile(r"(?:(?P<sweep>.+)-)?(?P<first>\d+)\.\.(?:(?P<again>.+)-)?(?P<last>\d+)")


def find_runs(store: Store, texts: Iterable[str]) -> list[tuple[str, int]]:
    """(sweep, run number) of all runs that these words name, each once, in their order.

    A word is whatever `find_run` takes; `best` (of the latest sweep) or `ID-best`; or a range, both ends included:
    `ID-3..7`, `3..7` of the latest sweep. Raises NotFound.
    """
    found: dict[tuple[str, int], None] = {}
    for text in texts:
        found.update(dict.fromkeys(_chosen(store, text)))
    return list(found)


def find_one(store: Store, text: str) -> tuple[str, int]:
    """The one run that `text` names: as in `find_runs`, but no range. Raises NotFound."""
    found = _chosen(store, text)
    if len(found) != 1:
        raise NotFound(f"{text} names {len(found)} runs; name one, such as {run_id(*found[0])}")
    return found[0]


def best_run(store: Store, text: str) -> tuple[str, int]:
    """The best run of the sweep that `text` names. Raises NotFound when it has none."""
    sweep = find_sweep(store, text)
    number = load_sweep_view(store, sweep).best_run
    if number is None:
        raise NotFound(f"sweep {sweep} has no best run: none has ended with a finite value of its metric")
    return sweep, number


def _chosen(store: Store, text: str) -> list[tuple[str, int]]:
    if text == BEST:
        return [best_run(store, LATEST)]
    if text.endswith(f"-{BEST}"):
        return [best_run(store, text.removesuffix(f"-{BEST}"))]
    if match := _RANGE.fullmatch(text):
        return _range(store, text, match)
    return [find_run(store, text)]


def _range(store: Store, text: str, match: re.Match[str]) -> list[tuple[str, int]]:
    sweep = find_sweep(store, match["sweep"] or LATEST)
    if match["again"] is not None and find_sweep(store, match["again"]) != sweep:
        raise NotFound(f"{text}: both ends of a range are runs of one sweep")
    first, last = int(match["first"]), int(match["last"])
    if first > last:
        raise NotFound(f"{text}: a range goes from the lower number to the higher one")
    for end in {first, last}:
        find_run(store, run_id(sweep, end))
    return [(sweep, number) for number in range(first, last + 1)]
