"""The data that runs read, by the digests that were recorded when they began, and how far the record of each run goes.

The rule of this file: what is said of a run is of its last attempt, as in its grade; what nobody looked at is called so.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.analysis import text as words
from sweep.analysis.report.document import Block, Code, Text, Words, bullets, paragraph, table, text
from sweep.analysis.report.facts import Facts
from sweep.analysis.report.results import spoken
from sweep.analysis.usage import size
from sweep.core.views import DataView, RunView

MOST = 200
MOST_NAMED = 20
Piece = tuple[str, str, str]
"""Path, digest, and why there is none."""


def read(facts: Facts) -> dict[Piece, list[DataView]]:
    """Each content under each path -> what each run that read it has of it."""
    found: dict[Piece, list[DataView]] = {}
    for run in facts.runs:
        for one in run.data:
            if one.attempt == run.attempt:
                found.setdefault((one.path, one.digest, one.problem), []).append(one)
    return dict(sorted(found.items()))


def tainted(facts: Facts) -> list[RunView]:
    """Runs whose data changed while they read it."""
    return [run for run in facts.runs if run.tainted]


def data(facts: Facts) -> list[Block]:
    """Which files and folders runs have read."""
    found, inputs = read(facts), facts.table.spec.inputs
    blocks: list[Block] = []
    if inputs:
        blocks.append(
            paragraph("Every run reads, by the spec (", Code("inputs"), "): ", *_codes(inputs), ".")
        )
    if not found:
        blocks.append(
            paragraph(
                "No run told what it read: ",
                Code("inputs"),
                " in the spec, or ",
                Code("run.use(path)"),
                " in the program, records it. Data that lies among the code is in the record with it.",
            )
        )
        return blocks
    rows = [_row(piece, views) for piece, views in list(found.items())[:MOST]]
    head = ("path", "BLAKE3 when the run began", "files", "size", "runs", "when it ended")
    blocks.append(table(head, rows, (2, 3, 4)))
    if len(found) > MOST:
        blocks.append(paragraph(f"The first {MOST:,} of {len(found):,} pieces of data."))
    blocks += [paragraph(*said) for said in (_unequal(found), _taint(facts), _silent(facts)) if said]
    blocks.append(
        paragraph(
            "The record has the digests, not the data. ",
            Code("sweep reproduce"),
            " compares them with what is there before it executes a run again.",
        )
    )
    return blocks


def data_words(facts: Facts, most: int = 5) -> str:
    """`data/train.csv (1f2e3d4c5b6a), …`; empty where no digest is recorded."""
    known = [f"{path} ({digest[:12]})" for path, digest, _ in read(facts) if digest]
    more = f" and {len(known) - most:,} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def taint_words(facts: Facts) -> str:
    """That data changed while runs read it; empty where none did."""
    bad = tainted(facts)
    return f"Data changed while {words.plural(len(bad), 'run')} read it." if bad else ""


def _row(piece: Piece, views: Sequence[DataView]) -> list[Words]:
    path, digest, problem = piece
    one = views[0]
    return [
        Code(path),
        Code(digest) if digest else f"could not be read: {problem}",
        "–" if not digest else f"{one.files:,}" if one.listing else "1",
        size(one.size) if digest else "–",
        f"{len(views):,}",
        _ends(views) if digest else "–",
    ]


def _ends(views: Sequence[DataView]) -> str:
    """Whether it was still the same, run by run."""
    kinds = (
        ("the same", sum(one.changed is False for one in views)),
        ("another one", sum(one.changed is True for one in views)),
        ("not looked at", sum(one.changed is None for one in views)),
    )
    there = [(name, count) for name, count in kinds if count]
    if len(there) == 1:
        return there[0][0]
    return ", ".join(f"{name} in {words.plural(count, 'run')}" for name, count in there)


def _unequal(found: dict[Piece, list[DataView]]) -> Text:
    contents: dict[str, int] = {}
    for path, digest, _ in found:
        contents[path] = contents.get(path, 0) + bool(digest)
    several = [path for path, count in contents.items() if count > 1]
    if not several:
        return ()
    return text("Not all runs read the same content: there are several under ", *_codes(several), ".")


def _taint(facts: Facts) -> Text:
    bad = [run.id for run in tainted(facts)]
    if not bad:
        return ()
    more = f" and {len(bad) - MOST_NAMED:,} more" if len(bad) > MOST_NAMED else ""
    return text(
        "Tainted: data changed while these runs read it, and nobody can say which content they read: ",
        Code(", ".join(bad[:MOST_NAMED])),
        f"{more}.",
    )


def _silent(facts: Facts) -> Text:
    silent = [
        run for run in facts.runs if run.attempts and not any(one.attempt == run.attempt for one in run.data)
    ]
    if not silent:
        return ()
    return text(f"{words.plural(len(silent), 'run')} that began told of no data.")


# --- how far the record goes -----------------------------------------------------------------------------------


def grades(facts: Facts) -> list[Block]:
    """How many runs could be executed again from the record, and what is in the way of the others."""
    graded = list(facts.grades.values())
    if not graded:
        return [paragraph("No run has begun: there is none to execute again.")]
    counts = [
        (said, sum(one.grade == name for one in graded))
        for name, said in (
            ("reproducible", "has all that executing it again takes"),
            ("partly", "has a part of it"),
            ("not", "does not have it"),
        )
    ]
    told = "; ".join(f"of {words.plural(count, 'run')} it {said}" for said, count in counts if count)
    blocks: list[Block] = [
        paragraph(
            f"By the record alone: {told}. Whether a run then gives the same values is what ",
            Code("sweep reproduce"),
            " tells.",
        )
    ]
    lacks: dict[str, int] = {}
    for one in graded:
        for lack in one.lacks:
            lacks[lack] = lacks.get(lack, 0) + 1
    if lacks:
        ordered = sorted(lacks.items(), key=lambda item: -item[1])
        of = f"of {words.plural(len(graded), 'run')}"
        items = [text(spoken(lack), f" ({count:,} {of})") for lack, count in ordered[:MOST]]
        blocks += [paragraph("Not in the record of runs:"), bullets(items)]
    return blocks


def _codes(names: Sequence[str]) -> list[Words]:
    found: list[Words] = []
    for name in names[:MOST_NAMED]:
        found += [", ", Code(name)] if found else [Code(name)]
    more = len(names) - MOST_NAMED
    return [*found, f" and {more:,} more"] if more > 0 else found
