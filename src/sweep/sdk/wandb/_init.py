"""`wandb.init` and the functions of the module that speak of the current run."""

from __future__ import annotations

import os

from sweep.sdk.wandb._errors import Error, UsageError
from sweep.sdk.wandb._run import Run
from sweep.sdk.wandb._say import nothing, once
from sweep.sdk.wandb._settings import Settings, from_the_environment
from sweep.sdk.wandb._values import config_file, friendly, parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

_active: list[Run] = []
"""Runs that are not finished, the latest last."""
_next_step = 0
"""Where the rows of the next run of this process begin."""
_hooked = False

_NOTHING = {
    "save_code": "the sweep's record has the code of every run",
    "tensorboard": "log the values with wandb.log as well",
    "sync_tensorboard": "log the values with wandb.log as well",
    "monitor_gym": "log a wandb.Video",
    "resume_from": "",
    "fork_from": "",
}
_RESUMES = (True, "allow", "must", "auto", "true", "True")


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: Any = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Any = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Any = None,
    anonymous: Any = None,
    **more: Any,
) -> Run:
    """Begin a run. `config`: the script's values; the sweep's win and are locked. All of wandb's parameters are accepted;
    those of the run's description are recorded. With a run already begun it returns that one, unless `reinit` says
    otherwise. Raises UsageError for a config that cannot be read."""
    fields = _fields(
        settings,
        entity=entity,
        project=project,
        root_dir=dir,
        run_id=id,
        run_name=name,
        run_notes=notes,
        run_tags=(tags,) if isinstance(tags, str) else None if tags is None else tuple(tags),
        run_group=group,
        run_job_type=job_type,
        mode=mode,
        reinit=reinit,
        resume=resume,
    )
    given: dict[str, Any] = {"save_code": save_code, "tensorboard": tensorboard, "monitor_gym": monitor_gym}
    given.update(sync_tensorboard=sync_tensorboard, resume_from=resume_from, fork_from=fork_from, **more)
    for option in (option for option, value in given.items() if value):
        nothing(f"wandb.init({option}=…)", _NOTHING.get(option, ""))
    again = _run_already_begun(fields.get("reinit"))
    if again is not None:
        return again
    values = parameters(config, config_exclude_keys, config_include_keys)
    defaults = config_file("config-defaults.yaml")
    return _begin(fields, {key.strip("-"): friendly(value) for key, value in {**defaults, **values}.items()})


def _fields(settings: Any, **arguments: Any) -> Settings:
    """What the environment says, what `settings=` says over it, what `init` was given over both."""
    fields = from_the_environment()
    if "SWEEP_RUN_ID" in os.environ:
        fields.pop("run_id", None)  # the agent's, and not the script's word
    more = settings.__dict__ if isinstance(settings, Settings) else dict(settings or {})
    for source in (more, arguments):
        fields.update({name: value for name, value in source.items() if value is not None})
    if fields.get("mode") == "dryrun":
        fields["mode"] = "offline"
    return Settings(**fields)


def _run_already_begun(reinit: Any) -> Run | None:
    run = current()
    if run is None or reinit == "create_new":
        return None
    if reinit in (True, "finish_previous", "true", "True"):
        for other in list(_active):
            other.finish()
        return None
    once(
        "again",
        "wandb.init() was called while a run is active: it returns that run (reinit=True begins another)",
    )
    return run


def _begin(settings: Settings, config: dict[str, Any]) -> Run:
    from sweep.sdk.wandb._record import Nothing, Record

    disabled = settings.get("mode") == "disabled"
    if disabled:
        once(
            "disabled",
            'wandb is disabled (mode="disabled" or WANDB_MODE): nothing that it is given is recorded',
        )
    record = Nothing() if disabled else Record()
    resumes = settings.get("resume") in _RESUMES
    run = Run(settings, record, config, 0 if resumes or record.standalone else _next_step)
    if resumes:
        run._step = run.starting_step = max(record.resume_step(), 0 if record.standalone else _next_step)
        run.resumed = run._step > 0
    run._ended = _over
    _active.append(run)
    _hook()
    return run


def _over(run: Run) -> None:
    global _next_step
    _next_step = max(_next_step, run._base + run._step)
    if run in _active:
        _active.remove(run)


def _hook() -> None:
    """Once a process, and after the SDK's own hook, so that this one runs before it."""
    global _hooked
    if not _hooked:
        import atexit

        _hooked = True
        atexit.register(_at_exit)


def _at_exit() -> None:
    for run in list(_active):
        if run._pid == os.getpid():
            try:
                run._flush()
            except Exception as error:
                once("exit", f"could not finish the run properly: {error!r}")


def current() -> Run | None:
    """The latest run that is not finished."""
    return _active[-1] if _active else None


def attach(attach_id: str | None = None, run_id: str | None = None, *, run: Run | None = None) -> Run:
    """The current run; in a process that has none, the run that this process belongs to."""
    return run or current() or init()


def setup(settings: Any = None) -> Settings:
    """Accepted: there is no service to set up."""
    return settings if isinstance(settings, Settings) else Settings()


def teardown(exit_code: int | None = None) -> None:
    """Finish every run."""
    for run in list(_active):
        run.finish(exit_code)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Finish the current run, if there is one."""
    run = current()
    if run is not None:
        run.finish(exit_code)


def login(
    key: str | None = None,
    relogin: bool | None = None,
    host: str | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    verify: bool = True,
    referrer: str | None = None,
    prompt: bool = True,
    anonymous: Any = None,
) -> bool:
    """True: nobody needs to log in. The key is looked at by nobody."""
    return True


def require(
    requirement: str | Iterable[str] | None = None, experiment: str | Iterable[str] | None = None
) -> None:
    """Accepted."""


def restore(name: str, run_path: str | None = None, replace: bool = False, root: str | None = None) -> Any:
    """`run.restore` of the current run."""
    return _needed("restore").restore(name, run_path, replace, root)


class NotYet:
    """`wandb.config` and `wandb.summary` before there is a run: everything raises wandb's Error."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        raise Error(f"You must call wandb.init() before {self._name}.{key}")

    def __setattr__(self, key: str, value: Any) -> None:
        raise Error(f"You must call wandb.init() before {self._name}.{key}")

    def __getitem__(self, key: str) -> Any:
        raise Error(f"You must call wandb.init() before {self._name}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        raise Error(f"You must call wandb.init() before {self._name}[{key!r}]")


def of_the_run(name: str) -> Any:
    """`wandb.run`, `wandb.config`, `wandb.summary` as they are now."""
    run = current()
    if name == "run":
        return run
    return NotYet(f"wandb.{name}") if run is None else getattr(run, name)


def _needed(method: str) -> Run:
    run = current()
    if run is None:
        raise Error(f"You must call wandb.init() before wandb.{method}()")
    return run


def _delegate(name: str) -> Callable[..., Any]:
    method = getattr(Run, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        return method(_needed(name), *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`run.{name}` of the current run."
    call.__wrapped__ = method  # type: ignore[attr-defined]
    return call


DELEGATED = (
    "alert",
    "define_metric",
    "link_model",
    "log",
    "log_artifact",
    "log_model",
    "mark_preempting",
    "pin_config_keys",
    "save",
    "unwatch",
    "use_artifact",
    "use_model",
    "watch",
)
"""Functions of the module that are methods of the current run."""

globals().update({name: _delegate(name) for name in DELEGATED})


def ensure_configured() -> None:
    """Accepted."""


def sagemaker_auth(overrides: Any = None, path: str = ".", api_key: str | None = None) -> None:
    """Accepted: nobody needs to log in."""


def controller(sweep_id_or_config: Any = None, entity: str | None = None, project: str | None = None) -> Any:
    """There is none: `sweep agent` decides."""
    raise UsageError(
        "wandb.controller: there is no local controller here; `sweep agent ID` works a sweep off"
    )
