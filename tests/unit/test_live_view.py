"""The live view's picture of a sweep."""

from __future__ import annotations

import time

import pytest

from sweep.agents.view import SlotLine, Snapshot
from sweep.cli.live import LiveView
from sweep.core.views import SweepView
from sweep.spec import parse_dict

SPEC = {
    "program": "t.py",
    "method": "grid",
    "metric": {"name": "loss"},
    "parameters": {"x": {"min": 1, "max": 6}},
}


def picture(view: LiveView, running: int | None, done: int) -> str:
    from rich.console import Console

    sweep = SweepView(sweep="s", name="", state="active", counts={"completed": done})
    console = Console(width=100)
    with console.capture() as capture:
        console.print(view._picture(Snapshot(sweep, (SlotLine(0, (), running),), False, "")))
    return capture.get()


def test_the_time_that_is_left_is_counted_from_where_runs_began(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    view = LiveView("s", parse_dict(SPEC, draw_seed=lambda: 1).spec)
    assert "0/6 runs" in picture(view, None, 0)
    now_s = 160.0  # the cluster is there
    picture(view, 0, 0)
    now_s = 170.0
    assert "2/6 runs · about 20 s left" in picture(view, 2, 2)
