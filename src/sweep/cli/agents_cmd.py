"""`sweep agents`: who is at work, and asking them to leave."""

from __future__ import annotations

import time
from typing import Any

import click
from msgspec import to_builtins

from sweep.analysis.records import iso_time
from sweep.api import find_sweep
from sweep.api.agents import AgentAtWork, end_agent, find_agent, list_agents, list_aside
from sweep.api.requests import Refused
from sweep.cli.common import command, json_option, opened, print_json, store_option
from sweep.cli.main import UserMistake
from sweep.cli.texts import duration_text, print_table
from sweep.stores import Store


@command("agents", "sweep agents --end all")
@click.argument("sweep_id", metavar="[ID]", required=False)
@click.option("--all", "everyone", is_flag=True, help="Also agents that have left or were lost.")
@click.option("--end", metavar="AGENT|all", help="Ask this agent, or all on this machine, to leave.")
@click.option(
    "--now", is_flag=True, help="With --end: without letting runs finish; they start again elsewhere."
)
@store_option
@json_option
def agents_command(
    sweep_id: str | None, everyone: bool, end: str | None, now: bool, store_url: str | None, as_json: bool
) -> None:
    """Show the agents that are at work here, or on sweep ID: where, since when, and how many runs they have done.

    An agent is at work while it renews its lease. --end is what Ctrl-C is in its terminal: running runs finish first.
    """
    if now and end is None:
        raise UserMistake("--now goes with --end AGENT")
    if end is not None and everyone:
        raise UserMistake("--all shows agents that are gone; to end all that are at work, say --end all")
    with opened(store_url) as store:
        sweeps = [find_sweep(store, sweep_id)] if sweep_id else store.sweeps()
        agents = list_agents(store, sweeps, everyone=everyone)
        if end is not None:
            agents = _end(store, agents, end, now)
        aside = [] if as_json or end is not None else list_aside(store, sweeps)
    if as_json:
        print_json([_record(agent) for agent in agents])
    elif end is None:
        for sweep, node, reason in aside:
            click.echo(f"{sweep}: node {node} is set aside: {reason}", err=True)
        _show(agents, everyone)


def _end(store: Store, agents: list[AgentAtWork], which: str, now: bool) -> list[AgentAtWork]:
    """The agents that were told."""
    if which != "all":
        agents = [find_agent(agents, which)]
    told: list[AgentAtWork] = []
    refused: list[str] = []
    for agent in agents:
        try:
            end_agent(store, agent, now=now, already=told)
        except Refused as error:
            refused.append(str(error))
            continue
        told.append(agent)
        click.echo(f"agent {agent.agent} {_what_it_does(agent, now)}", err=True)
    if refused and not told:
        raise UserMistake("\n".join(refused))
    for text in refused:
        click.echo(text, err=True)
    if not agents:
        click.echo("no agent is at work", err=True)
    return told


def _what_it_does(agent: AgentAtWork, now: bool) -> str:
    if not agent.running:
        return "leaves"
    runs = f"{agent.running} run{'s' if agent.running != 1 else ''}"
    if now:
        return f"ends its {runs}, then leaves"
    if agent.state == "leaving":
        them = "them" if agent.running != 1 else "it"
        return f"lets its {runs} finish, then leaves, as it was told before (--now ends {them})"
    return f"lets its {runs} finish, then leaves"


def _show(agents: list[AgentAtWork], everyone: bool) -> None:
    if not agents:
        click.echo("no agent has ever joined" if everyone else "no agent is at work", err=True)
        return
    now = time.time()
    rows = [
        (
            agent.agent,
            agent.sweep,
            agent.host,
            str(agent.pid),
            str(agent.slots),
            agent.state,
            duration_text((agent.ended_s or now) - agent.since_s),
            str(agent.running),
            str(agent.done),
        )
        for agent in agents
    ]
    for agent in agents:
        for slot in agent.kept:
            click.echo(f"{agent.agent}: {slot.words}", err=True)
    print_table(("AGENT", "SWEEP", "HOST", "PID", "SLOTS", "STATE", "FOR", "RUNNING", "DONE"), rows)


def _record(agent: AgentAtWork) -> dict[str, Any]:
    return {
        "id": agent.agent,
        "sweep": agent.sweep,
        "host": agent.host,
        "pid": agent.pid,
        "slots": agent.slots,
        "gpus": list(agent.gpus),
        "state": agent.state,
        "joined": iso_time(agent.since_s),
        "ended": iso_time(agent.ended_s),
        "running": agent.running,
        "done": agent.done,
        "aside": agent.aside,
        "kept": [to_builtins(slot) for slot in agent.kept],
    }
