"""`sweep agent ID1 ID2 …` and `sweep agent --all`: one agent for several sweeps."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from sweep.agents import End, Node, NotEnough, Options, Work
from sweep.agents.functions import check_program
from sweep.agents.leaving import announcement
from sweep.agents.node import whole
from sweep.agents.together import Together
from sweep.api import load_outcome, load_views
from sweep.api.places import run_root
from sweep.api.placing import NoPlace, find_place
from sweep.cli.board import Board
from sweep.cli.main import UserMistake
from sweep.cli.working import GAVE_UP, exit_code, parse_links, signal_code
from sweep.controller import driver_maker
from sweep.core.errors import SweepError
from sweep.core.index import SWEEP_KEY, Views, decode_sweep
from sweep.core.sharing import Sharing
from sweep.stores import Store


def work_together(
    store: Store,
    sweeps: Sequence[str],
    options: Options,
    *,
    every: bool,
    stays: bool,
    slots: int | None,
    gpus: str | None,
    cpus: float | None,
    wandb: bool,
    leads: bool,
    links: Sequence[str],
    on_joined: Callable[[str], None] | None,
) -> int:
    """Be an agent of all these `sweeps`, or with `every` of all that have not ended; returns the exit code. `stays`: it waits for
    more. The rest as `sweep.cli.working.work`."""
    with Board(on_joined) as board:
        finder = _Finder(store, board, slots, gpus, cpus, leads, parse_links(links))
        if every:
            works = list(finder.more(()))
        else:
            works = [work for sweep in sweeps if (work := finder.work(sweep)) is not None]
            finder.check_links(works)
        if not works and not stays:
            board.line("no sweep is active" if every else "all of them have ended")
            return GAVE_UP if finder.left_alone else 0
        if not works:
            if on_joined is not None:
                raise UserMistake("no sweep is active; an agent that waits for one cannot be detached")
            board.line("no sweep is active; waiting for one (Ctrl-C ends this)")
        if options.until is not None:
            now_s, unix_s = time.monotonic(), time.time()
            for text in {announcement(options.until, work.spec.limits, now_s, unix_s) for work in works}:
                board.line(text)
        gc.freeze()  # what is imported stays: not to be looked at again and again
        together = Together(
            store,
            finder.root,
            options,
            Sharing(*finder.machine(), slots),
            board.say,
            wandb=wandb,
            more=finder.more if every else None,
            stays=stays,
        )
        number = together.run(works)
    return _finish(store, together.ends, number, board)


class _Finder:
    """Makes of a sweep what an agent must know to work on it."""

    def __init__(
        self,
        store: Store,
        board: Board,
        slots: int | None,
        gpus: str | None,
        cpus: float | None,
        leads: bool,
        links: dict[str, str],
    ) -> None:
        self.store, self.board, self.root = store, board, run_root(store)
        self._slots, self._gpus, self._cpus, self._leads, self._links = slots, gpus, cpus, leads, links
        self.left_alone: dict[str, str] = {}
        """sweep -> why it cannot be worked on here."""

    def machine(self) -> tuple[float, list[str]]:
        """What all sweeps share here: CPUs, and GPUs by UUID."""
        try:
            cpus, gpus = whole(self._gpus, os.environ, self._cpus)
        except NotEnough as error:
            raise UserMistake(str(error)) from None
        return cpus, [gpu.uuid for gpu in gpus]

    def more(self, known: Collection[str]) -> Iterator[Work]:
        """Sweeps that have not ended and are not among `known`. Raises StoreError."""
        for sweep in self.store.sweeps():
            if sweep in known or sweep in self.left_alone:
                continue
            row = self.store.read_index(sweep, SWEEP_KEY).rows.get(SWEEP_KEY)
            if row is None or decode_sweep(row).state == "ended":
                continue
            try:
                work = self.work(sweep)
            except (UserMistake, NoPlace) as error:
                self.left_alone[sweep] = str(error)
                self.board.say(f"sweep {sweep} is left alone: {error}", "warning")
                continue
            if work is not None:
                yield work

    def work(self, sweep: str) -> Work | None:
        """None, with a word about it, when it has ended. Raises UserMistake or NoPlace when it cannot be worked on here."""
        views = load_views(self.store, sweep, ())
        if views.sweep.state == "ended":
            self.board.line(f"sweep {sweep} has ended: {views.sweep.reason}")
            return None
        try:
            check_program(sweep, views.spec)
        except SweepError as error:
            raise UserMistake(str(error)) from None
        node = self._plan(sweep, views)
        view = self.board.of(sweep, views.spec)
        place = find_place(
            self.store,
            views,
            root=self.root,
            cwd=Path.cwd(),
            environ=os.environ,
            links={name: path for name, path in self._links.items() if name in views.spec.links},
            say=lambda text: view.say(text, "info"),
        )
        view.begin(node, views)
        store, leads = self.store, self._leads
        return Work(
            sweep=sweep,
            spec=views.spec,
            node=node,
            workdir=place.workdir,
            place=place.record,
            view=view,
            make_driver=driver_maker(store, sweep, lambda text: view.say(text, "warning")) if leads else None,
        )

    def _plan(self, sweep: str, views: Views) -> Node:
        for slots in dict.fromkeys((self._slots, None)):  # it need not be able to have all of them
            try:
                return Node.plan(
                    views.spec, slots=slots, gpus=self._gpus, environ=os.environ, cpus=self._cpus
                )
            except NotEnough as error:
                problem = error
        raise UserMistake(f"sweep {sweep}: {problem}")

    def check_links(self, works: Sequence[Work]) -> None:
        """Raise UserMistake for a --link that no sweep names."""
        for name in self._links:
            if works and not any(name in work.spec.links for work in works):
                raise UserMistake(f"--link {name}=…: none of these sweeps names such a link")


def _finish(store: Store, ends: dict[str, End], number: int, board: Board) -> int:
    """The last words about each sweep, and the exit code."""
    codes = []
    for sweep, end in ends.items():
        view = board.of(sweep, None)
        if sweep in store.sweeps():
            view.finish(load_outcome(store, sweep))
            codes.append(exit_code(end, sweep, view))
    if GAVE_UP in codes:
        return GAVE_UP
    return signal_code(number)
