"""The content of a file -> SweepSpec: each group of keys read, then what must hold between them.

The rule of this file: plain data and a `Report` in, a spec or None out; nothing here knows of YAML or files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from sweep.core.links import link_problem
from sweep.core.outputs import outputs_problem
from sweep.core.secrets import find_tokens, harmless_value, looks_secret_name
from sweep.core.space import Config, Space
from sweep.core.spec import (
    DEFAULT_COMMAND,
    PATIENCE_SHARE,
    RETRY_CLASSES,
    Confirm,
    EarlyTerminate,
    Limits,
    Metric,
    Resources,
    Retry,
    RetryClass,
    RetryRule,
    SweepSpec,
)
from sweep.spec._command import check_command
from sweep.spec._constraints import with_constraints
from sweep.spec._early import COMPARING, ETA, ETA_OF_ASHA, check_early_terminate
from sweep.spec._fields import MAX_SEED
from sweep.spec._honest import check_honest
from sweep.spec._initial import read_initial
from sweep.spec._models import GROUPS, HOSTED_KEYS, EarlyTerminateModel, SweepFile
from sweep.spec._parameters import check_grid, read_space
from sweep.spec._preload import check_preload
from sweep.spec._problems import Path, Report, listed, nearest, number, shorten, show
from sweep.spec._translate import show_yaml, validate

DEFAULT_ENGINE = "auto"
_MOST = 100
_REFERENCE = re.compile(r"\$\{envvar:[A-Za-z_][A-Za-z0-9_]*\}")


def build_spec(
    content: Any, report: Report, draw_seed: Callable[[], int], needs_program: bool = True
) -> SweepSpec | None:
    """The spec that `content` (plain data) describes; None when the report has errors. `needs_program`: one of `program` and
    `command` must be there."""
    if not isinstance(content, dict):
        report.error((), f"a sweep file is a mapping (`method: …`, `parameters: …`), not {show(content)}")
        return None
    given = _without_nulls(content)
    file = validate(SweepFile, {**given, **_read_below(given)}, (), report)
    method = content.get("method")
    space, initial = None, tuple[Config, ...]()
    if "parameters" in content:
        space = read_space(content["parameters"], method if isinstance(method, str) else None, report)
    command = _command(given, report)
    env = _env(given.get("env"), ("env",), report)
    rules_env = _rules_env(given, report)
    _check_hosted(given, report)
    _check_secret_texts(given, report)
    without_program = not needs_program and not {"program", "command"} & given.keys()
    _check_missing(given, report, needs_program)
    if file is not None:
        _check_together(file, report)
        _check_custom(file, report)
        if not without_program:
            check_command(command, file.program, report)
        check_preload(file, command, env, rules_env, report)
        if space is not None and file.method == "grid":
            check_grid(space, file.run_cap, report)
        if space is not None and file.constraints and not report.errors:
            space = with_constraints(space, file.constraints, file.method, report)
        initial = read_initial(given.get("initial"), space, file, report) if space is not None else ()
    if file is None or space is None or report.errors:
        return None
    extra = {key: content[key] for key in HOSTED_KEYS if key in given}
    return _spec(file, space, command, env, _retry(file, rules_env), extra, initial, draw_seed)


def _without_nulls(content: Mapping[str, Any]) -> dict[str, Any]:
    """A key with nothing behind it counts as not given, at the top and in the groups of keys."""
    given: dict[str, Any] = {}
    for key, value in content.items():
        if key in GROUPS and isinstance(value, dict):
            value = {name: item for name, item in value.items() if item is not None}
        if (
            value is not None
            or key not in SweepFile.model_fields
            or SweepFile.model_fields[key].is_required()
        ):
            given[key] = value
    return given


def _read_below(given: Mapping[str, Any]) -> dict[str, Any]:
    """`command` and `env` are read here, not by pydantic: their numbers keep the form in which they were written."""
    below: dict[str, Any] = {key: default for key, default in (("command", []), ("env", {})) if key in given}
    retry = given.get("retry")
    if isinstance(retry, dict):
        below["retry"] = {name: _rule_without_env(rule) for name, rule in retry.items()}
    return below


def _rule_without_env(rule: Any) -> Any:
    if not isinstance(rule, dict):
        return rule
    return {key: value for key, value in rule.items() if key != "env" and value is not None}


def _drawn(draw_seed: Callable[[], int]) -> int:
    seed = draw_seed()
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"draw_seed gave {seed}, and a seed lies between 0 and 2**63 - 1")
    return seed


# --- texts that may be written as numbers ----------------------------------------------------------------------


def _as_written(value: Any, at: Path, report: Report) -> str | None:
    """A scalar as text: `1.10` stays 1.10. None for what is no scalar."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bool | int | float):
        return None
    text = report.text(at)
    if text is not None:
        return text
    return show(value) if isinstance(value, bool) else str(value)


def _command(given: Mapping[str, Any], report: Report) -> tuple[str, ...]:
    command = given.get("command")
    if command is None:
        return DEFAULT_COMMAND
    if not isinstance(command, list):
        report.error(
            ("command",), f"must be a list, one item per argument, not {show(command)}{_split(command)}"
        )
        return ()
    if not command:
        report.error(
            ("command",), "is empty; leave it out for the default, " + show_yaml(list(DEFAULT_COMMAND))
        )
    items: list[str] = []
    for index, item in enumerate(command):
        text = _as_written(item, ("command", index), report)
        if text is None:
            hint = "; a text with `: ` in it needs quotes" if isinstance(item, dict) else ""
            report.error(("command", index), f"must be text, not {show(item)}{hint}")
        else:
            items.append(text)
    return tuple(items)


def _split(command: Any) -> str:
    if not isinstance(command, str) or len(command) > 200 or find_tokens(command, assignments=True):
        return ""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    shown = (
        f"[{', '.join(word if re.fullmatch(r'[A-Za-z0-9_./=-]+', word) else repr(word) for word in words)}]"
    )
    return f"; write `command: {shown}`" if words and len(shown) <= 200 else ""


def _rules_env(given: Mapping[str, Any], report: Report) -> dict[str, dict[str, str]]:
    """The `env` of each class below `retry`."""
    retry = given.get("retry")
    if not isinstance(retry, dict):
        return {}
    return {
        name: _env(rule.get("env"), ("retry", name, "env"), report)
        for name, rule in retry.items()
        if name in RETRY_CLASSES and isinstance(rule, dict)
    }


def _env(env: Any, where: Path, report: Report) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, dict):
        hint = "; write `NAME: value` lines without dashes" if isinstance(env, list) else ""
        report.error(where, f"must be a mapping (`NAME: value` lines), not {show(env)}{hint}")
        return {}
    read: dict[str, str] = {}
    for name, value in env.items():
        at: Path = (*where, name)
        text = _as_written(value, at, report)
        if text is None:
            hint = "; write '' for an empty value" if value is None else ""
            report.error(at, f"must be text or a number, not {show(value)}{hint}")
        elif message := _env_problem(name, text):
            report.error(at, message)
        else:
            read[name] = text
    return read


def _env_problem(name: str, text: str) -> str | None:
    if not name or "=" in name or any(char.isspace() for char in name):
        return "this cannot be the name of an environment variable"
    if name.startswith("SWEEP_"):
        return "variables that begin with SWEEP_ are set by sweep itself; choose another name"
    literal = _REFERENCE.sub("", text)
    is_literal = literal == text and not harmless_value(text)
    if find_tokens(literal) or (looks_secret_name(name) and is_literal):
        return (
            f"a secret must not stand in the file, which is recorded; write `{shorten(name)}: ${{envvar:{shorten(name)}}}`, "
            "and it is read from the environment of the node that runs it"
        )
    return None


# --- what has no effect, or should not be there ----------------------------------------------------------------


def _check_hosted(given: Mapping[str, Any], report: Report) -> None:
    keys = [key for key in given if key in HOSTED_KEYS]
    if keys:
        has, what = ("has", "it names") if len(keys) == 1 else ("have", "they name")
        others = f"{listed([f'`{key}`' for key in keys])} {has}"
        report.warn(
            (keys[0],), f"{others} no effect here: {what} a part of a hosted service; kept in the record"
        )
    if "metrics" in given and "metric" not in given:
        report.warn(
            ("metrics",), "what is optimised is `metric: {name: …, goal: minimize}`; did you mean `metric`?"
        )


def _check_secret_texts(given: Mapping[str, Any], report: Report) -> None:
    for key in ("name", "description", *HOSTED_KEYS):
        if find_tokens(str(given.get(key, ""))):
            report.error((key,), "looks like a secret, and the file is recorded; remove it")
    about = given.get("about")
    for key, text in about.items() if isinstance(about, dict) else ():
        if find_tokens(str(text)):
            report.error(("about", key), "looks like a secret, and the file is recorded; remove it")


# --- what must hold between keys -------------------------------------------------------------------------------


def _check_missing(given: Mapping[str, Any], report: Report, needs_program: bool) -> None:
    """Keys that only others make necessary. A misspelt one is reported as such, and is not missing."""
    unknown = [key for key in given if key not in SweepFile.model_fields]
    meant = {nearest(key, list(SweepFile.model_fields)) for key in unknown[:_MOST]}
    if needs_program and not {"program", "command"} & (given.keys() | meant):
        report.error((), "neither `program` nor `command` is given; add, for example, `program: train.py`")
    if given.get("method") == "bayes" and "metric" not in given.keys() | meant:
        report.error(("method",), "bayes needs a metric; add `metric: {name: …, goal: minimize}`")


def _check_custom(file: SweepFile, report: Report) -> None:
    """Ray has its own keys for CPUs and GPUs, and refuses them among the custom resources."""
    for name, amount in file.resources.custom.items():
        if name.upper() in ("CPU", "GPU"):
            report.error(
                ("resources", "custom", name),
                f"is no custom resource: write `{name.lower()}s: …` beside `custom`",
            )
        elif not name.strip() or name in ("memory", "object_store_memory") or name.startswith("node:"):
            report.error(("resources", "custom", name), "is a name that Ray keeps for itself")
        elif amount > 1 and amount != int(amount):
            report.error(
                ("resources", "custom", name),
                f"must be a whole number, or a part of one below 1, not {number(amount)}",
            )


def _check_together(file: SweepFile, report: Report) -> None:
    if file.engine is not None and file.method != "bayes":
        report.error(
            ("engine",), f"only `method: bayes` has engines, and the method is {file.method}; remove it"
        )
    if file.engine == "optuna-gp" and find_spec("torch") is None:
        report.warn(
            ("engine",),
            "needs torch where the sweep is worked off, and it is not installed here: pip install 'sweep[gp]'",
        )
    if file.metric is not None and (file.metric.impute != "worst" or file.metric.impute_while_running):
        report.warn(
            ("metric",), "`impute` has no effect here: a run without a value counts as the worst one seen"
        )
    if file.patience is not None and file.metric is None:
        report.error(
            ("patience",), "needs a metric to compare trials by; add `metric: {name: …, goal: minimize}`"
        )
    if file.learn_from and file.method != "bayes":
        report.warn(("learn_from",), f"has no effect with `method: {file.method}`, which has no model")
    _check_links(file, report)
    _check_inputs(file, report)
    if file.outputs is not None and (message := outputs_problem(file.outputs)):
        report.error(("outputs",), message)
    _check_retry(file, report)
    check_early_terminate(file, report)
    check_honest(file, report)


def _check_links(file: SweepFile, report: Report) -> None:
    links = file.links or []
    for index, name in enumerate(links):
        if message := link_problem(name, links[:index]):
            report.error(("links", index), message)


def _check_inputs(file: SweepFile, report: Report) -> None:
    inputs = file.inputs or []
    for index, path in enumerate(inputs):
        if "\0" in path or not path.strip():
            report.error(("inputs", index), f"{path!r} is not a path; write, for example, `data/train.csv`")
        elif "://" in path:
            message = f"{path!r} is an address; a file or folder is wanted here, and `run.use_artifact` for what is kept elsewhere"
            report.error(("inputs", index), message)
        elif path in inputs[:index]:
            report.error(("inputs", index), f"{path!r} is named twice")


def _check_retry(file: SweepFile, report: Report) -> None:
    on = file.retry.on
    if on is None:
        return
    if not on:
        report.error(
            ("retry", "on"), "is empty; leave `retry` out where no run is to be tried again, or name classes"
        )
    for name in RETRY_CLASSES:
        if getattr(file.retry, name) is not None and on and name not in on:
            report.error(
                ("retry", name), f"has no effect, because `retry.on` does not name it; add {name} there"
            )


# --- structs ---------------------------------------------------------------------------------------------------


def _spec(
    file: SweepFile,
    space: Space,
    command: tuple[str, ...],
    env: dict[str, str],
    retry: Retry,
    extra: dict[str, Any],
    initial: tuple[Config, ...],
    draw_seed: Callable[[], int],
) -> SweepSpec:
    return SweepSpec(
        method=file.method,
        space=space,
        seed=file.seed if file.seed is not None else _drawn(draw_seed),
        metric=_metric(file),
        name=file.name,
        description=file.description,
        program=file.program,
        command=command,
        run_cap=file.run_cap,
        initial=initial,
        learn_from=tuple(file.learn_from or ()),
        patience=file.patience,
        early_terminate=_early_terminate(file),
        replicates=file.replicates,
        seeds=file.seeds,
        engine=(file.engine or DEFAULT_ENGINE) if file.method == "bayes" else None,
        resources=_resources(file),
        limits=_limits(file),
        retry=retry,
        env=env,
        preload=tuple(file.preload or ()),
        determinism=file.determinism,
        workdir=file.workdir,
        code=file.code,
        links=tuple(file.links or ()),
        checkpoints=file.checkpoints,
        outputs=file.outputs,
        priority=file.priority,
        extra=extra,
        confirm=_confirm(file),
        report_metric=file.report_metric,
        inputs=tuple(file.inputs or ()),
        about={key: text for key, text in file.about.model_dump().items() if text is not None},
    )


def _confirm(file: SweepFile) -> Confirm | None:
    given = file.confirm
    return None if given is None else Confirm(top=given.top, seeds=given.seeds, choose=given.choose)


def _metric(file: SweepFile) -> Metric | None:
    if file.metric is None:
        return None
    target = file.metric.target
    return Metric(
        name=file.metric.name,
        goal=file.metric.goal,
        target=None if target is None else float(target),
        impute=file.metric.impute,
        impute_while_running=file.metric.impute_while_running,
    )


def _early_terminate(file: SweepFile) -> EarlyTerminate | None:
    early = file.early_terminate
    if early is None:
        return None
    return EarlyTerminate(
        type=early.type,
        min_iter=early.min_iter,
        max_iter=early.max_iter,
        s=early.s,
        eta=float(early.eta or (ETA_OF_ASHA if early.type == "asha" else ETA)),
        strict=early.strict,
        step=early.step,
        min_runs=early.min_runs,
        percentile=early.percentile,
        threshold=None if early.threshold is None else float(early.threshold),
        patience=early.patience,
        min_delta=float(early.min_delta),
        resume=early.resume,
        trend=early.trend and early.type in COMPARING,
        patience_share=_patience_share(early),
    )


def _patience_share(early: EarlyTerminateModel) -> float:
    """Where it has no effect, that of specs which do not have it."""
    if early.type != "plateau" or early.patience is not None:
        return EarlyTerminate().patience_share
    return PATIENCE_SHARE if early.patience_share is None else float(early.patience_share)


def _resources(file: SweepFile) -> Resources:
    given = file.resources
    return Resources(
        cpus=None if given.cpus is None else float(given.cpus),
        gpus=None if given.gpus is None else float(given.gpus),
        custom={name: float(amount) for name, amount in given.custom.items()},
        labels=dict(given.labels),
    )


def _limits(file: SweepFile) -> Limits:
    limits = file.limits
    return Limits(
        run_time_s=limits.run_time,
        no_progress_s=limits.no_progress,
        wall_time_s=limits.wall_time,
        gpu_hours=None if limits.gpu_hours is None else float(limits.gpu_hours),
        kill_after_s=limits.kill_after,
        cpu_hours=None if limits.cpu_hours is None else float(limits.cpu_hours),
        energy_kwh=None if limits.energy_kwh is None else float(limits.energy_kwh),
    )


def _retry(file: SweepFile, rules_env: Mapping[str, dict[str, str]]) -> Retry:
    """Classes in the order of `RETRY_CLASSES`, so that two ways to write the same are the same."""
    given = file.retry
    rules: dict[RetryClass, RetryRule] = {}
    for name in RETRY_CLASSES:
        rule = getattr(given, name)
        if rule is not None:
            rules[name] = RetryRule(max=rule.max, wait_s=rule.wait, env=rules_env.get(name, {}))
    named = {*(given.on if given.on is not None else Retry().on), *(rules if given.on is None else ())}
    return Retry(max=given.max, on=tuple(name for name in RETRY_CLASSES if name in named), rules=rules)
