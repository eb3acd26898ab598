"""The reproducibility checklist: for each item what of it the record shows, a draft of an answer, and what only the author knows.

The rule of this file: an answer is made of what the record has or of what the author wrote below `about:`, and of nothing else. The
evidence is `complete` where the record answers the item, `partial` where it answers a part of it, `none` where it does not; nobody's
"yes" is put here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweep.analysis import text as words
from sweep.analysis.report.compute import cpu_hours, energy_text, energy_words, runs_text
from sweep.analysis.report.data import data_words, taint_words
from sweep.analysis.report.document import Check, Code, Text, Words, text
from sweep.analysis.report.environment import (
    cpu_text,
    executed,
    gpu_text,
    memory_text,
    nodes,
    pythons,
    worked,
)
from sweep.analysis.report.facts import Facts, spent_by
from sweep.analysis.report.results import behind, command_line, ranking, result_run, spoken, spread
from sweep.analysis.report.titles import (
    ABOUT,
    ARTIFACTS,
    CODE,
    COMMANDS,
    COMPUTE,
    CONFIGS,
    DATA,
    ENVIRONMENT,
    METHOD,
    RESULTS,
    SETTINGS,
    SPACE,
)
from sweep.analysis.summary import summary
from sweep.analysis.usage import hours
from sweep.core.spec import ABOUT as ASKED

Item = Check
NONE, PARTIAL, COMPLETE = "none", "partial", "complete"


def checklist(facts: Facts) -> list[Item]:
    """All items, in the order of the source checklist."""
    items = (
        ("Statistics of the data", _author("data_statistics")),
        ("Train, validation and test splits", _author("data_splits")),
        ("Excluded data and pre-processing", _author("excluded_data")),
        ("Link to the data or the environment", _data_link),
        ("How the data was collected", _author("data_collection")),
        ("Dependencies", _dependencies),
        ("Training code", _training_code),
        ("Evaluation code", _evaluation),
        ("Pre-trained models", _pretrained),
        ("Results with the precise command of each", _results),
        (
            "Hyperparameters: range considered, method to select the best, all that were used",
            _hyperparameters,
        ),
        ("Exact number of training and evaluation runs", _numbers),
        ("Definition of the measure", _measure),
        ("Central tendency and variation", _variation),
        ("Average runtime or energy cost", _runtime),
        ("Computing infrastructure", _infrastructure),
    )
    found = []
    for number, (title, answer) in enumerate(items, 1):
        evidence, said, sources, asked = answer(facts)
        found.append(Check(number, title, evidence, said, sources, asked))
    return found


Answer = tuple[str, Text, tuple[str, ...], str]
"""Evidence, draft, titles of the sections that show it, and what is asked of the author."""


def _asked(key: str) -> str:
    return f"about.{key}: {ASKED[key]}"


def _author(key: str) -> Callable[[Facts], Answer]:
    """An item that only the author can answer."""

    def answer(facts: Facts) -> Answer:
        said = facts.about(key)
        if not said:
            return NONE, text("The record does not show it."), (), _asked(key)
        return COMPLETE, _stated(said, key), (ABOUT,), ""

    return answer


def _stated(said: str, key: str) -> Text:
    return text(f"{said.strip().removesuffix('.')} (stated by the author, ", Code(f"about.{key}"), ").")


def _data_link(facts: Facts) -> Answer:
    said = facts.about("data_link")
    data = [used for used in facts.artifacts if not used.logged]
    shown: list[str] = []
    if data:
        names = ", ".join(dict.fromkeys(f"{used.name} ({used.digest[:12]})" for used in data))
        shown = [f" Runs used these artifacts, by digest: {names}."]
    if digests := data_words(facts):
        shown.append(f" Runs read this data, by digest: {digests}. {taint_words(facts)}".rstrip())
    sources = (*([ARTIFACTS] if data else []), *([DATA] if digests else []))
    if said:
        return COMPLETE, text(_stated(said, "data_link"), *shown), (ABOUT, *sources), ""
    if shown:
        where = " Where others get it the record does not show."
        return PARTIAL, text("".join(shown).strip(), where), sources, _asked("data_link")
    return NONE, text("The record does not show it."), (), _asked("data_link")


def _dependencies(facts: Facts) -> Answer:
    found = [one for one in pythons(facts) if one[1]]
    if not found:
        return NONE, text("The record has no list of packages."), (), ""
    complete = all(facts.packages.get(agent.agent) for agent in worked(facts))
    kinds = "; ".join(
        f"{python} with {words.plural(len(packages), 'package')} on {', '.join(hosts)}"
        for python, packages, hosts in found
    )
    many = "" if len(found) == 1 else f"{len(found)} different environments: "
    said: list[Words] = [
        f"{many}{kinds}: each package with its version and origin, as recorded where the runs were executed; ",
        Code("sweep reproduce --env rebuild"),
        " installs exactly those of a run.",
    ]
    in_place = dict.fromkeys(
        p["name"]
        for _, packages, _ in found
        for p in packages
        if p.get("editable") and not _kept(facts, p["name"])
    )
    if not complete:
        said.append(" Of some agents that executed runs the packages are not on record.")
    if in_place:
        said.append(f" The code of {', '.join(in_place)}, installed in place, is not whole in the record.")
    return (COMPLETE if complete and not in_place else PARTIAL), text(*said), (ENVIRONMENT,), ""


def _kept(facts: Facts, name: str) -> bool:
    """Whether the code of a package that was installed in place is whole in the record. Runs are lent sweep's own SDK."""
    record = (facts.record.get("editable") or {}).get(name)
    return name == "sweep" or bool(record and record.get("complete"))


def _training_code(facts: Facts) -> Answer:
    code = facts.record.get("code") or {}
    if not code:
        return NONE, text("The record has no code."), (), ""
    commit = (code.get("git") or {}).get("commit")
    said: list[Words] = [f"{words.plural(code['files'], 'file')}, tree ", Code(code["tree"][:12])]
    if commit:
        said += [", commit ", Code(commit[:12])]
    if code["complete"]:
        said.append("; the record alone writes all of them back.")
    else:
        said.append(f"; {words.plural(code['left_out_count'], 'file')} of the code is not in the record.")
    others = [one for one in executed(facts) if one.differs]
    kept = [one for one in others if one.code]
    if kept:
        trees = ", ".join(dict.fromkeys(one.code["tree"][:12] for one in kept))
        count = words.plural(sum(one.attempts for one in kept), "attempt")
        said.append(
            f" It was edited later: {count} executed other code, which is recorded with them (tree {trees})."
        )
    if len(kept) < len(others):
        said.append(" Some runs executed other code, which is not in the record.")
    edited = sum(bool(attempt.code_changed) for _, attempt in facts.attempts())
    if edited:
        said.append(
            f" Files of it were changed while {words.plural(edited, 'attempt')} ran: which they read nobody can tell."
        )
    whole = code["complete"] and len(kept) == len(others) and all(one.code["complete"] for one in kept)
    return (COMPLETE if whole and not edited else PARTIAL), text(*said), (CODE,), ""


def _evaluation(facts: Facts) -> Answer:
    said, metric = facts.about("evaluation"), facts.table.metric
    if said:
        return COMPLETE, _stated(said, "evaluation"), (ABOUT,), ""
    if metric is None or not facts.record.get("code") or not facts.table.scored:
        return NONE, text("The record does not show it."), (), _asked("evaluation")
    shown = text(
        "The program that trains computes ",
        Code(metric),
        " itself, and its code is recorded. Which part of it evaluates, and on what, the record does not show.",
    )
    return PARTIAL, shown, (CODE,), _asked("evaluation")


def _pretrained(facts: Facts) -> Answer:
    said = facts.about("pretrained")
    models = [used for used in facts.artifacts if not used.logged and used.type == "model"]
    if said:
        return COMPLETE, _stated(said, "pretrained"), (ABOUT,), ""
    if models:
        names = ", ".join(dict.fromkeys(f"{used.name} ({used.digest[:12]})" for used in models))
        return (
            PARTIAL,
            text(f"Runs used these models, by digest: {names}."),
            (ARTIFACTS,),
            _asked("pretrained"),
        )
    return NONE, text("The record does not show it."), (), _asked("pretrained")


def _results(facts: Facts) -> Answer:
    ranked = ranking(facts)
    if not ranked:
        return NONE, text("There is no result yet."), (), ""
    runs = behind(facts)
    known = sum(bool(command_line(run)) for run in runs)
    said = text(
        f"{words.plural(len(ranked), 'trial')} have a score; {known} of the {words.plural(len(runs), 'run')} behind the results have their command, config and seed on record. ",
        Code(f"sweep reproduce {result_run(facts)}"),
        " executes the result again and compares every value.",
    )
    return (COMPLETE if known == len(runs) else PARTIAL), said, (RESULTS, COMMANDS), ""


def _hyperparameters(facts: Facts) -> Answer:
    spec, table = facts.table.spec, facts.table
    engine = ", ".join(dict.fromkeys(f"{p.engine} {p.version}".strip() for p in facts.proposals))
    said: list[Words] = [
        f"{words.plural(len(spec.space.parameters), 'parameter')} with the ranges under Space; method {spec.method}"
        + (f" by {engine}" if engine else "")
        + f", seed {spec.seed}; {words.plural(len(table.trials), 'config')} tried."
    ]
    best = table.best
    if best is not None:
        extreme = "lowest" if table.goal == "minimize" else "highest"
        fresh = facts.result.chosen_by == "fresh seeds"
        how = (
            f"{extreme} mean on fresh seeds that choose, among those with the {extreme} scores"
            if fresh
            else f"{extreme} score"
        )
        said.append(f" Selected: the {how}.")
    rests_on = behind(facts)
    told = sum(bool(run.defaults) for run in rests_on)
    complete = best is not None and told == len(rests_on)
    said.append(f" Every config stands in the record, {_told(told, len(rests_on))}")
    return (COMPLETE if complete else PARTIAL), text(*said), (SPACE, METHOD, SETTINGS, CONFIGS), ""


def _told(told: int, runs: int) -> str:
    """In words, of how many runs the values that their program took beside the config are known."""
    fixed = "what is fixed in its code is in the code only."
    if not told:
        return f"but the program reported no defaults of its own: {fixed}"
    if told == runs:
        return "and beside it the defaults that the program reported."
    return f"but only {told:,} of the {runs:,} runs behind the results reported defaults of their program's own: of the others {fixed}"


def _numbers(facts: Facts) -> Answer:
    if not facts.runs:
        return NONE, text("No run was made."), (), ""
    attempts = facts.attempts()
    values = sum(run.steps for run in facts.runs)
    again = sum(len(run.reproduced) for run in facts.runs)
    said = [
        f"{runs_text(facts)} in {words.plural(len(attempts), 'attempt')}, failed and abandoned ones included; "
        f"{words.plural(values, 'value')} of the objective are on record, one for each evaluation of it"
    ]
    fresh = sum(run.purpose == "confirm" for run in facts.runs)
    said.append(f"; {words.plural(fresh, 'run')} of these on fresh seeds, to confirm" if fresh else "")
    said.append(f"; {words.plural(again, 'run')} executed again to compare" if again else "")
    if facts.others:
        said.append(
            f". The same store has {words.plural(len(facts.others), 'other sweep')}, counted under Compute"
        )
    said.append(". What was run outside of sweep is not in its record.")
    return COMPLETE, text("".join(said)), (COMPUTE,), ""


def _measure(facts: Facts) -> Answer:
    said, metric = facts.about("measure"), facts.table.spec.metric
    if metric is None:
        if said:
            return COMPLETE, _stated(said, "measure"), (ABOUT,), ""
        return NONE, text("The spec names no metric."), (), _asked("measure")
    shown = text(
        Code(metric.name),
        f", {facts.table.direction}; a run's score is the best finite value that it logged"
        + (
            f", a trial's the mean over {facts.table.spec.replicates} seeds"
            if facts.table.spec.replicates > 1
            else ""
        )
        + ".",
    )
    if said:
        return COMPLETE, text(_stated(said, "measure"), " ", shown), (ABOUT, METHOD), ""
    return PARTIAL, text(shown, " What it measures the record does not show."), (METHOD,), _asked("measure")


def _variation(facts: Facts) -> Answer:
    found = facts.result
    if not found.rows:
        return NONE, text("There is no result yet."), (), ""
    chosen = found.rows[0]
    if chosen.confirmed is not None:
        if chosen.confirmed.half is None:
            said = " Of one value on fresh seeds the record shows no variation."
            return PARTIAL, text(*_spoken(found.words), said), (RESULTS,), ""
        # values that are all equal show no variation; their interval is that of the other configs' values
        lacking = chosen.without_value or not chosen.confirmed.sd or any(row.open for row in found.rows)
        return (PARTIAL if lacking else COMPLETE), text(*_spoken(found.words)), (RESULTS,), ""
    if len(chosen.score_points) < 2:
        return NONE, text("Each config was run with one seed: the record shows no variation."), (), ""
    shown = text(
        f"Best trial {chosen.trial}: mean {spread(chosen.score_points)} (95 % interval: ± t(n-1)·s/√n over n = "
        f"{len(chosen.score_points)} seeds of this config, taken as normally spread). "
        "The config was chosen by these same values, which makes the mean look better than it is."
    )
    return PARTIAL, shown, (RESULTS,), ""


def _spoken(sentences: Sequence[str]) -> list[Words]:
    return [text(" " if at else "", spoken(sentence)) for at, sentence in enumerate(sentences)]


def _runtime(facts: Facts) -> Answer:
    mean = summary(facts.table).mean_duration_s
    total = spent_by(attempt for _, attempt in facts.attempts())
    if not total.wall_s:
        return NONE, text("No run has been executed."), (), ""
    whole = (
        f"A run that completed took {words.duration(mean)} on average"
        if mean is not None
        else "No run completed"
    )
    said = (
        f"{whole}; all attempts together {hours(total.wall_s)} hours, {hours(total.gpu_s)} GPU-hours. "
        f"CPU-hours: {cpu_hours(total)}. Energy: {energy_text(total)}."
    )
    of_what = energy_words(facts)
    return (COMPLETE if mean is not None else PARTIAL), text(f"{said} {of_what}".rstrip()), (COMPUTE,), ""


def _infrastructure(facts: Facts) -> Answer:
    hosts = nodes(facts)
    if not hosts:
        return NONE, text("No run has been executed."), (), ""
    seen: dict[str, int] = {}
    for agents in hosts.values():
        hardware = agents[-1].record.get("hardware") or {}
        name = f"{cpu_text(hardware)}; {memory_text(hardware)} of memory; GPUs: {gpu_text(hardware)}"
        seen[name] = seen.get(name, 0) + 1
    said = ". ".join(f"{words.plural(count, 'node')}: {name}" for name, count in seen.items()) + "."
    return (PARTIAL if "not recorded" in said else COMPLETE), text(said), (ENVIRONMENT,), ""
