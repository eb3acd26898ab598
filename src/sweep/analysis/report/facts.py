"""What a report is made from: the sweep's table, its record, and what else the store knows that counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sweep.analysis import usage
from sweep.analysis.figures.pictures import Pictures
from sweep.analysis.grading import Graded
from sweep.analysis.honest import Honest
from sweep.analysis.importance import Importance
from sweep.analysis.table import SweepTable
from sweep.analysis.usage import Spent
from sweep.core.views import AgentView, AttemptView, RunView


class OtherSweep(msgspec.Struct, frozen=True):
    """What another sweep of the same store has taken."""

    sweep: str
    name: str
    state: str
    runs: int
    attempts: int
    spent: Spent


class Proposals(msgspec.Struct, frozen=True):
    """Configs that one engine has proposed under one revision of the spec."""

    engine: str
    version: str
    revision: int
    count: int


class Revised(msgspec.Struct, frozen=True):
    revision: int
    at_s: float
    by: str


class Used(msgspec.Struct, frozen=True):
    """An artifact that a run has used or logged."""

    run: int
    name: str
    type: str
    digest: str
    logged: bool


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed, read before."""

    table: SweepTable
    source: str
    """The YAML file as it was."""
    record: Mapping[str, Any]
    """`SweepCreated.record`."""
    agents: Sequence[AgentView]
    packages: Mapping[str, Sequence[Mapping[str, Any]]]
    """Agent (empty: of the sweep's own record) -> the packages of its node, those that are known."""
    others: Sequence[OtherSweep] = ()
    proposals: Sequence[Proposals] = ()
    revisions: Sequence[Revised] = ()
    artifacts: Sequence[Used] = ()
    grades: Mapping[int, Graded] = {}
    """Run -> how far it could be executed again from its record; only runs that have begun."""
    result: Honest
    importance: Importance
    pictures: Pictures
    pngs: Mapping[str, bytes] = {}

    @property
    def sweep(self) -> str:
        """The sweep's ID."""
        return self.table.sweep.sweep

    @property
    def runs(self) -> Sequence[RunView]:
        return self.table.runs

    def attempts(self) -> list[tuple[RunView, AttemptView]]:
        """All attempts of all runs."""
        return [(run, attempt) for run in self.runs for attempt in run.attempts]

    def about(self, key: str) -> str:
        """What the author has said; empty where nothing was."""
        return self.table.spec.about.get(key, "")


def spent_by(attempts: Iterable[AttemptView]) -> Spent:
    """What those of them that have started took together. One that has not ended counts with what it last reported and no time: the
    same record makes the same report at any hour."""
    return usage.spent_by([one for one in attempts if one.started_s is not None], 0.0)
