"""A whole sweep in the simulated world, many times, each time with other trouble; an oracle checks what came of it."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from sweep.testing.campaign import Campaign, Failure, main, run_in_processes, run_seeds
from sweep.testing.verify import verify
from sweep.testing.world import World

CHUNK = 25
ENOUGH = 700
"""Seeds in which everything that can happen must have happened; it takes about two hundred."""


@pytest.mark.parametrize("start", range(1000, 1200, CHUNK))
def test_nothing_is_lost_and_nothing_counts_twice(start: int) -> None:
    campaign = run_seeds(range(start, start + CHUNK))
    assert campaign.worlds == CHUNK


def test_every_fault_and_every_transition_happens() -> None:
    campaign = Campaign()
    for seed in range(ENOUGH):
        campaign.add(seed)
        if seed >= 50 and not campaign.missing():
            break
    assert campaign.missing() == []


def test_agents_may_believe_what_a_store_tells_them() -> None:
    campaign = run_seeds(range(1401, 1441, 2))
    assert campaign.counts["told by the store"] > 100


FOUND = {
    2458: "the account of budgets was stricter than clocks of several nodes can be compared",
    1438: "a node on which runs failed on and on pushed out what had succeeded elsewhere, and was not set aside",
    4182: "a failure on a bad node from before a run was asked for again took a later one elsewhere off its account",
    4158: "of more than a hundred failures in a row on a bad node the first ones stayed charged to their runs",
    2947: "the account of nodes still blamed one for a run that failed on two nodes when it was asked for again",
}
"""Seeds that have found something, and what."""


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_once_found_stays_mended(seed: int) -> None:
    assert run_seeds([seed]).worlds == 1


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_tells_the_same_story_every_time(seed: int) -> None:
    first, second = World(seed), World(seed)
    first.run()
    second.run()
    journals = [
        [(r.at_s, r.writer, r.seq, repr(r.entry)) for r in w.store.read(w.sweep, 0)] for w in (first, second)
    ]
    assert journals[0] == journals[1]
    assert first.counts == second.counts
    assert verify(first) == verify(second)


def test_a_failure_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.testing.campaign.verify", lambda world: 1 / 0)
    with pytest.raises(Failure, match="seed 12: ZeroDivisionError"):
        run_seeds([12])
    out = io.StringIO()
    assert main(["--start", "12", "--seeds", "1"], out) == 1
    assert out.getvalue().startswith("seed 12: ")


def test_a_campaign_says_what_happened() -> None:
    out = io.StringIO()
    assert main(["--seeds", "5"], out) == 0
    text = out.getvalue()
    assert text.startswith("5 worlds, ")
    assert "running + AttemptEnded -> completed" in text
    assert "worlds per second" in text


def test_several_processes_tell_the_same_stories() -> None:
    seeds = range(40, 45 + CHUNK)  # of these chunks come two
    one, two = run_seeds(seeds), run_in_processes(2, seeds)
    assert (one.worlds, one.entries, one.counts, one.rows) == (two.worlds, two.entries, two.counts, two.rows)
    assert math.isclose(one.virtual_s, two.virtual_s)


def test_a_failure_in_another_process_names_its_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A process of its own finds this before the site packages: there, verifying goes wrong.
    (tmp_path / "sitecustomize.py").write_text(
        "import sweep.testing.campaign\nsweep.testing.campaign.verify = lambda world: 1 / 0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = io.StringIO()
    assert main(["--start", "70", "--seeds", "50", "--jobs", "2"], out) == 1
    assert out.getvalue().startswith("seed 70: ZeroDivisionError")


def test_a_campaign_ends_in_time() -> None:
    out = io.StringIO()
    assert main(["--seeds", "1000000", "--minutes", "0", "--jobs", "1"], out) == 0
    assert out.getvalue().startswith("0 worlds, ")


def test_a_long_campaign_in_which_something_never_happened_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(worlds=300)
    monkeypatch.setattr("sweep.testing.campaign.run_seeds", lambda seeds, until: campaign)
    out = io.StringIO()
    assert main(["--seeds", "300", "--jobs", "1"], out) == 1
    assert "never happened: agent crash, " in out.getvalue()
