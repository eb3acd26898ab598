"""The rows of the listing index, as they are kept and as they are read: keys, and views by their rows.

Keys: `sweep`, `spec`, `agent/<id>`, `run/<10 digits>`, `artifact/<name>`. Who only lists needs this file and nothing of what makes the
rows (`sweep.core.index`), which costs more to import than to list.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sweep.core.codec import spec_from_builtins
from sweep.core.spec import SweepSpec
from sweep.core.views import AgentView, ArtifactView, RunView, SpecView, SweepView

decode_run = msgspec.msgpack.Decoder(RunView).decode
decode_agent = msgspec.msgpack.Decoder(AgentView).decode
decode_spec = msgspec.msgpack.Decoder(SpecView).decode
decode_artifact = msgspec.msgpack.Decoder(ArtifactView).decode
decode_sweep = msgspec.msgpack.Decoder(SweepView).decode

SWEEP_KEY = "sweep"
SPEC_KEY = "spec"
RUN_PREFIX = "run/"
AGENT_PREFIX = "agent/"
ARTIFACT_PREFIX = "artifact/"


def run_key(run: int) -> str:
    """Index key of a run; keys sort as run numbers do."""
    return f"{RUN_PREFIX}{run:010d}"


class Views(msgspec.Struct, frozen=True):
    """Everything that listings need, decoded."""

    upto: int
    spec: SweepSpec
    created: SpecView
    sweep: SweepView
    runs: list[RunView]
    agents: list[AgentView]


def decode_views(upto: int, rows: Mapping[str, bytes]) -> Views:
    """Views from index rows. Raises KeyError when the sweep's own row is missing."""
    runs = [decode_run(rows[key]) for key in sorted(rows) if key.startswith(RUN_PREFIX)]
    created = decode_spec(rows[SPEC_KEY])
    spec = spec_from_builtins(created.spec)
    return Views(upto, spec, created, decode_sweep(rows[SWEEP_KEY]), runs, decode_agents(rows))


def decode_agents(rows: Mapping[str, bytes]) -> list[AgentView]:
    """Views of agents from their index rows, oldest first."""
    agents = [decode_agent(row) for key, row in rows.items() if key.startswith(AGENT_PREFIX)]
    return sorted(agents, key=lambda agent: agent.joined_s)


def decode_artifacts(rows: Mapping[str, bytes]) -> dict[str, ArtifactView]:
    """Views of artifacts by name, from their index rows."""
    found = [decode_artifact(rows[key]) for key in sorted(rows) if key.startswith(ARTIFACT_PREFIX)]
    return {view.name: view for view in found}
