"""What a run executed, out of the views.

The rule of this file: an agent that found other code in the folder than the sweep was created with has recorded that code itself
(`AgentJoined.record["code"]`, and `CodeChanged` for what was edited later); of a run that it started with that, it is the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweep.core.rows import Views
from sweep.core.views import AgentView, RunView


def node_of(views: Views, run: RunView) -> Mapping[str, Any]:
    """The record of the agent of the last attempt that has begun, with the code as it was then; empty when none has, or its agent is
    not known."""
    begun = next((attempt for attempt in reversed(run.attempts) if attempt.started_s is not None), None)
    agent = next((view for view in views.agents if begun and view.agent == begun.agent), None)
    return {} if begun is None or agent is None else as_of(agent, begun.code)


def as_of(agent: AgentView, number: int) -> Mapping[str, Any]:
    """The record of an agent with the code of this number (`AttemptView.code`)."""
    if not 0 < number <= len(agent.codes):
        return agent.record
    then = agent.codes[number - 1]
    return {**agent.record, "code": then["code"], "place": then["place"]}


def code_of(views: Views, run: RunView) -> Mapping[str, Any]:
    """The record of its code (`sweep.provenance.CodeRecord` as plain data); empty when there is none."""
    return node_of(views, run).get("code") or views.created.record.get("code") or {}
