"""Ray itself: finding or starting it, what it has, and asking its autoscaler for more.

The rule of this package: Ray is imported inside functions, so that only who launches pays for it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.gpus import cpu_count, discover
from sweep.cluster.order import NAMESPACE
from sweep.cluster.shape import ClusterError, ClusterNode

INSTALL = "Ray is not installed here; type: pip install 'sweep[ray]'"
TOKEN = "ray-token"
_NOBODY = (
    "there is no Ray cluster at {where}, or it does not answer ({why}); `ray status` on its head tells. `--ray local` starts one on "
    "this machine"
)
_CONNECT_S = 5.0
_OBJECTS_BYTES = 80 << 20
"""Ray's shared memory for objects on a cluster of ours: nothing of size goes through it, and this is about its minimum."""


class Connection(msgspec.Struct, frozen=True):
    """A Ray that this process is connected to."""

    address: str
    ours: bool
    """This process has started it, and it ends with this process."""


@contextlib.contextmanager
def connected(where: str, folder: Path, *, ours: bool = False) -> Iterator[Connection]:
    """Connect to the Ray that `where` names: `auto` (RAY_ADDRESS, else one that runs here, else a new one), `local` (a new one on
    this machine alone) or an address. `folder`: where the token of a new one is kept; `ours`: a launch on this machine has
    started the one at this address. Raises ClusterError."""
    if "://" in where:
        raise ClusterError(
            f"--ray {where}: give host:port of the cluster's head, and type it on one of the cluster's nodes"
        )
    local = starts_ray(where)
    where = os.environ.get("RAY_ADDRESS") or where if where == "auto" else where
    _choose_authentication(folder / TOKEN if local or ours else None, create=local)
    if not local:
        os.environ.setdefault(
            "RAY_BACKEND_LOG_LEVEL", "error"
        )  # else it writes of its troubles to our terminal, beside us
    ray = _import_ray()
    try:
        with _hushed():
            context = _start(ray) if local else _join(ray, where)
        yield Connection(context.address_info.get("address") or where, local)
    finally:
        ray.shutdown()


def starts_ray(where: str) -> bool:
    """Whether `connected` would start a new Ray, which ends with this process."""
    return where == "local" or (where == "auto" and not os.environ.get("RAY_ADDRESS") and not _runs_here())


def living_nodes() -> list[ClusterNode]:
    """The cluster's nodes."""
    import ray

    return [
        ClusterNode(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            address=node["NodeManagerAddress"],
            resources=node["Resources"],
            labels=node.get("Labels") or {},
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def ask_autoscaler(bundles: Sequence[tuple[dict[str, float], dict[str, str]]]) -> None:
    """Have the autoscaler, where there is one, see to it that all these (resources, labels of a node) fit at once; nothing takes
    back what was asked before. Ray remembers only the last such call."""
    from ray.autoscaler.sdk import request_resources

    wanted = [bundle for bundle, _ in bundles]
    labels = [labels for _, labels in bundles]
    if any(labels):
        with contextlib.suppress(TypeError):  # an older Ray: it sees the labels when the actors wait
            request_resources(bundles=wanted, bundle_label_selectors=labels)
            return
    request_resources(bundles=wanted)


# --- connecting -------------------------------------------------------------------------------------------------


def _import_ray() -> Any:
    try:
        ray: Any = importlib.import_module("ray")
        worker: Any = importlib.import_module("ray._private.worker")
    except ImportError:
        raise ClusterError(INSTALL) from None
    # Ray prints what happens to any worker of the cluster to our standard output. What concerns us we say ourselves.
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None
    return ray


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Ray's compiled part writes of its troubles to descriptor 2 until it has files of its own; what they come to we say ourselves."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _start(ray: Any) -> Any:
    gpus = discover(os.environ)
    if gpus:  # Ray counts and numbers them as we do, MIG instances too
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.device for gpu in gpus)
    try:
        return ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=max(1, int(cpu_count())),
            num_gpus=len(gpus),
            object_store_memory=_OBJECTS_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
        )
    except Exception as error:
        raise ClusterError(f"Ray does not start on this machine: {_line(error)}") from None


def _join(ray: Any, where: str) -> Any:
    if (why := _unreachable(where)) is not None:
        raise ClusterError(_NOBODY.format(where=where, why=why))
    try:
        return ray.init(address=where, namespace=NAMESPACE, log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:
        raise ClusterError(
            f"what answers at {where} does not let this process in ({_line(error)}). If it is a Ray cluster with tokens, or one without "
            "while this process has one, set RAY_AUTH_MODE (token or disabled) as the cluster has it, and RAY_AUTH_TOKEN_PATH to "
            "the file with the token; its Ray must also have the version that is installed here"
        ) from None


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _runs_here() -> bool:
    """Whether a Ray that was started by `ray start` is at work on this machine. Ray notes its address in this file, and may leave
    it there."""
    root = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    try:
        address = (root / "ray" / "ray_current_cluster").read_text("utf-8").strip()
    except OSError:
        return False
    return _unreachable(address) is None


def _unreachable(where: str) -> str | None:
    """Why nobody answers at host:port; None when somebody does, or `where` is no such address. Ray itself ends the whole process
    when it cannot connect."""
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdecimal() or "/" in where:
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def _choose_authentication(token: Path | None, *, create: bool) -> None:
    """Say explicitly whether there is a token, before Ray is imported: what Ray does by itself depends on whether a file lies in
    the home folder. A Ray of ours has one, which lies in our folder: else anybody on this machine could run code through it."""
    if os.environ.get("RAY_AUTH_MODE") or "ray" in sys.modules:
        return
    if token is not None and (create or token.exists()):
        if create:
            _keep_token(token)
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
        os.environ.pop("RAY_AUTH_TOKEN", None)
        return
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    known = given or (Path.home() / ".ray" / "auth_token").exists()
    os.environ["RAY_AUTH_MODE"] = "token" if known else "disabled"


def _keep_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32))
