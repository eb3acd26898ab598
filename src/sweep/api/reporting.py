"""What a report needs, read from the store: the sweep with its histories, the packages of its nodes, what other sweeps took."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.analysis.figures import png
from sweep.analysis.figures.prepare import prepare
from sweep.analysis.figures.usage import sample_of_runs
from sweep.analysis.grading import grade
from sweep.analysis.history import History
from sweep.analysis.importance import importance
from sweep.analysis.report import Facts, OtherSweep
from sweep.analysis.report.facts import Proposals, Revised, Used, spent_by
from sweep.analysis.table import SweepTable
from sweep.api.artifacts import load_artifacts
from sweep.api.finding import NotFound
from sweep.api.reading import load_views, read_history, read_samples
from sweep.api.results import look, result
from sweep.core import entries as e
from sweep.core.rows import Views
from sweep.stores import Store


def gather(store: Store, sweep: str, pictures: bool = True, command: str = "report", by: str = "") -> Facts:
    """Everything that the report on `sweep` is made from. `pictures`: draw them, which takes seconds. That `command` is about to show
    the value of `report_metric` to `by` is recorded. Raises NotFound."""
    views = load_views(store, sweep)
    chunks = read_history(store, sweep, [run.run for run in views.runs])
    histories = {run: History.from_chunks(found) for run, found in chunks.items()}
    sampled = sample_of_runs(views.runs) if pictures else []
    samples = {run.run: read_samples(store, run) for run in sampled}
    table = SweepTable(views.spec, views.sweep, views.runs, histories, samples)
    ranking = importance(table)
    prepared = prepare(table, ranking)
    proposals, revisions = _decisions(store, sweep)
    return Facts(
        table=table,
        source=views.created.source,
        record=views.created.record,
        agents=views.agents,
        packages=_packages(store, views),
        others=[found for other in store.sweeps() if other != sweep and (found := _other(store, other))],
        proposals=proposals,
        revisions=revisions,
        artifacts=_artifacts(store, sweep, views),
        grades={run.run: graded for run in views.runs if (graded := grade(views, run)) is not None},
        result=look(store, result(views), command, by),
        importance=ranking,
        pictures=prepared,
        pngs=png.render(prepared, views.spec.name or sweep) if pictures else {},
    )


def _decisions(store: Store, sweep: str) -> tuple[list[Proposals], list[Revised]]:
    """Who proposed how many configs, and when the spec was revised."""
    counts: dict[tuple[str, str, int], int] = {}
    revisions = []
    for recorded in store.read(sweep, 0, bare=True):
        entry = recorded.entry
        if isinstance(entry, e.TrialsProposed):
            key = (entry.engine, entry.engine_version, entry.revision)
            counts[key] = counts.get(key, 0) + len(entry.configs)
        elif isinstance(entry, e.SpecRevised):
            revisions.append(Revised(entry.revision, recorded.at_s, entry.by))
    return [Proposals(*key, count) for key, count in counts.items() if count], revisions


def _artifacts(store: Store, sweep: str, views: Views) -> list[Used]:
    """What runs have used, and then what they have logged."""
    used = [
        Used(run.run, f"{use.name}:v{use.version}", use.type, use.digest, False)
        for run in views.runs
        for use in run.used
    ]
    logged = [
        Used(run, f"{view.name}:v{version.version}", view.type, version.digest, True)
        for view in load_artifacts(store, sweep).values()
        for version in view.versions
        for run in version.runs
    ]
    return [*used, *logged]


def _packages(store: Store, views: Views) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Agent -> packages of its node; '' -> those where the sweep was created. What is not known is left out."""
    blobs: dict[str, Sequence[Mapping[str, Any]]] = {}
    found = {}
    records = {"": views.created.record, **{agent.agent: agent.record for agent in views.agents}}
    for name, record in records.items():
        packages = record.get("packages")
        if isinstance(packages, str):
            if packages not in blobs:
                data = store.get_blob(packages)
                blobs[packages] = json.loads(data) if data is not None else []
            packages = blobs[packages]
        if packages:
            found[name] = packages
    return found


def _other(store: Store, sweep: str) -> OtherSweep | None:
    with contextlib.suppress(NotFound):  # removed in between
        views = load_views(store, sweep)
        attempts = [attempt for run in views.runs for attempt in run.attempts]
        return OtherSweep(
            sweep,
            views.sweep.name,
            views.sweep.state,
            len(views.runs),
            len(attempts),
            spent_by(attempts),
        )
    return None
