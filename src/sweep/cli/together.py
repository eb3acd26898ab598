"""`sweep agent ID1 ID2 …` and `sweep agent --all`: one agent for several sweeps."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

from sweep.agents import End, Options
from sweep.agents.leaving import announcement
from sweep.agents.together import Together
from sweep.api import load_outcome
from sweep.api.several import Finder
from sweep.cli.board import Board
from sweep.cli.main import UserMistake
from sweep.cli.working import GAVE_UP, exit_code, parse_links, signal_code
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
        finder = Finder(
            store,
            board.of,
            lambda text: board.say(text, "warning"),
            slots=slots,
            gpus=gpus,
            cpus=cpus,
            leads=leads,
            links=parse_links(links),
        )
        works = list(finder.more(())) if every else finder.named(sweeps)
        for sweep, reason in finder.ended.items():
            board.line(f"sweep {sweep} has ended: {reason}")
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
            finder.sharing(),
            board.say,
            wandb=wandb,
            more=finder.more if every else None,
            stays=stays,
        )
        number = together.run(works)
    return _finish(store, together.ends, number, board)


def _finish(store: Store, ends: dict[str, End], number: int, board: Board) -> int:
    """The last words about each sweep, and the exit code."""
    codes = []
    for sweep, end in ends.items():
        view = board.of(sweep, None)
        if sweep in store.sweeps():
            outcome = load_outcome(store, sweep)
            view.finish(outcome)
            codes.append(exit_code(end, outcome.sweep, view))
    if GAVE_UP in codes:
        return GAVE_UP
    return signal_code(number)
