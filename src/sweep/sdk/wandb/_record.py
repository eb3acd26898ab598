"""The way to the record: rows, config, summary and folders of the sweep's run that this program is.

Under an agent all wandb runs of a process are that one run, and the rows of a later one follow those of an earlier one.
A program that no agent started has a local run for each.
"""

from __future__ import annotations

import os
from time import monotonic

from sweep.sdk._config import merge, to_config
from sweep.sdk._link import CLEAR
from sweep.sdk._run import _read_config, init
from sweep.sdk._wire import as_number, flatten, names, told_text, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sweep.sdk._run import Run

_MAX_NAME = 100


def _safe(part: str) -> str:
    """One part of a logged name, fit for a file name."""
    return "".join(c if c.isalnum() or c in "-_.=+ " else "_" for c in part)[:_MAX_NAME]


class Record:
    """The sweep's run, as the stand-in uses it."""

    records = True
    """Whether anything is recorded at all."""

    def __init__(self) -> None:
        """Begin the run, or go on with it when it has begun."""
        self.run: Run = init()
        self.folder: str = self.run._folder
        self._config: dict[str, Any] = {}
        self._names: set[str] = set()
        self._step_file: int | None = None

    @property
    def chosen(self) -> dict[str, Any]:
        """What the sweep decided."""
        return self.run._chosen

    @property
    def standalone(self) -> bool:
        """No agent started this program."""
        return self.run.standalone

    def row(self, values: dict[str, Any], step: int) -> None:
        """Record a row of flat values: numbers, JSON values, references to files."""
        run = self.run
        run._row(f'"s":{step},"t":{monotonic() - run._started:.3f},{self._text(values)}}}\n')
        if self._step_file is not None:
            self._note_step(self._step_file, step)

    def plain_row(self, values: dict[str, Any], step: int) -> None:
        """Record a row that holds floats and ints alone."""
        self.run.log(values, step)
        if self._step_file is not None:
            self._note_step(self._step_file, step)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record values that belong to the run. Nested maps are flattened, references are not."""
        if not values:
            return
        flat = flat_values(values)
        self.run.summary._values.update(flat)
        if not self.run.standalone:
            self.run._control(f'{{"op":"summary",{self._text(flat)}}}\n')

    def config(self, values: Mapping[str, Any]) -> None:
        """Record config values, except for what the sweep decided."""
        self._config.update(values)
        run = self.run
        run.config = to_config(merge(run._chosen, self._config)[0])
        if run.standalone:
            run._write_local("config.json", run.config)
            return
        filled = merge(run._chosen, values)[1]
        if filled:
            run._control(f'{{"op":"config","c":{value_text("config", filled, run._odd)}}}\n')

    def _text(self, values: Mapping[str, Any]) -> str:
        numbers, others = [], []
        for name, value in values.items():
            number = as_number(value)
            if number is not None:
                numbers.append(names[name] + told_text(name, number, self.run._odd))
            else:
                others.append(names[name] + value_text(name, value, self.run._odd))
        text = '"m":{' + ",".join(numbers) + "}"
        return text + ',"x":{' + ",".join(others) + "}" if others else text

    def end(self) -> None:
        """End a local run. A run of an agent ends with its process: only what could not be sent yet is seen to here."""
        if self.run.standalone or self.run._link._state != CLEAR:
            self.run.finish()

    # --- folders

    def free_path(self, name: str, step: int, suffix: str) -> tuple[str, str]:
        """Where a file that is logged as `name` at `step` goes: the path, and the path within the run's folder."""
        parts = [_safe(part) for part in name.split("/") if part.strip(". ")]
        stem = "/".join(["media", *(parts or ["value"])])
        number = 0
        while f"{stem}_{step}_{number}{suffix}" in self._names:
            number += 1
        inside = f"{stem}_{step}_{number}{suffix}"
        self._names.add(inside)
        return self.path(*inside.split("/")), inside

    def path(self, *parts: str) -> str:
        """A path in the run's folder, with the folder it is in made."""
        path = os.path.join(self.folder, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    # --- a run that is resumed goes on with its steps

    def resume_step(self) -> int:
        """The step after the last one that an earlier attempt logged, 0 when there is none; steps are noted from now on."""
        path = os.path.join(self.folder, ".wandb-step")
        try:
            with open(path, encoding="ascii") as file:
                found = int(file.read() or -1)
        except (OSError, ValueError):
            found = -1
        try:
            self._step_file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            self._step_file = None
        return found + 1 if self.run.attempt > 1 or self.run.standalone else 0

    def _note_step(self, file: int, step: int) -> None:
        try:
            os.pwrite(file, b"%20d" % step, 0)
        except OSError:
            self._step_file = None


class Nothing(Record):
    """What `mode="disabled"` records: nothing. The config is the sweep's all the same."""

    records = False

    def __init__(self) -> None:
        self._chosen = _read_config(os.environ.get("SWEEP_CONFIG"))
        self._folder: str | None = None

    @property
    def folder(self) -> str:  # type: ignore[override]
        """A folder for what the script writes; removed by nobody, as every temporary folder."""
        if self._folder is None:
            import tempfile

            self._folder = tempfile.mkdtemp(prefix="wandb-disabled-")
        return self._folder

    @property
    def chosen(self) -> dict[str, Any]:
        """What the sweep decided."""
        return self._chosen

    @property
    def standalone(self) -> bool:
        """No agent started this program."""
        return "SWEEP_RUN_ID" not in os.environ

    def row(self, values: dict[str, Any], step: int) -> None:
        """Nothing."""

    plain_row = row

    def summary(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def config(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def resume_step(self) -> int:
        """0: nothing was recorded."""
        return 0


def flat_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested maps flattened with `/`; a reference to a file, which has a `_type`, stays whole."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and "_type" not in value:
            flat.update({f"{name}/{inner}": item for inner, item in flat_values(value).items()})
        elif isinstance(value, dict):
            flat[str(name)] = value
        else:
            flat.update(dict(flatten({name: value})))
    return flat
