"""`wandb.Run`: one run as a script written for wandb sees it.

Steps: rows without `step` are counted; a smaller step than the current one is dropped, as in wandb. A row is sent when it
is logged, also one whose step is not over yet: rows of one step are the same to everything that reads them, and a run
that is killed has lost nothing. Only `commit=False` keeps values back, until the next row.
"""

from __future__ import annotations

import os
from _collections_abc import Mapping
from time import time

from sweep.sdk.wandb._about import DESCRIBED, About
from sweep.sdk.wandb._config import Config
from sweep.sdk.wandb._errors import UsageError
from sweep.sdk.wandb._metrics import Metric, Metrics, checked
from sweep.sdk.wandb._say import nothing, once
from sweep.sdk.wandb._summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from sweep.sdk.wandb._record import Record
    from sweep.sdk.wandb._settings import Settings
    from sweep.sdk.wandb.artifacts import Artifact


class Run(About):
    """A run. Made by `init`."""

    def __init__(
        self, settings: Settings, record: Record, config: dict[str, Any], first_step: int = 0
    ) -> None:
        """`config`: the script's values; the sweep's are put over them and locked. `first_step`: where in the record the
        rows of this run begin."""
        self._settings, self._record = settings, record
        self._finished = False
        self._pid = os.getpid()
        self._base, self._step = first_step, 0
        self._waiting: dict[str, Any] = {}
        self._saved: dict[str, str] = {}
        self._metrics = Metrics()
        self._ended: Callable[[Run], None] | None = None
        self.summary = Summary(self._summary_set)
        self.start_time = time()
        self.resumed = False
        self.starting_step = 0
        self.config = Config()
        self.config._items.update(config)
        self.config.merge_locked(record.chosen, "sweep")
        record.config(self.config._items)
        self.config._tell(record.config)
        self._describe({name: settings.get(field) for name, field in DESCRIBED.items()})

    # --- logging

    def log(
        self,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        sync: bool | None = None,
    ) -> None:
        """Record values. `step`: not smaller than that of the row before, else the row is dropped; `commit=False`: keep them
        for the next row. `sync` is accepted. Raises TypeError for what is no map of names, UsageError after `finish`."""
        if self._finished:
            self._complain("log")
        if not isinstance(data, Mapping):
            raise TypeError("wandb.log must be passed a dictionary")
        if step is not None and not self._move_to(step):
            return
        plain = True
        for name, value in data.items():
            kind = type(value)
            if kind is not float and kind is not int:
                plain = False
            if type(name) is not str and not isinstance(name, str):
                raise TypeError("Key values passed to `wandb.log` must be strings.")
        values = data if plain else self._converted(data)
        if commit is False:
            self._waiting.update(values)
            return
        self._send(values, plain)  # type: ignore[arg-type]
        if commit or step is None:
            self._step += 1

    _log = log

    def _converted(self, data: Mapping[str, Any]) -> dict[str, Any]:
        from sweep.sdk.wandb._logged import converted

        return converted(data, self._record, self._base + self._step)

    def _move_to(self, step: Any) -> bool:
        """Make `step` the current one; False when it is past."""
        try:
            number = int(step)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"step must be a whole number; got {step!r}") from None
        if number < self._step:
            once(
                "step",
                f"log(step={number}) is smaller than the current step {self._step}: such rows are dropped, as wandb does",
            )
            return False
        if number > self._step:
            if self._waiting:
                self._send({}, False)
            self._step = number
        return True

    def _send(self, values: dict[str, Any], plain: bool) -> None:
        if self._waiting:
            values, self._waiting, plain = {**self._waiting, **values}, {}, False
        last = values
        if self._metrics.defined:
            full = self._metrics.completed(values)
            plain = plain and full is values
            values = full
            last = self._aggregate(values)
        self.summary._logged(last)
        if not values:
            return
        step = self._base + self._step
        if plain:
            self._record.plain_row(values, step)
        else:
            self._record.row(values, step)

    def _aggregate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Count a row for defined metrics and record their aggregates; what of it is a plain last value."""
        found, not_plain = self._metrics.add(self._step, values)
        if found:
            self._record.summary(found)
            self.summary._logged(found)
        return (
            {name: value for name, value in values.items() if name not in not_plain} if not_plain else values
        )

    def _summary_set(self, values: dict[str, Any]) -> None:
        from sweep.sdk.wandb._logged import stored

        step = self._base + self._step
        if all(type(value) in (float, int, str, bool, dict) for value in values.values()):
            self._record.summary(values)
            return
        self._record.summary(
            {
                name: dict(value)
                if isinstance(value, (Mapping, Summary))
                else stored(name, value, self._record, step)
                for name, value in values.items()
            }
        )

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
        goal: str | None = None,
    ) -> Metric:
        """Say which aggregates (`min,max,mean,last,first,best,none`) of a metric belong in the summary, and which metric
        counts its steps. The last value is recorded in any case."""
        metric = checked(name, step_metric, step_sync, hidden, summary, overwrite, goal)
        self._metrics.define(metric)
        return metric

    # --- the end

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run. How it ended is told by the exit code of the process, not by `exit_code`."""
        if self._finished:
            return
        self._flush()
        self._finished = True
        if exit_code:
            once(
                "exit_code",
                f"finish(exit_code={exit_code}): whether the run failed is told by the exit code of the process",
            )
        if self._ended is not None:
            self._ended(self)
        if self._pid == os.getpid():
            self._record.end()

    join = finish

    def _flush(self) -> None:
        """Send what `commit=False` has kept back, and copy files again that were saved and have changed."""
        if self._waiting:
            self._send({}, False)
            self._step += 1
        if self._saved:
            from sweep.sdk.wandb._files import save_again

            save_again(self)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.finish()

    def _complain(self, what: str) -> None:
        raise UsageError(
            f"Run ({self.id}) is finished. The call to `{what}` will be ignored. "
            "Please make sure that you are using an active run."
        )

    # --- files

    def save(
        self,
        glob_str: Any = None,
        base_path: Any = None,
        policy: str = "live",
        glob: bool = True,
    ) -> bool | list[str]:
        """Copy files into `run.dir`, and again at the end when they have changed; the paths of the copies."""
        if glob_str is None or self.disabled:
            return False
        from sweep.sdk.wandb._files import save

        return save(self, glob_str, base_path, policy, glob)

    def restore(
        self, name: str, run_path: str | None = None, replace: bool = False, root: str | None = None
    ) -> Any:
        """A file that an earlier attempt or this one saved, opened; ValueError when there is none."""
        from sweep.sdk.wandb._files import restore

        return restore(self, name)

    def alert(self, title: str, text: str = "", level: Any = None, wait_duration: Any = None) -> None:
        """Say it on standard error, which is in the run's log, and add it to `alerts.jsonl` in the run's folder."""
        if not self.disabled:
            from sweep.sdk.wandb._files import alert

            alert(self, title, text, level)

    def log_code(
        self, root: str | None = ".", name: str | None = None, include_fn: Any = None, exclude_fn: Any = None
    ) -> None:
        """Nothing: the sweep's record has the code."""
        nothing("run.log_code", "the sweep's record has the code of every run")

    # --- artifacts

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        tags: list[str] | None = None,
    ) -> Artifact:
        """Copy an artifact's files to `artifacts/<name>/v<n>` in the run's folder."""
        from sweep.sdk.wandb._artifact_store import log

        return log(self._record, self.id, artifact_or_path, name, type, aliases, tags)

    def upsert_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """The same as `log_artifact`."""
        return self.log_artifact(artifact_or_path, name, type, aliases)

    finish_artifact = upsert_artifact

    def use_artifact(
        self,
        artifact_or_name: Any,
        type: str | None = None,
        aliases: list[str] | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """An artifact that a run of this sweep has logged. Raises CommError, which says what is missing."""
        from sweep.sdk.wandb._artifact_store import use

        return use(self._record, artifact_or_name)

    def log_model(self, path: Any, name: str | None = None, aliases: list[str] | None = None) -> None:
        """`log_artifact` of type `model`."""
        self.log_artifact(path, name, "model", aliases)

    def use_model(self, name: str) -> str:
        """The path of a model that a run of this sweep has logged."""
        return self.use_artifact(name)._single_path()

    def link_model(
        self, path: Any, registered_model_name: str, name: str | None = None, aliases: list[str] | None = None
    ) -> Artifact:
        """`log_model`; there is no registry."""
        nothing("run.link_model", "the model is logged as an artifact")
        return self.log_artifact(path, name or registered_model_name, "model", aliases)

    def link_artifact(
        self, artifact: Artifact, target_path: str, aliases: list[str] | None = None
    ) -> Artifact:
        """Nothing: there is no registry."""
        nothing("run.link_artifact", "there is no registry")
        return artifact

    # --- what has no meaning here

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Nothing: gradients and parameters are not recorded."""
        nothing("wandb.watch", "log a wandb.Histogram of what you want to see")

    def unwatch(self, models: Any = None) -> None:
        """Nothing."""

    def mark_preempting(self) -> None:
        """Nothing: the agent sees it."""

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Nothing."""

    def status(self) -> Settings:
        """What waits for a service: nothing."""
        from sweep.sdk.wandb._settings import Settings

        return Settings(sync_items_total=0, sync_items_pending=0, sync_time=None)

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Nothing: there is no page."""
        return False

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A link to the run's folder."""
        return f'<a href="{self.url}">{self.name}</a>'

    def write_logs(self, text: str) -> None:
        """Print: a run's output is its log."""
        import sys

        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def _label(self, code: str | None = None, repo: str | None = None, **more: Any) -> None:
        """Nothing: which library uses wandb is nobody's business."""
