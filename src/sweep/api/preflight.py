"""Before a run is executed again: what of its record is here, what can be restored, what differs, and what is missing.

The rules of this file: what a run rests on is restored where that is possible, compared where it is not, and never taken for
granted: what nobody recorded is said to be unknown. Nothing in anybody's checkout is changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from sweep.api.changing import root_above
from sweep.api.repeating import Recipe
from sweep.core.links import link_problem
from sweep.core.ran import node_of
from sweep.core.rows import Views
from sweep.core.views import RunView
from sweep.provenance import CodeRecord, TreeError, hardware_record, known_secrets, restore, snapshot
from sweep.provenance.code import hash_file
from sweep.provenance.environment import editable_folders
from sweep.provenance.git import GitError, run_git
from sweep.provenance.left_out import parse_list
from sweep.provenance.tree import digest_bytes
from sweep.provenance.variables import has_value
from sweep.stores import Store

State = Literal["same", "restored", "changed", "missing", "unknown"]
_MOST = 3
_NOT_THEIRS = frozenset("pip setuptools wheel uv sweep".split())
"""Packages that install others, or record the run: no value depends on them."""
_NUMERIC = tuple(
    """OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ BLIS_ NUMEXPR_ NUMBA_ CUBLAS CUDA_LAUNCH NVIDIA_TF32 NCCL_ TORCH PYTORCH_ TF_ XLA_ JAX_ PYTHONHASHSEED
    PYTHONOPTIMIZE TZ LANG LC_ SOURCE_DATE_EPOCH""".split()
)
"""Variables that values can depend on begin so: they are set as they were."""


class Check(msgspec.Struct, frozen=True):
    """One thing that a run rests on."""

    what: str
    recorded: str
    here: str
    state: State
    """`missing`: the run cannot be executed as it was; `changed`: it can, and may come out otherwise."""


class Origin(msgspec.Struct, frozen=True):
    """What is known of where a run was executed."""

    record: Mapping[str, Any]
    """`SweepCreated.record`."""
    node: Mapping[str, Any]
    """`AgentJoined.record` of the agent of its last attempt; empty when that is not known."""
    packages: Sequence[Mapping[str, Any]]
    gpus: tuple[str, ...]
    """Names of the GPUs that it had."""
    code: Mapping[str, Any] = {}
    """The record of the code that it executed."""

    @property
    def python(self) -> Mapping[str, Any]:
        """The interpreter of its node, or where that is not known of whoever created the sweep; empty without either."""
        return self.node.get("python") or self.record.get("python") or {}


def origin_of(store: Store, views: Views, run: RunView) -> Origin:
    """Out of the records of its sweep and its agent."""
    started = next((attempt for attempt in reversed(run.attempts) if attempt.command), None)
    node = node_of(views, run)
    record = views.created.record
    packages = node.get("packages") or record.get("packages")
    if isinstance(packages, str):
        data = store.get_blob(packages)
        packages = json.loads(data) if data is not None else []
    names = {gpu["uuid"]: gpu["name"] for gpu in (node.get("hardware") or {}).get("gpus") or ()}
    had = started.gpus if started is not None else ()
    gpus = tuple(names.get(uuid, uuid) for uuid in had)
    return Origin(record, node, packages or [], gpus, node.get("code") or record.get("code") or {})


# --- the code


def restore_code(
    store: Store, views: Views, origin: Origin, recipe: Recipe, target: Path, links: Mapping[str, Path]
) -> tuple[Path, list[Check]]:
    """(folder to start in, checks): the recorded code written into `target`, what the record lacks taken from where it was
    recorded if it is the same, and `links` (name below the folder that runs start in -> path)."""
    raw = origin.code
    if not raw.get("tree"):
        return target, [Check("code", "not recorded", "-", "missing")]
    record = msgspec.convert(raw, CodeRecord)
    recorded = f"{record.files} files, tree {record.tree[:12]}"
    try:
        restore(record, store.get_blob, target)
    except TreeError as error:
        return target, [Check("code", recorded, str(error), "missing")]
    checks = [Check("code", recorded, "restored, and its digest recomputed", "restored")]
    if record.git is not None and record.git.commit:
        checks.append(_commit(record, recipe))
    workdir = target / record.folder if record.folder else target
    workdir.mkdir(parents=True, exist_ok=True)
    checks += _left_out(store, record, recipe, target)
    checks += [_link(workdir, recipe, name, links.get(name)) for name in [*links, *views.spec.links]]
    return workdir, list(dict.fromkeys(checks))


def _commit(record: CodeRecord, recipe: Recipe) -> Check:
    assert record.git is not None
    commit = record.git.commit or ""
    try:
        run_git(Path(recipe.workdir), "cat-file", "-e", f"{commit}^{{commit}}")
        return Check("commit", commit[:12], "in the repository", "same")
    except (GitError, OSError):
        return Check(
            "commit", commit[:12], "not here, and not needed: the files themselves are recorded", "restored"
        )


def _left_out(store: Store, record: CodeRecord, recipe: Recipe, target: Path) -> list[Check]:
    """Files that the record names but does not hold: linked to where they were, if they are what they were."""
    data = store.get_blob(record.left_out_blob) if record.left_out_blob else None
    items = parse_list(data) if data is not None else list(record.left_out)
    root = root_above(Path(recipe.workdir), record.folder)
    checks = []
    for item in items:
        if item.reason.startswith("secret"):
            checks.append(
                Check(item.path, "kept out of the record: may be secret", "not restored", "unknown")
            )
            continue
        source = root / item.path
        if not source.is_file():
            checks.append(
                Check(item.path, f"too large for the record ({item.reason})", f"not in {root}", "missing")
            )
        elif item.digest and hash_file(str(source)) != item.digest:
            checks.append(Check(item.path, f"digest {item.digest[:12]}", f"changed in {root}", "missing"))
        else:
            (target / item.path).parent.mkdir(parents=True, exist_ok=True)
            (target / item.path).symlink_to(source)
            state: State = "same" if item.digest else "unknown"
            here = "the same, where it was" if item.digest else "taken from where it was, not compared"
            checks.append(Check(item.path, "not in the record", here, state))
    return checks


def _link(workdir: Path, recipe: Recipe, name: str, given: Path | None) -> Check:
    """A folder that the recorded code leaves out: where the person says it is, else where the run had it."""
    if problem := link_problem(name):
        return Check(name, "a link", problem, "missing")
    source, place = given or Path(recipe.workdir) / name, workdir / name
    if not source.exists():
        return Check(name, "a link, not recorded", f"not in {source}: say --link {name}=PATH", "missing")
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source.resolve())
    return Check(name, "a link, not recorded", f"{source}, not compared", "unknown")


# --- what it ran on


def check_editable(origin: Origin, environ: Mapping[str, str]) -> list[Check]:
    """Packages that were installed in place: their code now against their code then."""
    checks = []
    folders = editable_folders(origin.packages)
    for name, record in (origin.record.get("editable") or {}).items():
        if name in _NOT_THEIRS:
            continue
        tree = record["tree"]
        if name not in folders:
            checks.append(
                Check(name, f"installed in place, tree {tree[:12]}", "its folder is not here", "changed")
            )
            continue
        now = snapshot(folders[name], digest_bytes, known_secrets=known_secrets(environ))
        state: State = "same" if now.tree == tree else "changed"
        checks.append(Check(name, f"installed in place, tree {tree[:12]}", f"tree {now.tree[:12]}", state))
    return checks


def check_environment(
    origin: Origin, python: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]
) -> list[Check]:
    """Python and packages of the interpreter that the run is going to have."""
    checks = [_compared("python", _words(origin.python.get("version")), _words(python.get("version")))]
    if not origin.packages:
        return [*checks, Check("packages", "not recorded", f"{len(packages)}", "unknown")]
    before, now = _versions(origin.packages), _versions(packages)
    wrong = [
        f"{name} {version} -> {now.get(name, 'none')}"
        for name, version in before.items()
        if name not in _NOT_THEIRS and now.get(name) != version
    ]
    here = f"{len(wrong)} {'differs' if len(wrong) == 1 else 'differ'}: {', '.join(wrong[:_MOST])}" + (
        ", …" if len(wrong) > _MOST else ""
    )
    state: State = "changed" if wrong else "same"
    return [*checks, Check("packages", f"{len(before)}", here if wrong else "the same versions", state)]


def _versions(packages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {item["name"]: item.get("commit") or str(item.get("version", "")) for item in packages}


def check_hardware(origin: Origin) -> list[Check]:
    """Processor, C library and GPUs of this machine against the node's."""
    then, now = origin.node.get("hardware") or {}, hardware_record()
    if not then:
        return [Check("hardware", "not recorded", "-", "unknown")]
    cpu, cpu_now = then.get("cpu") or {}, now.get("cpu") or {}
    checks = [_compared("cpu", _cpu(cpu), _cpu(cpu_now))]
    if cpu.get("vector_flags") != cpu_now.get("vector_flags") and checks[0].state == "same":
        checks[0] = Check("cpu", _cpu(cpu), f"{_cpu(cpu_now)}, other vector instructions", "changed")
    checks.append(_compared("libc", _words(then.get("libc")), _words(now.get("libc"))))
    if origin.gpus:
        names = [gpu["name"] for gpu in now.get("gpus") or ()]
        have = all(names.count(name) >= origin.gpus.count(name) for name in set(origin.gpus))
        state: State = "same" if have else "changed"
        checks.append(Check("gpus", ", ".join(origin.gpus), ", ".join(names) or "none", state))
        for what in ("gpu_driver", "cuda_version"):
            checks.append(_compared(what.replace("_", " "), _words(then.get(what)), _words(now.get(what))))
    return checks


def numeric_variables(origin: Origin, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str], Check]:
    """(variables to set, names to unset, check): what the node's environment had that values can depend on."""
    recorded = (origin.node.get("environ") or {}).get("values")
    if recorded is None:
        return {}, [], Check("variables", "not recorded", "as they are here", "unknown")
    wanted = {name: value for name, value in recorded.items() if name.startswith(_NUMERIC)}
    extra = [name for name in environ if name.startswith(_NUMERIC) and name not in wanted and has_value(name)]
    differ = [name for name, value in wanted.items() if environ.get(name) != value] + extra
    here = f"set as they were: {', '.join(sorted(differ)[:_MOST])}" if differ else "the same"
    return (
        wanted,
        extra,
        Check(
            "variables", f"{len(wanted)} that values can depend on", here, "restored" if differ else "same"
        ),
    )


def _cpu(record: Mapping[str, Any]) -> str:
    return f"{record.get('model') or 'unknown'}, {record.get('architecture') or 'unknown'}"


def _words(value: Any) -> str:
    return " ".join(str(value).split()) if value else ""


def _compared(what: str, recorded: str, here: str) -> Check:
    if not recorded:
        return Check(what, "not recorded", here, "unknown")
    return Check(what, recorded, here or "unknown", "same" if recorded == here else "changed")
