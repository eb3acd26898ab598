"""Names that several packages must agree on."""

from __future__ import annotations

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
