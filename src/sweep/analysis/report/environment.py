"""What runs executed on and with: machines, Python and packages, the code, and what of it the record lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sweep.analysis import text as words
from sweep.analysis.report.document import (
    Block,
    Code,
    Folded,
    Listing,
    Words,
    bullets,
    paragraph,
    table,
    text,
)
from sweep.analysis.report.facts import Facts
from sweep.analysis.report.results import spoken
from sweep.core.ran import as_of
from sweep.core.views import AgentView


def worked(facts: Facts) -> list[AgentView]:
    """The agents that executed something."""
    at_work = {attempt.agent for _, attempt in facts.attempts() if attempt.started_s is not None}
    return [agent for agent in facts.agents if agent.agent in at_work]


def nodes(facts: Facts) -> dict[str, list[AgentView]]:
    """Those agents by machine."""
    found: dict[str, list[AgentView]] = {}
    for agent in worked(facts):
        found.setdefault(agent.host, []).append(agent)
    return found


class Executed(msgspec.Struct, frozen=True):
    """Code that runs executed on a node."""

    host: str
    attempts: int
    code: Mapping[str, Any]
    """Its record (`CodeRecord` as plain data); empty where it is the sweep's, or was not recorded."""
    differs: tuple[str, ...]
    """Paths in which it differs from the sweep's."""


def executed(facts: Facts) -> list[Executed]:
    """Every code that some attempt executed, on each node."""
    found: dict[tuple[str, str, tuple[str, ...]], Executed] = {}
    agents = {agent.agent: agent for agent in worked(facts)}
    for _, attempt in facts.attempts():
        if attempt.started_s is None or attempt.agent not in agents:
            continue
        record = as_of(agents[attempt.agent], attempt.code)
        differs = tuple(map(str, (record.get("place") or {}).get("differs") or ()))
        code = record.get("code") or {}
        key = (attempt.host, code.get("tree", ""), differs)
        before = found[key].attempts if key in found else 0
        found[key] = Executed(attempt.host, before + 1, code, differs)
    return list(found.values())


def environment(facts: Facts) -> list[Block]:
    """Machines, Python, packages."""
    hosts = nodes(facts)
    if not hosts:
        return [paragraph("No run has started: there is no environment of runs.")]
    rows: list[list[Words]] = []
    for host, agents in hosts.items():
        hardware = agents[-1].record.get("hardware") or {}
        attempts = sum(attempt.host == host for _, attempt in facts.attempts())
        rows.append(
            [
                host,
                cpu_text(hardware),
                memory_text(hardware),
                gpu_text(hardware),
                system_text(hardware),
                f"{attempts:,}",
            ]
        )
    blocks: list[Block] = [table(("node", "CPU", "memory", "GPUs", "system", "attempts"), rows, (5,))]
    for python, packages, users in pythons(facts):
        blocks.append(
            paragraph(
                "Python ",
                Code(python),
                f" with {words.plural(len(packages), 'package')}, on {', '.join(users)}.",
            )
        )
        if packages:
            lines = "\n".join(package_line(package) for package in packages)
            blocks.append(Folded(f"The {len(packages)} packages, as installed", (Listing(lines),)))
    locks = facts.record.get("lock_files") or {}
    if locks:
        blocks.append(
            paragraph(
                "Lock and requirement files, whose content is in the recorded code: ",
                *_codes(list(locks)),
                ".",
            )
        )
    blocks.append(
        paragraph(
            "Variables that sweep set for the runs are in ",
            Code("sweep show RUN"),
            "; what each run's environment had beyond that is recorded by name, values of an allowlist only.",
        )
    )
    return blocks


def code(facts: Facts) -> list[Block]:
    """What is known of the code."""
    record = facts.record.get("code") or {}
    if not record:
        return [paragraph("The record has no code.")]
    git = record.get("git") or {}
    rows: list[list[Words]] = [
        ["tree", Code(record["tree"])],
        ["files", f"{record['files']:,} ({record['bytes']:,} bytes)"],
        [
            "whole",
            "yes: the record alone writes all of it back"
            if record["complete"]
            else f"no: {words.plural(record['left_out_count'], 'file')} left out",
        ],
    ]
    if git:
        state = (
            "as committed"
            if not git.get("dirty")
            else f"{git.get('changed', 0)} changed, {git.get('untracked', 0)} untracked; both are in the record"
        )
        rows += [["commit", Code(git.get("commit") or "none yet")], ["work tree", state]]
        if git.get("remote"):
            rows.append(["remote", Code(git["remote"])])
    for name, item in (facts.record.get("editable") or {}).items():
        whole = "" if item["complete"] else ", not whole"
        rows.append(
            [
                f"package {name}, installed in place",
                text(Code(item["tree"]), f" ({item['files']:,} files{whole})"),
            ]
        )
    blocks: list[Block] = [table(("", ""), rows)]
    others = [one for one in executed(facts) if one.code]
    if others:
        blocks.append(paragraph("It was edited later; what runs executed then is recorded with them:"))
        lines: list[list[Words]] = [
            [Code(one.code["tree"][:12]), ", ".join(one.differs), one.host, f"{one.attempts:,}"]
            for one in others
        ]
        blocks.append(table(("tree", "differs in", "node", "attempts"), lines, (3,)))
    return blocks


def gaps(facts: Facts) -> list[str]:
    """What the record lacks, one sentence each."""
    record = facts.record
    found = list(record.get("warnings") or ())
    if not record:
        found.append("nothing was recorded when the sweep was created: no code, no packages, no hardware")
    for host, agents in nodes(facts).items():
        for agent in agents:
            found += [f"on {host}: {warning}" for warning in agent.record.get("warnings") or ()]
            missing = (agent.record.get("hardware") or {}).get("not_measured") or {}
            found += [f"on {host}: {what} is {why}" for what, why in missing.items()]
    found += [
        f"on {one.host} runs executed other code than was recorded: {', '.join(one.differs)[:300]}"
        for one in executed(facts)
        if one.differs and not one.code
    ]
    found += _unmeasured(facts)
    said = any(lack.startswith("chance:") for graded in facts.grades.values() for lack in graded.lacks)
    if facts.table.spec.determinism == "off" and not said:
        found.append("chance was left alone (determinism: off): two executions of a run may differ")
    unset = [run for run in facts.runs if run.attempts and not any(a.command for a in run.attempts)]
    if unset:
        found.append(
            f"{words.plural(len(unset), 'run')} never started, and has no command"
            if len(unset) == 1
            else f"{len(unset):,} runs never started, and have no command"
        )
    return list(dict.fromkeys(found))


def _unmeasured(facts: Facts) -> list[str]:
    """Of what no sum of the section on compute has everything."""
    started = [attempt for _, attempt in facts.attempts() if attempt.started_s is not None]
    ended = [attempt for attempt in started if attempt.ended_s is not None]
    of = f"of {words.plural(len(ended), 'attempt')} that ended"
    kinds = (
        ("CPU time", sum(attempt.cpu_s is None for attempt in ended)),
        ("energy", sum(attempt.energy_j is None for attempt in ended)),
        ("what memory, disks and GPUs saw", sum(attempt.usage is None for attempt in ended)),
    )
    found = [f"{what} was not measured in {count:,} {of}" for what, count in kinds if count]
    known = [a for a in ended if a.energy_j is not None and a.usage is not None]
    cpus = sum(a.usage is not None and a.usage.node_cpu_energy_j is None for a in known)
    gpus = sum(bool(a.gpus) and a.usage is not None and a.usage.gpu_energy_j is None for a in known)
    parts = (("processors", cpus), ("GPUs", gpus))
    return [*found, *(f"the energy of {what} was not measured in {n:,} {of}" for what, n in parts if n)]


def not_captured(facts: Facts) -> list[Block]:
    """The list of gaps, and what no record has."""
    found = gaps(facts)
    lacks = any(graded.lacks for graded in facts.grades.values())
    always = paragraph(
        "No record of a sweep has: the data itself, unless it lies among the code or was logged as an artifact; values of variables outside the allowlist."
    )
    if not found:
        return [
            *([] if lacks else [paragraph("Nothing that sweep records is missing from this record.")]),
            always,
        ]
    return [
        paragraph("Missing from the record of the sweep and of its nodes:"),
        bullets([spoken(sentence) for sentence in found]),
        always,
    ]


def cpu_text(hardware: Mapping[str, Any]) -> str:
    cpu = hardware.get("cpu") or {}
    if not cpu.get("model"):
        return "not recorded"
    return f"{cpu['model']}, {cpu.get('cores_usable') or cpu.get('cores')} cores"


def memory_text(hardware: Mapping[str, Any]) -> str:
    total = hardware.get("memory_bytes")
    return f"{total / 2**30:.0f} GiB" if total else "not recorded"


def gpu_text(hardware: Mapping[str, Any]) -> str:
    """`2 × NVIDIA H100 (80 GiB), driver 550.54, CUDA 12.4`; `none`; `not recorded`."""
    if "gpus" not in hardware:
        return "not recorded"
    names: dict[str, int] = {}
    for gpu in hardware["gpus"] or ():
        name = f"{gpu.get('name', 'unknown')} ({(gpu.get('memory_bytes') or 0) / 2**30:.0f} GiB)"
        names[name] = names.get(name, 0) + 1
    if not names:
        return "none"
    cards = ", ".join(f"{count} × {name}" for name, count in names.items())
    return f"{cards}, driver {hardware.get('gpu_driver') or 'unknown'}, CUDA {hardware.get('cuda_version') or 'unknown'}"


def system_text(hardware: Mapping[str, Any]) -> str:
    parts = [hardware.get("os"), hardware.get("kernel"), hardware.get("libc")]
    return ", ".join(str(part) for part in parts if part) or "not recorded"


def package_line(package: Mapping[str, Any]) -> str:
    """As an installer takes it: `numpy==2.1.0`, `mine @ git+https://…@commit`."""
    name, version, url = package.get("name", ""), package.get("version", ""), package.get("url", "")
    if not url:
        return f"{name}=={version}"
    where = f"git+{url}@{package['commit']}" if package.get("commit") else url
    return f"{name} @ {where}" + ("  # installed in place" if package.get("editable") else "")


def pythons(facts: Facts) -> list[tuple[str, Sequence[Mapping[str, Any]], list[str]]]:
    """Each different Python with its packages, and the nodes that had it."""
    found: dict[str, tuple[str, Sequence[Mapping[str, Any]], list[str]]] = {}
    for agent in worked(facts):
        python = agent.record.get("python") or {}
        version = f"{python.get('implementation') or ''} {python.get('version') or 'not recorded'}".strip()
        packages = facts.packages.get(agent.agent, ())
        key = f"{version} {agent.record.get('packages')}"
        known = found.setdefault(key, (version, packages, []))
        if agent.host not in known[2]:
            known[2].append(agent.host)
    return list(found.values())


def _codes(names: Sequence[str]) -> list[Words]:
    found: list[Words] = []
    for name in names:
        found += [", ", Code(name)] if found else [Code(name)]
    return found
