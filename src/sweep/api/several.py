"""What an agent of several sweeps works on: each sweep that can be worked on here, with its node, its place and its view."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from sweep.agents import Node, NotEnough, View, Work
from sweep.agents.functions import Function, check_program
from sweep.agents.node import whole
from sweep.api.places import run_root
from sweep.api.placing import find_place
from sweep.api.reading import load_views
from sweep.controller import driver_maker
from sweep.core.errors import SweepError
from sweep.core.rows import SWEEP_KEY, Views, decode_sweep
from sweep.core.sharing import Sharing
from sweep.core.spec import SweepSpec
from sweep.stores import Store, StoreError


class Shown(View, Protocol):
    """Where an agent shows what it does for one of them."""

    def begin(self, node: Node, views: Views) -> None:
        """It is about to work on it."""
        ...


MakeView = Callable[[str, SweepSpec], Shown]


class Finder:
    """Makes of a sweep what an agent must know to work on it."""

    def __init__(
        self,
        store: Store,
        make_view: MakeView,
        say: Callable[[str], None],
        *,
        slots: int | None = None,
        gpus: str | None = None,
        cpus: float | None = None,
        leads: bool = True,
        links: Mapping[str, str] | None = None,
        function: Function | None = None,
    ) -> None:
        """`slots`, `gpus`, `cpus`: what the machine gives to all of them; `leads`: the agent may be their controller; `links`: where
        this machine has what specs' `links` name; `function`: what runs call in place of the sweeps' programs; `say`: a warning that
        is of no sweep that is worked on."""
        self.store, self.root = store, run_root(store)
        self._make_view, self._say = make_view, say
        self._slots, self._gpus, self._cpus, self._leads = slots, gpus, cpus, leads
        self._links, self._function = dict(links or {}), function
        self.left_alone: dict[str, str] = {}
        """sweep -> why it cannot be worked on here."""
        self.ended: dict[str, str] = {}
        """sweep -> why it had ended when it was asked for."""

    def sharing(self) -> Sharing:
        """The slots of this machine, for all sweeps. Raises NotEnough."""
        cpus, gpus = whole(self._gpus, os.environ, self._cpus)
        return Sharing(cpus, [gpu.uuid for gpu in gpus], self._slots)

    def named(self, sweeps: Iterable[str]) -> list[Work]:
        """Those that have not ended. Raises SweepError when one of them cannot be worked on here, or a link is none of theirs."""
        works = [work for sweep in sweeps if (work := self._work(sweep)) is not None]
        for name in self._links:
            if works and not any(name in work.spec.links for work in works):
                raise SweepError(f"--link {name}=…: none of these sweeps names such a link")
        return works

    def more(self, known: Collection[str]) -> Iterator[Work]:
        """Sweeps of the store that have not ended and are not among `known`. Raises StoreError."""
        for sweep in self.store.sweeps():
            if sweep in known or sweep in self.left_alone:
                continue
            row = self.store.read_index(sweep, SWEEP_KEY).rows.get(SWEEP_KEY)
            if row is None or decode_sweep(row).state == "ended":
                continue
            try:
                work = self._work(sweep)
            except StoreError:
                raise
            except SweepError as error:
                self.left_alone[sweep] = str(error)
                self._say(f"sweep {sweep} is left alone: {error}")
                continue
            if work is not None:
                yield work

    def _work(self, sweep: str) -> Work | None:
        views = load_views(self.store, sweep, ())
        if views.sweep.state == "ended":
            self.ended[sweep] = views.sweep.reason
            return None
        if self._function is None:
            check_program(sweep, views.spec)
        node = self._plan(sweep, views)
        view = self._make_view(sweep, views.spec)
        workdir, found = Path.cwd(), None
        if self._function is None:
            found = find_place(
                self.store,
                views,
                root=self.root,
                cwd=workdir,
                environ=os.environ,
                links={name: path for name, path in self._links.items() if name in views.spec.links},
                say=lambda text: view.say(text, "info"),
            )
            workdir = found.workdir
        view.begin(node, views)
        make_driver = driver_maker(self.store, sweep, lambda text: view.say(text, "warning"))
        return Work(
            sweep=sweep,
            spec=views.spec,
            node=node,
            workdir=workdir,
            place=found,
            view=view,
            make_driver=make_driver if self._leads else None,
        )

    def _plan(self, sweep: str, views: Views) -> Node:
        for slots in dict.fromkeys((self._slots, None)):  # it need not be able to have all of them
            try:
                return Node.plan(
                    views.spec, slots=slots, gpus=self._gpus, environ=os.environ, cpus=self._cpus
                )
            except NotEnough as error:
                problem = error
        raise NotEnough(f"sweep {sweep}: {problem}")
