"""Names that several packages must agree on."""

from __future__ import annotations

from collections.abc import Mapping

AGENT_LEASES = "agent/"


def agent_lease(agent: str) -> str:
    """The lease that is an agent's heartbeat."""
    return AGENT_LEASES + agent


def controller_lease(sweep: str) -> str:
    """The lease that the controller of a sweep holds."""
    return f"controller/{sweep}"


def run_id(sweep: str, run: int) -> str:
    """A run's name for people and programs."""
    return f"{sweep}-{run}"


def node_name(environ: Mapping[str, str], hostname: str) -> str:
    """What a node is called in the record: what a person says in `SWEEP_NODE` where the host name does not tell (containers get a new
    one each time), else its host name."""
    return environ.get("SWEEP_NODE", "").strip() or hostname


def checkpoint_cache(run: int, attempt: int) -> str:
    """The cache that says which blobs hold what an attempt has kept of its checkpoint folder."""
    return f"checkpoint/{run}/{attempt}"


def whole_output_cache(run: int, attempt: int) -> str:
    """The cache that says where an attempt's whole output is: a path or a URL."""
    return f"output/{run}/{attempt}/whole"


def usage_cache(run: int, attempt: int) -> str:
    """The cache that holds what an attempt has used over time (`sweep.core.samples`)."""
    return f"usage/{run}/{attempt}"


def output_cache(run: int, attempt: int, slot: int) -> str:
    """The cache that holds one piece of an attempt's output."""
    return f"output/{run}/{attempt}/{slot}"
