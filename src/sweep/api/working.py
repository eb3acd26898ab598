"""`sweep.create` and `sweep.agent`: a sweep made and worked off from Python.

The rule of this file: when a function returns, the calling process is as it was: signal handlers, environment, folder, children.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import msgspec

from sweep.agents import End, Node, Options, run_agent
from sweep.agents.functions import check_program, name_of
from sweep.agents.options import asked
from sweep.agents.together import Together
from sweep.agents.trees import is_subreaper, stop_being_subreaper
from sweep.agents.warming import supported
from sweep.api.failing import nothing_succeeded
from sweep.api.finding import find_sweep
from sweep.api.places import run_root
from sweep.api.placing import find_place
from sweep.api.reading import load_sweep_view, load_views
from sweep.api.seeds import draw_seed
from sweep.api.several import Finder
from sweep.api.sweeps import create_sweep
from sweep.api.telling import Lines, SeveralLines, tell
from sweep.controller import driver_maker
from sweep.core.errors import SweepError
from sweep.core.spec import SweepSpec
from sweep.stores import Store, open_store


def create(
    spec: Mapping[str, Any] | str | os.PathLike[str],
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
) -> str:
    """Record a sweep; its ID.

    `spec`: the content of a `sweep.yaml` as a mapping, or the path of one. A mapping needs neither `program` nor `command`
    when its runs call a function (`sweep.agent(id, function)`). `store`: an open store, the URL or path of one, or None for what
    the command line would take. `name`: in place of the spec's own.

    Records what `sweep create` records. Warnings go to standard error. Raises SpecError with everything that is wrong with
    the spec, and StoreError.
    """
    from sweep.spec import load, parse_dict  # slow to import, and agents do without

    path = None if isinstance(spec, Mapping) else Path(spec)
    if isinstance(spec, Mapping):
        parsed = parse_dict(
            spec if name is None else {**spec, "name": name}, draw_seed=draw_seed, needs_program=False
        )
    else:
        parsed = load(Path(spec), draw_seed=draw_seed)
    made = parsed.spec if name is None else msgspec.structs.replace(parsed.spec, name=name)
    for problem in parsed.warnings:
        tell(f"warning: {problem}")
    with _opened(store, create=True) as opened:
        created = create_sweep(
            opened, made, parsed.source, path, cwd=Path.cwd(), environ=os.environ, argv=sys.argv
        )
    for warning in created.warnings:
        tell(f"warning: {warning}")
    return created.sweep


@overload
def agent(
    id: str,
    function: Callable[[], object] | None = None,
    *,
    all: Literal[False] = False,
    wait: Literal[False] = False,
    count: int | None = None,
    until: str | None = None,
    slots: int | None = None,
    gpus: str | Iterable[int | str] | None = None,
    store: Store | str | Path | None = None,
    links: Mapping[str, str | os.PathLike[str]] | None = None,
) -> End: ...


@overload
def agent(
    id: list[str] | tuple[str, ...] | None = None,
    function: Callable[[], object] | None = None,
    *,
    all: bool = False,
    wait: bool = False,
    count: int | None = None,
    until: str | None = None,
    slots: int | None = None,
    gpus: str | Iterable[int | str] | None = None,
    store: Store | str | Path | None = None,
    links: Mapping[str, str | os.PathLike[str]] | None = None,
) -> dict[str, End]: ...


def agent(
    id: str | list[str] | tuple[str, ...] | None = None,
    function: Callable[[], object] | None = None,
    *,
    all: bool = False,
    wait: bool = False,
    count: int | None = None,
    until: str | None = None,
    slots: int | None = None,
    gpus: str | Iterable[int | str] | None = None,
    store: Store | str | Path | None = None,
    links: Mapping[str, str | os.PathLike[str]] | None = None,
) -> End | dict[str, End]:
    """Work sweep `id` off on this machine until it has ended or `count` runs are done; why it left.

    Several IDs, or `all` sweeps of the store that have not ended: as `sweep agent ID1 ID2` and `sweep agent --all`, with `wait` for
    those that are created later; then a dict, sweep -> why it left that.

    `function`: what each run calls, without arguments, in a fork of this process as it is now; its config is
    `sweep.init().config`. A run has succeeded when it returns and failed when it raises. Linux. None: the sweep's program is
    started, as by `sweep agent`. `slots`: at most so many runs at once; `gpus`: only these, or "none"; `store` as in `create`.
    `until`: be gone by then (`17:30`, `90m`), as `sweep agent --until`; the end of a Slurm job counts as well.
    `links`: where this machine has what the spec's `links` name, as `sweep agent --link`.

    In the main thread Ctrl-C lets the runs finish, a second one ends them (they start again later), a third kills them; SIGTERM
    ends them. The signal is then given to this process again, so that Ctrl-C ends in KeyboardInterrupt. In another thread signals
    are yours; `sweep stop ID` and `count` end the work.

    Raises SweepError (NotFound, SpecError, StoreError are ones) and ValueError for wrong arguments.
    """
    for number, what in ((count, "count"), (slots, "slots")):
        if number is not None and number < 1:
            raise ValueError(f"{what} must be at least 1, not {number}")
    names = [id] if isinstance(id, str) else None if id is None else list(id)
    _check_which(names, all, wait, function)
    places = {name: os.fspath(path) for name, path in (links or {}).items()}
    end: End | dict[str, End]
    with _opened(store) as opened:
        ids = list(dict.fromkeys(find_sweep(opened, name) for name in names or ()))
        if isinstance(id, str):
            end = _work(opened, ids[0], function, count, until, slots, _gpus(gpus), places)
            number = end.signal
        else:
            given = _options(count, until)
            end, number = _work_together(
                opened, None if all else ids, function, given, wait, slots, _gpus(gpus), places
            )
    if number:
        signal.raise_signal(number)
    return end


def _check_which(
    names: list[str] | None, every: bool, wait: bool, function: Callable[[], object] | None
) -> None:
    if every and names is not None:
        raise ValueError("all=True means every sweep: leave the IDs out, or all=True")
    if not every and not names:
        raise ValueError("name a sweep, several, or give all=True")
    if wait and not every:
        raise ValueError(
            "wait=True goes with all=True: an agent of sweeps that are named leaves when they have ended"
        )
    if every and function is not None:
        raise ValueError(
            "all=True starts the sweeps' own programs: name the sweeps whose runs call a function"
        )


def _work(
    store: Store,
    sweep: str,
    function: Callable[[], object] | None,
    count: int | None,
    until: str | None,
    slots: int | None,
    gpus: str | None,
    links: Mapping[str, str],
) -> End:
    views = load_views(store, sweep, ())
    if views.sweep.state == "ended":
        return End(f"the sweep has ended: {views.sweep.reason}")
    check_program(sweep, views.spec) if function is None else _check_function(function, views.spec)
    place, root = None, run_root(store)
    if function is None:
        place = find_place(store, views, root=root, cwd=Path.cwd(), environ=os.environ, links=links, say=tell)
    node = Node.plan(views.spec, slots=slots, gpus=gpus, environ=os.environ)
    view = Lines(sweep, views.spec)
    view.begin(node)
    options = _options(count, until)
    with _parenthood():
        end = run_agent(
            store,
            sweep,
            views.spec,
            node,
            root=root,
            workdir=place.workdir if place is not None else Path.cwd(),
            place=place,
            view=view,
            make_driver=driver_maker(store, sweep, lambda text: view.say(text, "warning")),
            count=count,
            until=options.until,
            timing=options.timing,
            checkpoint_every_s=options.checkpoint_every_s,
            function=function,
        )
    _tell_failed(store, {sweep: end})
    return end


def _tell_failed(store: Store, ends: Mapping[str, End]) -> None:
    """Say what to do about sweeps in which nothing has succeeded."""
    failed = {sweep: end.failed for sweep, end in ends.items() if end.failed}
    for sweep in failed.keys() & set(store.sweeps()) if failed else ():
        if words := nothing_succeeded(load_sweep_view(store, sweep), failed[sweep]):
            tell(f"error: {words}")


def _work_together(
    store: Store,
    sweeps: list[str] | None,
    function: Callable[[], object] | None,
    options: Options,
    stays: bool,
    slots: int | None,
    gpus: str | None,
    links: Mapping[str, str],
) -> tuple[dict[str, End], int]:
    """`sweeps`: None for all. How it ended for each of them, and the signal that made an end of it, 0 for none."""
    if function is not None:
        for sweep in sweeps or ():
            _check_function(function, load_views(store, sweep, ()).spec)
    finder = Finder(
        store,
        SeveralLines,
        lambda text: tell(f"warning: {text}"),
        slots=slots,
        gpus=gpus,
        links=links,
        function=function,
    )
    works = list(finder.more(())) if sweeps is None else finder.named(sweeps)
    before = {sweep: End(f"the sweep has ended: {reason}") for sweep, reason in finder.ended.items()}
    if not works and not stays:
        return before, 0
    together = Together(
        store,
        finder.root,
        options,
        finder.sharing(),
        lambda text, level: tell(f"{level}: {text}"),
        function=function,
        more=finder.more if sweeps is None else None,
        stays=stays,
    )
    with _parenthood():
        number = together.run(works)
    _tell_failed(store, together.ends)
    return before | together.ends, number


@contextmanager
def _parenthood() -> Iterator[None]:
    """An agent adopts what its guards leave; afterwards this process is what it was."""
    was_subreaper = is_subreaper()
    try:
        yield
    finally:
        if not was_subreaper:
            stop_being_subreaper()


def _check_function(function: Callable[[], object], spec: SweepSpec) -> None:
    if not callable(function):
        raise TypeError(f"function must be callable, not {type(function).__name__}")
    if not supported():
        raise SweepError(
            "runs that call a Python function work on Linux only: put it into a script, and name that as `program`"
        )
    if spec.determinism == "strict":
        raise SweepError(
            f"the spec says `determinism: strict`, and what that sets takes effect only when an interpreter starts: "
            f"{name_of(function)} must stand in a script that the spec names as `program`"
        )


def _options(count: int | None, until: str | None) -> Options:
    return asked(os.environ, time.time(), time.monotonic(), count=count, until=until)


def _gpus(gpus: str | Iterable[int | str] | None) -> str | None:
    if gpus is None or isinstance(gpus, str):
        return gpus
    return ",".join(map(str, gpus)) or "none"


@contextmanager
def _opened(store: Store | str | Path | None, create: bool = False) -> Iterator[Store]:
    if store is None or isinstance(store, str | Path):
        url = os.environ.get("SWEEP_STORE") or None if store is None else str(store)
        with closing(open_store(url, Path.cwd(), create=create)) as opened:
            yield opened
    else:
        yield store
