"""The agent: the process that works a sweep off on one machine."""

from __future__ import annotations

import time
from pathlib import Path

from sweep.agents.checkpoints import EVERY_S
from sweep.agents.functions import Function
from sweep.agents.gpus import NotEnough
from sweep.agents.guardian import become_subreaper
from sweep.agents.leading import Lead, Leading, MakeDriver
from sweep.agents.lives import Lives, Work
from sweep.agents.loop import Loop
from sweep.agents.node import End, Node
from sweep.agents.options import Options
from sweep.agents.place import Place
from sweep.agents.session import Timing
from sweep.agents.view import SlotLine, Snapshot, View
from sweep.core.spec import SweepSpec
from sweep.core.until import Until
from sweep.stores import Store, StoreError, SweepRemoved

REJOIN_S = 5.0
"""Pause before a store that failed is asked again to let this agent in after it lost its lease."""


def run_agent(
    store: Store,
    sweep: str,
    spec: SweepSpec,
    node: Node,
    *,
    root: Path,
    workdir: Path,
    view: View,
    make_driver: MakeDriver | None,
    count: int | None = None,
    until: Until | None = None,
    timing: Timing | None = None,
    wandb: bool = False,
    function: Function | None = None,
    place: Place | None = None,
    checkpoint_every_s: float = EVERY_S,
    avoid_busy: bool = False,
) -> End:
    """Work `sweep` off on this node until it has ended. `root`: where run folders are made; `workdir`: where runs start;
    `wandb`: runs find the stand-in for wandb; `function`: runs call it, in forks of this process, instead of the spec's program;
    `until`: when this agent must be gone, by `time.monotonic`; `make_driver`: None for an agent that never leads.
    `place`: what is known of that folder and of the code there; `checkpoint_every_s`: how often, at most, a checkpoint folder is kept
    in the store while its run is at work, where the spec asks for that; `avoid_busy`: no slot is offered while another program computes
    on its GPUs.

    When the agent's lease is lost (the machine was frozen or cut off), its runs are ended and it joins anew.
    """
    become_subreaper()
    options = Options(
        count=count,
        until=until,
        timing=timing or Timing(),
        checkpoint_every_s=checkpoint_every_s,
        avoid_busy=avoid_busy,
    )
    work = Work(
        sweep=sweep,
        spec=spec,
        node=node,
        workdir=workdir,
        view=view,
        make_driver=make_driver,
        place=place,
    )
    lives, rejoining = Lives(store, work, root, options, wandb, function), False
    while True:
        loop = lives.begin()
        try:
            loop.run(lives.joined)
        except StoreError as error:
            if not rejoining or isinstance(error, SweepRemoved):
                raise
            view.say(f"{error} (trying again)", "error")
            time.sleep(REJOIN_S)
            continue
        end = lives.over(loop)
        if end is not None:
            return end
        rejoining = True


__all__ = [
    "End",
    "Lead",
    "Leading",
    "Loop",
    "MakeDriver",
    "Node",
    "NotEnough",
    "Options",
    "Place",
    "SlotLine",
    "Snapshot",
    "Timing",
    "View",
    "Work",
    "run_agent",
]
