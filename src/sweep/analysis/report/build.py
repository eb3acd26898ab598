"""The sections of a report, in the order in which a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence

from sweep import __version__
from sweep.analysis import text as words
from sweep.analysis.groups import means_of_runs, seed_parts
from sweep.analysis.honest import with_spread
from sweep.analysis.records import iso_time
from sweep.analysis.report import titles
from sweep.analysis.report.chance import chance
from sweep.analysis.report.checklist import checklist
from sweep.analysis.report.compute import compute, runs_text
from sweep.analysis.report.data import data, grades
from sweep.analysis.report.document import (
    Block,
    Bullets,
    Checks,
    Code,
    Document,
    Drawing,
    Link,
    Listing,
    Paragraph,
    Section,
    Text,
    Words,
    bullets,
    paragraph,
    quote,
    table,
    text,
)
from sweep.analysis.report.environment import code, environment, not_captured
from sweep.analysis.report.facts import Facts, spent_by
from sweep.analysis.report.results import config_text, counted, ranking, result_run, results, spoken
from sweep.analysis.report.settings import settings
from sweep.analysis.summary import summary
from sweep.analysis.terminal import importance_lines
from sweep.analysis.usage import hours
from sweep.core.space import Beta, Categorical, Constant, Normal, Numeric, Parameter
from sweep.core.spec import ABOUT as ASKED

MOST_CONFIGS = 1000
_SPARKS = "▁▂▃▄▅▆▇█"


def report(facts: Facts) -> Document:
    """The whole of it."""
    sections: list[tuple[str, Sequence[Block]]] = [
        (titles.ABOUT, _about(facts)),
        (titles.RESULTS, results(facts)),
        (titles.PICTURES, _pictures(facts)),
        (titles.SPACE, _space(facts)),
        (titles.METHOD, _method(facts)),
        (titles.SETTINGS, settings(facts)),
        (titles.COMPUTE, compute(facts)),
        (titles.ENVIRONMENT, [*environment(facts), *chance(facts)]),
        (titles.CODE, code(facts)),
        (titles.DATA, data(facts)),
        *([(titles.ARTIFACTS, _artifacts(facts))] if facts.artifacts else []),
        (titles.COMMANDS, _commands(facts)),
        (titles.VERDICTS, _verdicts(facts)),
        (titles.GAPS, [*grades(facts), *not_captured(facts)]),
        (titles.CHECKLIST, _checks(facts)),
        (titles.CONFIGS, _configs(facts)),
    ]
    sweep, name = facts.table.sweep, facts.table.spec.name or ""
    created = (iso_time(sweep.created_s) or "")[:16].replace("T", " ")
    state = f"{sweep.state}: {sweep.reason}" if sweep.reason else sweep.state
    return Document(
        f"Report on sweep {sweep.sweep}" + (f" ({name})" if name else ""),
        f"created {created} UTC, {state}; from the record by sweep {__version__}",
        _figures(facts),
        tuple(Section(title, tuple(blocks)) for title, blocks in sections),
    )


def _figures(facts: Facts) -> tuple[tuple[str, str, str], ...]:
    found = summary(facts.table)
    total = spent_by(attempt for _, attempt in facts.attempts())
    best, n = _best(facts)
    items = checklist(facts)
    complete = sum(item.evidence == "complete" for item in items)
    return (
        (f"Best {facts.table.metric}" if facts.table.metric else "Best", best, n),
        ("Trials", f"{found.trials:,}", facts.table.spec.method),
        ("Runs", f"{found.runs:,}", ", ".join(f"{count:,} {state}" for state, count in found.counts.items())),
        ("Run time, all attempts", words.duration(total.wall_s), f"{hours(total.gpu_s)} GPU-hours"),
        ("Checklist", f"{complete} of {len(items)}", "complete evidence"),
    )


def _best(facts: Facts) -> tuple[str, str]:
    """The value of the result, and what it is."""
    if not facts.result.rows:
        return "–", ""
    row = facts.result.rows[0]
    if row.confirmed is not None:
        return with_spread(row.confirmed), f"trial {row.trial}, 95 %, n = {row.confirmed.n} fresh seeds"
    score = "–" if row.score is None else words.number(row.score, 5)
    return score, f"trial {row.trial}, n = {len(row.score_points)}, not confirmed"


# --- what it is about ------------------------------------------------------------------------------------------


def _about(facts: Facts) -> list[Block]:
    spec, sweep = facts.table.spec, facts.table.sweep
    blocks: list[Block] = []
    if question := facts.about("question"):
        blocks.append(quote(question))
    else:
        blocks.append(
            paragraph("No question was given: ", Code("about.question"), " in the spec is printed here.")
        )
    if spec.description:
        blocks += [paragraph("Description:"), quote(spec.description)]
    for key, asked in ASKED.items():
        if key != "question" and (said := facts.about(key)):
            blocks += [paragraph(f"{asked} (", Code(f"about.{key}"), ")"), quote(said)]
    if sweep.note:
        blocks += [paragraph("Note on the sweep:"), quote(sweep.note)]
    if sweep.tags:
        blocks.append(paragraph(f"Tags: {', '.join(sweep.tags)}."))
    noted = [run for run in facts.runs if run.note or run.tags]
    if noted:
        rows: list[list[Words]] = [[Code(run.id), ", ".join(run.tags), run.note] for run in noted]
        blocks.append(table(("run", "tags", "note"), rows))
    return blocks


def _space(facts: Facts) -> list[Block]:
    space = facts.table.spec.space
    rows: list[list[Words]] = [
        [Code(parameter.name), *_axis(parameter), _when(parameter)] for parameter in space.parameters
    ]
    if any(parameter.when for parameter in space.parameters):
        blocks: list[Block] = [table(("parameter", "distribution", "values", "only when"), rows)]
    else:
        blocks = [table(("parameter", "distribution", "values"), [row[:3] for row in rows])]
    if space.constraints:
        blocks.append(paragraph("Every config satisfies:"))
        blocks.append(bullets([Code(str(constraint)) for constraint in space.constraints]))
    return blocks


def _axis(parameter: Parameter) -> tuple[Words, Words]:
    dist = parameter.distribution
    if isinstance(dist, Constant):
        return "constant", Code(words.value(dist.value))
    if isinstance(dist, Categorical):
        listed = ", ".join(words.value(value) for value in dist.values)
        if dist.probabilities is not None:
            listed += " with probabilities " + ", ".join(f"{p:g}" for p in dist.probabilities)
        return "categorical", Code(words.shorten(listed, 300))
    kind = parameter.declared or type(dist).__name__.lower()
    step = "" if dist.q is None else f" in steps of {dist.q:g}"
    if isinstance(dist, Numeric):
        return kind, f"{dist.low:g} to {dist.high:g}{step}"
    if isinstance(dist, Normal):
        return kind, f"mu {dist.mu:g}, sigma {dist.sigma:g}{step}"
    assert isinstance(dist, Beta)
    return kind, f"a {dist.a:g}, b {dist.b:g}{step}"


def _when(parameter: Parameter) -> str:
    said = [
        f"{'.'.join(c.path)} is {' or '.join(words.value(value) for value in c.values)}"
        for c in parameter.when
    ]
    return " and ".join(said)


def _method(facts: Facts) -> list[Block]:
    spec, found = facts.table.spec, summary(facts.table)
    items: list[Words] = [
        text("Configs were chosen by ", Code(spec.method), *_engines(facts), f"; the seed is {spec.seed}.")
    ]
    if spec.metric is not None:
        target = "" if spec.metric.target is None else f" The search was to end at {spec.metric.target:g}."
        items.append(text("Objective: ", Code(spec.metric.name), f", {facts.table.direction}.{target}"))
    early = spec.early_terminate
    pruned = sum(run.state == "pruned" for run in facts.runs)
    if early is None or early.type == "none":
        items.append("No rule ended runs early.")
    else:
        items.append(
            text(
                "Poor runs were ended early by ",
                Code(early.type),
                f": {words.plural(pruned, 'run')} of {len(facts.runs)}. Each has its reason on record.",
            )
        )
    items.append(_ending(facts))
    items.append(_selection(facts, found.best_trial))
    for revised in facts.revisions:
        by = f" by {revised.by}" if revised.by else ""
        items.append(
            f"The spec was revised{by} at {(iso_time(revised.at_s) or '')[:16]}: revision {revised.revision}."
        )
    return [
        Bullets(tuple(text(item) for item in items)),
        paragraph(Code(f"sweep audit {facts.sweep}"), " derives every proposal again from the record."),
    ]


def _engines(facts: Facts) -> list[Words]:
    found: list[Words] = []
    for one in facts.proposals:
        where = f" (revision {one.revision})" if len({p.revision for p in facts.proposals}) > 1 else ""
        found += [
            "; " if found else ": ",
            f"{words.plural(one.count, 'config')} by ",
            Code(f"{one.engine} {one.version}".strip()),
            where,
        ]
    return found


def _ending(facts: Facts) -> str:
    sweep, spec = facts.table.sweep, facts.table.spec
    if sweep.state != "ended":
        return f"The sweep has not ended: it is {sweep.state}. What stands here is of the moment."
    cap = f" The spec allowed {spec.run_cap:,} trials." if spec.run_cap is not None else ""
    return f"The sweep has ended: {sweep.reason}.{cap}"


def _selection(facts: Facts, trial: int | None) -> Text:
    if trial is None:
        return text("No trial has a score: nothing was chosen.")
    if facts.result.chosen_by == "fresh seeds":
        return text(
            spoken(facts.result.words[0]), " Trials whose runs all failed or were cancelled have no score."
        )
    best = ranking(facts)[0]
    number = words.number(best.score or 0.0, 5)
    extreme = "lowest" if facts.table.goal == "minimize" else "highest"
    alike = sum(row.score == best.score for row in facts.table.scored)
    tie = f" {alike} trials have it; the first of them is shown." if alike > 1 else ""
    runs = ", ".join(run.id for run in counted(best))
    return text(
        f"Trial {trial} (",
        Code(runs),
        f") is the best because its score, {number}, is the {extreme} of the {len(facts.table.scored)} trials that have one.{tie} "
        "Trials whose runs all failed or were cancelled have none.",
    )


# --- what it shows ---------------------------------------------------------------------------------------------


def _pictures(facts: Facts) -> list[Block]:
    found = facts.pictures
    blocks: list[Block] = []
    basic = (found.importance, found.best, found.curves, found.parallel, found.slices)
    more = [picture for picture in (found.confirmed, found.usage) if picture is not None]
    for picture in (*basic, *more):
        if picture.empty:
            blocks.append(paragraph(f"{picture.title}: {picture.empty}"))
            continue
        lines: tuple[str, ...] = ()
        if picture.key == "importance":
            lines = tuple(importance_lines(facts.importance, width=90))
        elif picture.key == "best-so-far":
            lines = tuple(_sparkline(facts))
        blocks.append(Drawing(picture.title, facts.pngs.get(f"{picture.key}.png", b""), lines))
    return blocks


def _sparkline(facts: Facts) -> list[str]:
    """The scores of trials in the order in which they ended, and the best so far below."""
    ended = sorted(facts.table.scored, key=lambda row: (row.ended_s or 0.0, row.trial))[-80:]
    scores = [row.score for row in ended if row.score is not None]
    if len(scores) < 2 or min(scores) == max(scores):
        return []
    pick = min if facts.table.goal == "minimize" else max
    best = [pick(scores[: index + 1]) for index in range(len(scores))]
    low, high = min(scores), max(scores)
    place = [
        [round((value - low) / (high - low) * (len(_SPARKS) - 1)) for value in line]
        for line in (scores, best)
    ]
    return [
        "score of each trial  " + "".join(_SPARKS[at] for at in place[0]),
        "best so far          " + "".join(_SPARKS[at] for at in place[1]),
        f"from {words.number(low)} (lowest bar) to {words.number(high)} (highest bar)",
    ]


def _commands(facts: Facts) -> list[Block]:
    run = result_run(facts) or f"{facts.sweep}-0"
    lines = [
        f"sweep reproduce {run}                     # the best run again, every value compared",
        f"sweep reproduce {run} --env rebuild       # the same, in an environment built from the record",
        f"sweep reproduce {facts.sweep} --sample 5             # five runs, drawn at random",
        f"sweep audit {facts.sweep}                            # every proposal derived again",
        f"sweep bundle {facts.sweep} -o sweep-{facts.sweep}.tar.gz    # all of it in one file",
        f"sweep import sweep-{facts.sweep}.tar.gz              # elsewhere; then as above",
    ]
    width = max(len(line.split("  #")[0].rstrip()) for line in lines)
    parts = [line.split("#", 1) for line in lines]
    listing = "\n".join(f"{command.rstrip():<{width}}  # {about.strip()}" for command, about in parts)
    return [
        paragraph(
            "In a folder that has the sweep's record; the command, config and seed of each result stand under ",
            Link(titles.RESULTS),
            ".",
        ),
        Listing(listing, "sh"),
    ]


def _verdicts(facts: Facts) -> list[Block]:
    rows: list[list[Words]] = []
    for run in facts.runs:
        for found in run.reproduced:
            where = (
                f"{found.metric} {'in the summary' if found.step is None else f'at step {found.step:g}'}"
                if found.metric
                else ""
            )
            when = (iso_time(found.at_s) or "")[:16].replace("T", " ")
            rows.append(
                [
                    Code(run.id),
                    found.verdict.upper(),
                    f"{found.compared:,}",
                    f"{found.identical:,}",
                    where,
                    when,
                ]
            )
    if not rows:
        return [
            paragraph(
                "No run was executed again: nothing is proven yet. ",
                Code("sweep reproduce"),
                " records its verdict here.",
            )
        ]
    same = sum(found.verdict == "identical" for run in facts.runs for found in run.reproduced)
    return [
        paragraph(
            f"{same} of {words.plural(len(rows), 'execution')} gave every value again to the last bit."
        ),
        table(
            ("run", "verdict", "values compared", "identical", "first difference", "when (UTC)"), rows, (2, 3)
        ),
    ]


def _artifacts(facts: Facts) -> list[Block]:
    rows: list[list[Words]] = [
        [
            Code(f"{facts.sweep}-{used.run}"),
            "logged" if used.logged else "used",
            Code(used.name),
            used.type,
            Code(used.digest[:16]),
        ]
        for used in facts.artifacts
    ]
    return [table(("run", "", "artifact", "type", "digest"), rows)]


def _checks(facts: Facts) -> list[Block]:
    items = checklist(facts)
    counts = ", ".join(
        f"{sum(item.evidence == kind for item in items)} {kind}" for kind in ("complete", "partial", "none")
    )
    return [
        Paragraph(
            text(
                f"{len(items)} items; evidence on record: {counts}. An answer is a draft made of the record and of what the author stated; "
                "it never says more. What only the author knows goes below ",
                Code("about:"),
                " in the spec (",
                Code(f"sweep edit {facts.sweep} sweep.yaml"),
                ").",
            )
        ),
        Checks(tuple(items)),
    ]


def _configs(facts: Facts) -> list[Block]:
    rows: list[list[Words]] = []
    parts, means = seed_parts(facts.table), means_of_runs(facts.table)
    for run in facts.runs[:MOST_CONFIGS]:
        score = "–" if run.objective is None else words.number(run.objective, 5)
        rows.append(
            [
                Code(run.id),
                *([str(run.trial)] if parts else []),
                run.state,
                score,
                *([means.get(run.run, ""), parts[run.run]] if parts else []),
                str(run.seed),
                Code(config_text({**run.defaults, **run.config})),
            ]
        )
    blocks: list[Block] = [
        paragraph(
            f"{runs_text(facts)}. A config is what the sweep chose, with the defaults that the program filled in."
        ),
        table(
            ("run", "trial", "state", "score", "mean of its config", "part", "seed", "config"),
            rows,
            (1, 3, 4, 6),
        )
        if parts
        else table(("run", "state", "score", "seed", "config"), rows, (2, 3)),
    ]
    if len(facts.runs) > MOST_CONFIGS:
        blocks.append(
            paragraph(
                f"The first {MOST_CONFIGS:,} of {len(facts.runs):,} runs; all: ",
                Code(f"sweep runs {facts.sweep} --format csv"),
                ".",
            )
        )
    return blocks
