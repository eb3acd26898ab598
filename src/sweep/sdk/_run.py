"""A run as the training program sees it: `init`, `log`, config, summary, seed, folders, stop.

A mistake of the program raises at once and says what would be right. Trouble of ours never raises: it is said on
standard error, once for each kind.
"""

# ruff: noqa: PTH100, PTH103, PTH118, PTH119, PTH123
# pathlib: importing it costs more than everything else here together.

from __future__ import annotations

import os
import sys
from _collections_abc import Mapping
from _thread import allocate_lock
from time import monotonic, strftime

from sweep import __version__
from sweep.sdk._config import Config, Summary, merge, to_config
from sweep.sdk._link import Link
from sweep.sdk._wire import (
    LARGEST,
    LARGEST_INT,
    as_number,
    names,
    number_text,
    parse,
    quote,
    row_text,
    value_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Literal

    from sweep.sdk._artifacts import Artifact

    Stop = Literal["signal", "raise"]

_END = b'{"op":"end"}\n'


class Pruned(Exception):
    """Raised by `log` in a run with `init(stop="raise")` that is to end early. `reason`: in words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Run:
    """One run. Made by `init`; not by hand."""

    id: str
    """The run's ID; in a program started by hand, the name of its folder."""
    seed: int
    """What to seed random generators with. Those of `random`, numpy, torch, tensorflow and keras are seeded with it when the run begins, or
    when the program imports them, unless the spec says `determinism: off`."""
    attempt: int
    """1, and one more each time the run is started again."""
    config: Config
    """The sweep's values, completed by the defaults given to `init`."""
    summary: Summary
    """Results that belong to the run and not to a step."""

    def __init__(self, stop: Stop) -> None:
        environ = os.environ
        self._said: set[str] = set()
        self._stop = stop
        self._raises = stop == "raise"
        self._pid = os.getpid()
        self._checkpoints = environ.get("SWEEP_CHECKPOINT_DIR")
        self._chosen = _read_config(environ.get("SWEEP_CONFIG"))
        self.seed = _whole(environ.get("SWEEP_SEED"), "SWEEP_SEED", int.from_bytes(os.urandom(4), "big"))
        self.attempt = _whole(environ.get("SWEEP_ATTEMPT"), "SWEEP_ATTEMPT", 1)
        run_id = environ.get("SWEEP_RUN_ID")
        self.standalone = run_id is None
        """True when no agent started this program."""
        # The first run of a program that `sweep rerun` started; what follows in it gets folders of its own.
        self._local = environ.get("SWEEP_LOCAL_DIR", "") if _current is None else ""
        self.id = run_id or os.path.basename(self._local) or _new_id()
        self._folder = (not self.standalone and environ.get("SWEEP_RUN_DIR")) or self._local_folder()
        self._link = self._make_link(environ.get("SWEEP_SOCKET"))
        self._row = self._link.row
        self._started = monotonic()
        self._finished = False
        self.config = to_config(self._chosen)
        self.summary = Summary(self._summary_changed)
        self._link.open()

    # --- logging

    def log(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Record one row of values.

        `metrics`: names to values; nested mappings are flattened with `/`. Whatever is one number (also a numpy or torch
        scalar) is a metric, NaN and infinity included; other JSON values are recorded as they are, anything else as its
        `repr`. `step`: the index of the row on the x axis; without it rows are counted.

        Raises TypeError when `metrics` is no mapping or `step` no number, and Pruned, after the row is recorded, in a run
        with `stop="raise"` that is to end.
        """
        if type(metrics) is not dict:
            metrics = _as_mapping(metrics)
        parts = []
        for name, value in metrics.items():
            kind = type(value)
            if (kind is float and -LARGEST <= value <= LARGEST) or (
                kind is int and -LARGEST_INT <= value <= LARGEST_INT
            ):
                parts.append(names[name] + repr(value))
            else:
                body = row_text(metrics, self._odd)
                break
        else:
            body = f'"m":{{{",".join(parts)}}}'
        if step is None:
            at = ""
        elif type(step) is int and -LARGEST_INT <= step <= LARGEST_INT:
            at = f'"s":{step},'
        else:
            at = self._step_text(step)
        self._row(f'{at}"t":{monotonic() - self._started:.3f},{body}}}\n')
        if self._raises:
            self._raise_if_stopped()

    def log_artifact(
        self, path: Any, name: str | None = None, type: str = "file", aliases: Any = ()
    ) -> Artifact:
        """Keep a file or a folder as a version of the artifact `name` (not given: the file's own name). It is copied before this
        returns; the agent hashes and stores it afterwards. `aliases`: names for this version besides `latest`.

        Raises FileNotFoundError when `path` is not there, ValueError for what is no name. Trouble of ours is said, not raised.
        """
        from sweep.sdk import _artifacts

        return _artifacts.log(self, path, name, type, aliases)

    def use(self, path: Any) -> Any:
        """Say that this run reads a file or a folder; gives `path` back. The agent records what is in it (BLAKE3), and looks again when the
        run has ended: data that changed meanwhile taints the run.

        Raises FileNotFoundError when there is nothing at `path`.
        """
        from sweep.sdk import _artifacts

        return _artifacts.use_data(self, path)

    def use_artifact(self, name: str) -> Artifact:
        """A version of an artifact, on this machine's disk: `model` (the latest), `model:v3`, `model:best`, or one of another sweep,
        `SWEEP/model:best`. Which version it was is recorded with the run.

        Waits until it is there. Raises ArtifactError (a LookupError) when there is none, or it cannot be had.
        """
        from sweep.sdk import _artifacts

        return _artifacts.use(self, name)

    def should_stop(self) -> bool:
        """Whether the run is to end early. Stays True. Always False in a program started by hand."""
        return self._link.stop_reason() is not None

    def finish(self) -> None:
        """Send what is left, for at most 10 seconds, and end the run. Called at exit by itself; a second call does nothing."""
        try:
            self._finished = True
            own = self._pid == os.getpid()
            self._link.finish(_END if own and self._link.numbered and not self.standalone else b"")
            if own and self.standalone and len(self.summary):
                self._write_local("summary.json", self.summary.as_dict())
        except Exception as error:
            self._say(f"could not finish the run properly: {error!r}")

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def __repr__(self) -> str:
        return f"<sweep run {self.id}, attempt {self.attempt}>"

    # --- folders

    @property
    def dir(self) -> Path:
        """The run's folder. A file written there is kept with the run."""
        return _folder(self._folder, self._say)

    @property
    def checkpoint_dir(self) -> Path:
        """A folder that every attempt of the run gets again: save there, and look there at the start."""
        return _folder(self._checkpoints or os.path.join(self._folder, "checkpoints"), self._say)

    def _local_folder(self) -> str:
        folder = self._local or os.path.join(".sweep", "local", self.id)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError:
            import tempfile

            folder = tempfile.mkdtemp(prefix="sweep-")
        self._say(f"no agent started this program: run {self.id} is recorded in {folder}")
        return os.path.abspath(folder)

    def _write_local(self, name: str, values: Mapping[str, Any]) -> None:
        try:
            with open(os.path.join(self._folder, name), "w", encoding="ascii") as file:
                file.write(value_text(name, values) + "\n")
        except OSError as error:
            self._say(f"cannot write {name} into {self._folder}: {error.strerror or error}")

    # --- inside

    def _make_link(self, socket_path: str | None) -> Link:
        if self.standalone:
            return Link(None, os.path.join(self._folder, "rows.jsonl"), self._hello, self._say)
        file_path = os.path.join(self._folder, f"unsent-{self.attempt}.jsonl")
        first = _is_first_client(os.path.join(self._folder, f".client-{self.attempt}"))
        if not socket_path:
            self._say(f"SWEEP_SOCKET is not set: logged values go to {file_path}")
        return Link(socket_path or None, file_path, self._hello, self._say, numbered=first)

    def _hello(self) -> bytes:
        version = ".".join(map(str, sys.version_info[:3]))
        return (
            f'{{"op":"hello","run":{quote(self.id)},"attempt":{self.attempt},"pid":{os.getpid()},'
            f'"stop":"{self._stop}","sdk":"{__version__}","python":"{version}"}}\n'
        ).encode()

    def _complete(self, defaults: Mapping[Any, Any]) -> None:
        """Fill in what the config does not have yet, and report it."""
        merged, filled = merge(self.config, defaults)
        if filled or self.standalone:
            self.config = to_config(merged)
        if self.standalone:
            self._write_local("config.json", self.config)
        elif filled:
            self._control(f'{{"op":"config","c":{value_text("config", filled, self._odd)}}}\n')

    def _summary_changed(self, values: dict[str, Any]) -> None:
        if not self.standalone:
            self._control(f'{{"op":"summary",{row_text(values, self._odd)}}}\n')

    def _determine(self) -> None:
        """Do what the spec's `determinism` asks of this process, and tell the agent what came of it."""
        level = os.environ.get("SWEEP_DETERMINISM", "")
        if level in ("seeded", "strict"):
            from sweep.sdk import _determinism

            _determinism.apply(self.seed, level, self._tell_state)

    def _tell_state(self, state: dict[str, Any]) -> None:
        if not self.standalone:
            self._control(f'{{"op":"state","c":{value_text("state", state, self._odd)}}}\n')

    def _control(self, line: str) -> None:
        self._link.control(line.encode())

    def _raise_if_stopped(self) -> None:
        reason = self._link.stop_reason()
        if reason is not None:
            self._raises = (
                False  # once: what the program logs while it tidies up is no reason to interrupt it again
            )
            raise Pruned(reason)

    def _step_text(self, step: object) -> str:
        number = as_number(step)
        if number is None:
            raise TypeError(f"step must be a number, such as the epoch; got {type(step).__name__}")
        text = number_text(number)
        if text[0] == '"':
            self._say(f"step {text} is not finite: rows are recorded without it")
            return ""
        return f'"s":{text},'

    def _odd(self, name: str, value: object) -> None:
        if isinstance(value, int):
            words = f"{name!r} is an integer beyond what a floating-point number can hold: it is recorded as infinity"
            self._say_once(f"large {name}", words)
            return
        kind = type(value).__name__
        self._say_once("odd", f"{name!r} has a value of type {kind}, which is no JSON: its repr is recorded")

    def _say(self, text: str) -> None:
        self._say_once(text, text)

    def _say_once(self, key: str, text: str) -> None:
        if key in self._said or len(self._said) > 50:
            return
        self._said.add(key)
        try:
            sys.stderr.write(f"sweep: {text}\n")
        except Exception:  # closed, or None in a program without a terminal
            pass

    def _reopen(self) -> None:
        self._say("init() was called again after finish(): this is the same run, open again")
        self._finished = False

    def _after_fork(self) -> None:
        """In a forked child."""
        self._link.detach()


# --- the one run of this process

_current: Run | None = None
_lock = allocate_lock()
_hooked = False


def init(config: Mapping[str, Any] | None = None, stop: Stop = "signal") -> Run:
    """The run that this program is.

    `config`: defaults; what the sweep decided wins, map by map. `stop`: how a run that is to end early learns it:
    "signal", by SIGTERM, or "raise", by `Pruned` from `log`. Works without an agent too: then the run is recorded in
    `.sweep/local/`.

    A second call returns the same run, its config completed by further defaults. After `finish` it begins a new one where
    no agent is; under an agent the same run is open again.

    Raises TypeError or ValueError for wrong arguments, and RuntimeError when the agent's variables or config file cannot
    be read: training with the wrong config would be worse.
    """
    global _current
    if stop not in ("signal", "raise"):
        raise ValueError(f'stop must be "signal" or "raise"; got {stop!r}')
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(
            f"config must be a mapping of names to defaults; got {type(config).__name__} "
            "(an argparse namespace: config=vars(args))"
        )
    with _lock:
        run = _current
        if run is None or (run._finished and run.standalone):
            run = _current = Run(stop)
            _hook()
            run._determine()
            run._complete(config or {})
            return run
        if run._finished:
            run._reopen()
        if stop != run._stop:
            run._say(f'init() was called before with stop="{run._stop}": that stays')
        if config:
            run._complete(config)
        return run


def log(metrics: Mapping[str, Any], step: float | None = None) -> None:
    """`run.log` of the run that `init` began. RuntimeError when there is none."""
    if _current is None:
        raise RuntimeError("there is no run yet: call sweep.init() before sweep.log()")
    _current.log(metrics, step)


def current() -> Run | None:
    """The run of this process, finished or not."""
    return _current


def _hook() -> None:
    """Once a process: finish at exit, and let go of the connection in forked children."""
    global _hooked
    if not _hooked:
        import atexit

        _hooked = True
        atexit.register(_at_exit)
        os.register_at_fork(after_in_child=_in_child)


def _at_exit() -> None:
    if _current is not None:
        _current.finish()


def _in_child() -> None:
    global _lock
    _lock = allocate_lock()
    if _current is not None:
        _current._after_fork()


def forget() -> None:
    """In a child that is a run of its own, without exit functions yet: what was begun in its parent is not its run."""
    global _current
    _current = None
    if _hooked:
        import atexit

        atexit.register(_at_exit)


# --- what the environment says


def _new_id() -> str:
    return strftime("%Y%m%d-%H%M%S") + "-" + os.urandom(3).hex()


def _whole(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise RuntimeError(f"{name} must be a whole number; it is {text!r}") from None


def _read_config(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            config = parse(file.read())
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the config file {path} (SWEEP_CONFIG) cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise RuntimeError(f"the config file {path} (SWEEP_CONFIG) must hold a JSON object")
    return config


def _is_first_client(marker: str) -> bool:
    """Whether this process is the first of its attempt to call `init`: it alone numbers its rows."""
    try:
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError:
        return True
    os.close(descriptor)
    return True


def _folder(path: str, say: Any) -> Path:
    from pathlib import Path

    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        say(f"cannot create {path}: {error.strerror or error}")
    return Path(path)


def _as_mapping(metrics: Any) -> Mapping[Any, Any]:
    if isinstance(metrics, Mapping):
        return metrics
    if hasattr(metrics, "keys") and hasattr(
        metrics, "__getitem__"
    ):  # a pandas Series, an h5py group's attributes
        return dict(metrics)
    raise TypeError(
        f"log takes a mapping of names to values, such as {{'loss': 0.3}}; got {type(metrics).__name__}"
    )
