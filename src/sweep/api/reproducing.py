"""A recorded run executed again and compared with its record, value by value.

The rules of this file: the run's own folder and anybody's checkout are left alone, the program starts in a worktree of the recorded
code; nothing reports to the recorded sweep but the verdict; whatever was started is gone when this returns.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from sweep.agents.data import CACHE
from sweep.agents.lending import lend_sdk
from sweep.analysis.history import History
from sweep.analysis.records import length_s
from sweep.analysis.reproduction import (
    ATOL,
    RTOL,
    Difference,
    Judgement,
    Stream,
    Tolerance,
    calibrate,
    compare_streams,
    compare_summaries,
    first_difference,
    judge,
    prediction_interval,
)
from sweep.analysis.usage import usage_of_run
from sweep.api.artifacts import check_used, give_used
from sweep.api.data import restore_data
from sweep.api.executing import OUTPUT, Execution, watched
from sweep.api.metering import Cost
from sweep.api.places import LOCAL, run_root
from sweep.api.preflight import (
    Check,
    Origin,
    check_editable,
    check_environment,
    check_hardware,
    numeric_variables,
    origin_of,
    restore_code,
)
from sweep.api.reading import load_views
from sweep.api.rebuilding import CannotRebuild, rebuild
from sweep.api.repeating import Recipe, executable, named_variables, recipe_of
from sweep.api.requests import Refused, request
from sweep.api.results import look_at_runs
from sweep.core import entries as e
from sweep.core.lifecycle import ENDED
from sweep.core.rows import Views
from sweep.core.views import RunView
from sweep.provenance import CodeRecord, TreeError, interpreter_record, restore
from sweep.provenance.environment import ProbeError
from sweep.stores import Store

MOST_METRICS = 100
"""So many stand in the record of a verdict."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to be executed again."""

    env: Literal["current", "rebuild"] = "current"
    steps: float | None = None
    """Compare up to this step, and end the program there; None: as far as the record goes."""
    calibrate: int = 0
    """So many executions first, which say how far values differ here anyway."""
    rtol: float = RTOL
    atol: float = ATOL
    ignore: tuple[str, ...] = ()
    """Patterns of metrics that are not compared."""
    seed: int | None = None
    """Another seed than the recorded one: a control, which should come out differently."""
    links: dict[str, Path] = {}
    by: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    run: str
    judgement: Judgement
    checks: tuple[Check, ...]
    streams: tuple[Stream, ...] = ()
    rows: int = 0
    """Rows of the record that were to be reached."""
    rows_again: int = 0
    exit_code: int | None = None
    exit_code_again: int | None = None
    calibrated: dict[str, float] | None = None
    cost: Cost | None = None
    """What the run has cost over all its attempts, and `cost_again`: what this execution did; None where none was made."""
    cost_again: Cost | None = None
    gpus: bool = False
    """The run had GPUs, and `gpu_shared`: others had a part of them."""
    gpu_shared: bool = False
    env: str = "current"
    python: str = ""
    folder: str = ""
    duration_s: float = 0.0

    @property
    def compared(self) -> int:
        """How many values were compared."""
        return sum(stream.compared for stream in self.streams)

    @property
    def first(self) -> Difference | None:
        """The first that differs."""
        return first_difference(self.streams)


def reproduce(
    store: Store,
    sweep: str,
    number: int,
    wish: Wish,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Outcome:
    """Execute run `number` of `sweep` again, compare every value, and record the verdict with the run (not that of a control).

    `progress` gets (rows so far, rows expected). Raises Refused for a run that has not ended, CannotRepeat for one that cannot be
    executed by a command at all, NoUv.
    """
    views = load_views(store, sweep, (number,))
    [run] = views.runs
    if run.state not in ENDED:
        raise Refused(f"run {run.id} is {run.state}: what has not ended cannot be compared")
    attempt = _Attempt(store, views, run, wish, environ, say, progress)
    try:
        outcome = attempt.work()
    finally:
        attempt.clear()
    if outcome.streams:
        look_at_runs(store, sweep, views.spec, [run], "reproduce", wish.by)
    if wish.seed is None:
        _note(store, outcome, sweep, number, wish.by)
    return outcome


class _Attempt:
    """One call of `reproduce`."""

    def __init__(
        self,
        store: Store,
        views: Views,
        run: RunView,
        wish: Wish,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self.store, self.views, self.run, self.wish = store, views, run, wish
        self.environ, self.say, self.progress = dict(environ), say, progress
        self.recipe = recipe_of(views, run)
        self.origin: Origin = origin_of(store, views, run)
        self.root = run_root(store)
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.folder = self.root / LOCAL / f"{run.id}-again-{stamp}"
        self.recorded = History.from_chunks(store.read_history(run.sweep, run.run))
        self.began_s = time.monotonic()

    def work(self) -> Outcome:
        rows, cut = self._goal()
        if rows == 0 and (cut or not self.run.summary):
            return self._outcome(
                Judgement("inconclusive", "the record has no values of this run to compare with"), ()
            )
        self.folder.mkdir(mode=0o700, parents=True)
        workdir, checks = restore_code(
            self.store, self.views, self.origin, self.recipe, self.folder / "code", self.wish.links
        )
        checks += check_used(self.store, self.run)
        recorded = Path(self.recipe.workdir)
        checks += restore_data(
            self.run, recorded, workdir, self.wish.links, self.root / CACHE, self.store.get_blob
        )
        try:
            python = self._python()
        except CannotRebuild as error:
            checks.append(
                Check("environment", f"{len(self.origin.packages)} packages", str(error), "missing")
            )
            return self._missing(checks)
        variables, unset, check = numeric_variables(self.origin, self.environ)
        base = {name: value for name, value in self.environ.items() if name not in unset} | variables
        if self.wish.env == "rebuild":
            base["VIRTUAL_ENV"] = str(Path(python).parent.parent)
            base["PATH"] = f"{Path(python).parent}{os.pathsep}{base.get('PATH', os.defpath)}"
        checks += [*self._environment(python, base), check, *check_hardware(self.origin)]
        recipe = self._recipe(workdir, python)
        checks += self._secrets(recipe, base)
        if any(check.state == "missing" for check in checks):
            return self._missing(checks)
        return self._executed(recipe, base, checks, rows, cut, python)

    def clear(self) -> None:
        """Remove what was restored; rows and output stay."""
        for name in ("code", "installed-in-place"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _goal(self) -> tuple[int, bool]:
        """(rows to reach, whether the program is ended there): a run that was stopped is stopped where it was."""
        length = len(self.recorded)
        if self.wish.steps is not None:
            rows = sum(step <= self.wish.steps for step in self.recorded.steps)
            return rows, rows < length or self._was_stopped()
        return length, self._was_stopped()

    def _was_stopped(self) -> bool:
        last = self.run.attempts[-1] if self.run.attempts else None
        if self.run.state == "failed":
            return last is None or last.error_class not in ("", "exit")
        return self.run.state != "completed"

    def _python(self) -> str:
        if self.wish.env == "rebuild":
            packages = self.origin.packages
            return str(rebuild(self.origin.python, packages, self._sources(), self.root, self.say))
        then = str(self.origin.python.get("executable") or "")
        return then if then and os.access(then, os.X_OK) else sys.executable

    def _sources(self) -> dict[str, Path]:
        """Where the recorded code of packages installed in place is, written beside the worktree."""
        found: dict[str, Path] = {}
        code = self.origin.code
        below = Path(code.get("root") or "/nowhere")
        for item in self.origin.packages:
            if not item.get("editable"):
                continue
            place = Path(str(item.get("url", "")).removeprefix("file://"))
            if place == below or below in place.parents:
                found[item["name"]] = self.folder / "code" / place.relative_to(below)
        for name, raw in (self.origin.record.get("editable") or {}).items():
            if name == "sweep":
                continue
            record = msgspec.convert(raw, CodeRecord)
            target = self.folder / "installed-in-place" / name
            try:
                restore(record, self.store.get_blob, target)
            except TreeError as error:
                raise CannotRebuild(f"{name}, which was installed in place: {error}") from None
            found[name] = target / record.folder if record.folder else target
        return found

    def _environment(self, python: str, base: Mapping[str, str]) -> list[Check]:
        try:
            facts, packages = interpreter_record(python, base)
        except ProbeError as error:
            return [Check("python", "-", str(error), "missing")]
        checks = check_environment(self.origin, facts, packages)
        return checks if self.wish.env == "rebuild" else [*checks, *check_editable(self.origin, self.environ)]

    def _recipe(self, workdir: Path, python: str) -> Recipe:
        """The recorded command in the worktree: its Python and its folders are others now."""
        then = str((self.origin.node.get("python") or {}).get("executable") or "")
        root = Path(self.recipe.workdir)
        argv = tuple(
            python if then and item == then else _moved(item, root, workdir) for item in self.recipe.argv
        )
        env = {name: _moved(value, root, workdir) for name, value in self.recipe.env.items()}
        seed = self.recipe.seed if self.wish.seed is None else self.wish.seed
        if self.wish.seed is not None and "PYTHONHASHSEED" in env:
            env["PYTHONHASHSEED"] = str(seed % 2**32)
        return msgspec.structs.replace(self.recipe, workdir=str(workdir), argv=argv, env=env, seed=seed)

    def _secrets(self, recipe: Recipe, base: Mapping[str, str]) -> list[Check]:
        """Variables that the spec names and whose values are nowhere recorded."""
        return [
            Check(f"${name}", "its value is not recorded", "not set here: export it", "missing")
            for name in sorted(named_variables(recipe))
            if name not in base
        ]

    # --- the execution

    def _executed(
        self, recipe: Recipe, base: dict[str, str], checks: list[Check], rows: int, cut: bool, python: str
    ) -> Outcome:
        calibrated = None
        if self.wish.calibrate:
            histories = []
            for turn in range(self.wish.calibrate):
                self.say(f"calibrating: execution {turn + 1} of {self.wish.calibrate}")
                histories.append(self._execute(recipe, base, f"calibration-{turn + 1}", rows, cut).history)
            calibrated = calibrate(histories, rows)
        self.say(f"executing run {self.run.id} again")
        again = self._execute(recipe, base, "again", rows, cut)
        tolerance = Tolerance(self.wish.rtol, self.wish.atol, calibrated)
        limit = rows if cut else None
        ignore = self.wish.ignore
        streams = compare_streams(self.recorded, again.history, tolerance, rows=limit, ignore=ignore)
        if not cut and again.summary is not None:
            logged = (self.recorded, again.history)
            streams += compare_summaries(self.run.summary, again.summary, logged, tolerance, ignore)
        last = self.run.attempts[-1] if self.run.attempts else None
        then = last.exit_code if last is not None else None
        judgement = judge(
            streams,
            differs=[check.what for check in checks if check.state == "changed"],
            uncontrolled=self._uncontrolled(),
            ended=_ended_otherwise(again, rows, then, cut),
            seed_noise=self._seed_noise(),
            objective=self._objective(again.history, limit),
            control=""
            if self.wish.seed is None
            else f"with seed {self.wish.seed} in place of {self.recipe.seed}",
        )
        return self._outcome(
            judgement,
            checks,
            streams=tuple(streams),
            rows=rows,
            rows_again=again.rows,
            exit_code=then,
            exit_code_again=None if again.cut else again.code,
            calibrated=calibrated,
            python=python,
            cost=self._cost(),
            cost_again=again.cost,
            gpus=bool(self.origin.gpus),
            gpu_shared=bool(usage_of_run(self.run, None)["gpu_shared"]),
        )

    def _execute(self, recipe: Recipe, base: dict[str, str], name: str, rows: int, cut: bool) -> Execution:
        folder = self.folder / name
        argv, env = executable(recipe, folder, base, ())
        lend_sdk(argv, env, {})
        give_used(self.store, self.run, folder)
        spec = self.views.spec
        metric = None if spec.metric is None else spec.metric.name
        goal = rows if cut else None
        watch = lambda count: self.progress(count, rows)  # noqa: E731
        kill_after_s, gpus = spec.limits.kill_after_s, bool(self.origin.gpus)
        return watched(argv, env, recipe.workdir, folder, metric, goal, kill_after_s, watch, gpus)

    def _cost(self) -> Cost:
        """Of the recorded run."""
        used = usage_of_run(self.run, None)
        lengths = [length_s(attempt) for attempt in self.run.attempts if attempt.started_s is not None]
        known = [length for length in lengths if length is not None]
        return Cost(
            wall_s=sum(known) if known and len(known) == len(lengths) else None,
            cpu_s=used["cpu_s"],
            gpu_energy_j=used["gpu_energy_j"],
            node_cpu_energy_j=used["node_cpu_energy_j"],
        )

    # --- what follows from it

    def _uncontrolled(self) -> str:
        """What nobody has had in hand when the run was recorded, in words."""
        if self.views.spec.determinism == "off":
            return "the sweep left chance alone (`determinism: off`)"
        if any(one.changed for one in self.run.data if one.attempt == self.run.attempt):
            return "its data changed while it ran: what it read nobody can tell"
        begun = [attempt for attempt in self.run.attempts if attempt.started_s is not None]
        edited = bool(begun) and bool(begun[-1].code_changed)
        return "files of its code were changed while it ran: which it read nobody can tell" if edited else ""

    def _objective(self, history: History, rows: int | None) -> float | None:
        metric = self.views.spec.metric
        if metric is None:
            return None
        values = [
            value for value in history.aligned(metric.name)[:rows] if value is not None and value == value
        ]
        return (min(values) if metric.goal == "minimize" else max(values)) if values else None

    def _seed_noise(self) -> tuple[float, float] | None:
        """From the trial's replicates that have ended as this run has."""
        if self.views.spec.replicates < 2 or self.run.state != "completed" or self.wish.steps is not None:
            return None
        others = load_views(self.store, self.run.sweep).runs
        values = [
            other.objective
            for other in others
            if other.trial == self.run.trial and other.state == "completed" and other.objective is not None
        ]
        return prediction_interval(values)

    def _missing(self, checks: Sequence[Check]) -> Outcome:
        missing = [check for check in checks if check.state == "missing"]
        words = "; ".join(f"{check.what}: {check.here}" for check in missing)
        return self._outcome(Judgement("unreproducible", words), checks)

    def _outcome(self, judgement: Judgement, checks: Sequence[Check], **known: Any) -> Outcome:
        return Outcome(
            run=self.run.id,
            judgement=judgement,
            checks=tuple(checks),
            env=self.wish.env,
            folder=str(self.folder),
            duration_s=time.monotonic() - self.began_s,
            **known,
        )


def _ended_otherwise(again: Execution, rows: int, then: int | None, cut: bool) -> str:
    if again.cut:
        return ""
    how = f"exit code {again.code}" if again.code >= 0 else f"signal {-again.code}"
    if cut:
        return (
            f"the program ended by itself ({how}) after {again.rows:,} of {rows:,} rows"
            if again.rows < rows
            else ""
        )
    if then is not None and again.code != then:
        return f"the program ended with {how}, and with {then} when it was recorded (see {OUTPUT})"
    return ""


def _moved(text: str, old: Path, new: Path) -> str:
    """A path below the recorded folder, as one below the worktree where that has it."""
    if text == str(old) or text.startswith(f"{old}/"):
        moved = f"{new}{text[len(str(old)) :]}"
        return moved if Path(moved).exists() else text
    return text


def _note(store: Store, outcome: Outcome, sweep: str, run: int, by: str) -> None:
    """The verdict into the journal, and the report with it."""
    first = outcome.first
    entry = e.RunReproduced(
        run,
        outcome.judgement.verdict,
        outcome.compared,
        sum(stream.identical for stream in outcome.streams),
        first.metric if first is not None else "",
        step_of(first) if first is not None else None,
        _short(report_of(outcome)),
        by,
    )
    request(store, sweep, entry)


def _short(report: dict[str, Any]) -> dict[str, Any]:
    """Of a program that logs thousands of names only those that differ, up to a number."""
    if len(report["metrics"]) > MOST_METRICS:
        differ = [metric for metric in report["metrics"] if metric["identical"] < metric["compared"]]
        report["metrics"] = differ[:MOST_METRICS]
    return report


def step_of(first: Difference) -> float | None:
    """None for what stands in the summary."""
    return first.step if math.isfinite(first.step) else None


def report_of(outcome: Outcome) -> dict[str, Any]:
    """As plain JSON data; numbers that are not finite as text."""
    from sweep.analysis.records import to_json

    first = outcome.first
    return {
        "run": outcome.run,
        "verdict": outcome.judgement.verdict,
        "reason": outcome.judgement.reason,
        "compared": outcome.compared,
        "identical": sum(stream.identical for stream in outcome.streams),
        "first_difference": None
        if first is None
        else to_json(msgspec.to_builtins(first) | {"step": step_of(first)}),
        "preflight": [msgspec.to_builtins(check) for check in outcome.checks],
        "metrics": [
            to_json({key: value for key, value in msgspec.to_builtins(stream).items() if key != "first"})
            for stream in outcome.streams
        ],
        "rows": {"recorded": outcome.rows, "again": outcome.rows_again},
        "exit_code": {"recorded": outcome.exit_code, "again": outcome.exit_code_again},
        "usage": {
            "recorded": None if outcome.cost is None else to_json(msgspec.to_builtins(outcome.cost)),
            "again": None if outcome.cost_again is None else to_json(msgspec.to_builtins(outcome.cost_again)),
        },
        "calibrated": None if outcome.calibrated is None else to_json(outcome.calibrated),
        "env": outcome.env,
        "python": outcome.python,
        "folder": outcome.folder,
        "duration_s": round(outcome.duration_s, 3),
    }
