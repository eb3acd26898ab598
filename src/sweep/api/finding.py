"""From what a person types (an ID, a unique prefix of one, `latest`) to a sweep or a run."""

from __future__ import annotations

from collections.abc import Iterable

from sweep.core.errors import SweepError
from sweep.core.names import run_id
from sweep.stores import Store

LATEST = "latest"


class NotFound(SweepError, LookupError):
    """No such sweep or run, or several; the message says what there is."""


def find_sweep(store: Store, text: str) -> str:
    """The sweep that `text` names. Raises NotFound."""
    known = store.sweeps()
    if not known:
        raise NotFound("no sweep has been recorded here; run `sweep create FILE` first")
    if text == LATEST:
        return known[-1]
    _refuse_run(text, known)
    try:
        return _unique(text, known, "sweep", "`sweep ls` lists them")
    except NotFound:
        if named := _called(store, text, known):
            raise NotFound(f"{text!r} is the name of a sweep; this wants its ID: {named}") from None
        raise


def find_run(store: Store, text: str) -> tuple[str, int]:
    """(sweep, run number) of the run that `text` names: `<sweep>-<run>`, `latest` (the run that was added last to the
    latest sweep), or `latest-3`, or a run number of the latest sweep. Raises NotFound."""
    prefix, dash, number = text.rpartition("-")
    if text == LATEST or (text.isdigit() and text not in store.sweeps()):
        sweep = find_sweep(store, LATEST)
        runs = _runs(store, sweep)
        if text == LATEST:
            if not runs:
                raise NotFound(f"sweep {sweep} has no runs yet; `sweep agent {sweep}` starts them")
            return sweep, runs[-1]
        return sweep, _pick(sweep, runs, int(text))
    if dash and number.isdigit():
        sweep = find_sweep(store, prefix)
        return sweep, _pick(sweep, _runs(store, sweep), int(number))
    sweep = find_sweep(store, text)
    runs = _runs(store, sweep)
    if len(runs) == 1:
        return sweep, runs[0]
    raise NotFound(
        f"{text} is sweep {sweep}, which has {len(runs)} runs; name one, such as {run_id(sweep, 0)}"
    )


def find_either(store: Store, text: str) -> tuple[str, int | None]:
    """(sweep, None) or (sweep, run number), whichever `text` names; `latest` is a sweep here. Raises NotFound."""
    known = store.sweeps()
    _, dash, number = text.rpartition("-")
    named = dash and number.isdigit() and text not in known
    if named or (text.isdigit() and text not in known):
        return find_run(store, text)
    return find_sweep(store, text), None


def _called(store: Store, text: str, known: list[str]) -> str:
    """IDs of the latest sweeps with this name, the latest first; '' where there is none."""
    from sweep.core.rows import SWEEP_KEY, decode_sweep

    rows = (
        (sweep, store.read_index(sweep, SWEEP_KEY).rows.get(SWEEP_KEY)) for sweep in reversed(known[-200:])
    )
    found = [sweep for sweep, row in rows if row is not None and decode_sweep(row).name == text]
    return " or ".join(found[:3]) if text else ""


def _refuse_run(text: str, known: list[str]) -> None:
    """Tell somebody who names a run where a sweep is wanted what the sweep is called."""
    prefix, _, number = text.rpartition("-")
    if not prefix or not number.isdigit() or text in known:
        return
    matches = [name for name in known if name.startswith(prefix)]
    sweep = LATEST if prefix == LATEST else matches[0] if len(matches) == 1 else None
    if sweep is not None:
        raise NotFound(f"{text} is a run; this wants its sweep: {sweep}")


def _runs(store: Store, sweep: str) -> range:
    from sweep.api.reading import count_runs

    return range(count_runs(store, sweep))


def _pick(sweep: str, runs: range, number: int) -> int:
    if number not in runs:
        last = f"the last one is {run_id(sweep, runs[-1])}" if runs else "it has none yet"
        raise NotFound(f"sweep {sweep} has no run {number}; {last}")
    return number


def _unique(text: str, known: Iterable[str], what: str, hint: str) -> str:
    names = list(known)
    if text in names:
        return text
    matches = [name for name in names if name.startswith(text)] if text else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NotFound(f"{text!r} could be any of {', '.join(matches[:5])}: type more of the {what}'s ID")
    import difflib

    near = difflib.get_close_matches(text, names, n=1)
    also = f"did you mean {near[0]}? " if near else ""
    raise NotFound(f"there is no {what} {text!r}; {also}{hint}")
