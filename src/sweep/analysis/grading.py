"""How far a run could be executed again from its record: `reproducible`, `partly` (with what is not in the record), or `not`.

The rules of this file: pure, and by the record alone; whether it then comes out the same is what `sweep reproduce` tells. What nobody
recorded is never taken for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from sweep.core.ran import code_of, node_of
from sweep.core.rows import Views
from sweep.core.spec import calls_function
from sweep.core.views import RunView

Grade = Literal["reproducible", "partly", "not"]
MOST = 5
"""So many things of one kind are named; the others are counted."""


class Graded(msgspec.Struct, frozen=True):
    """A grade, and what is in the way of a better one."""

    grade: Grade
    lacks: tuple[str, ...] = ()


def grade(views: Views, run: RunView) -> Graded | None:
    """The grade of a run; None for one that has not begun, of which there is nothing to execute again."""
    if all(attempt.started_s is None for attempt in run.attempts):
        return None
    node = node_of(views, run)
    record = {**views.created.record, "code": code_of(views, run)}
    hopeless = list(_hopeless(views, record))
    if hopeless:
        return Graded("not", tuple(hopeless))
    lacks = (
        *_code(record),
        *_other_code(node),
        *_edited(run),
        *_environment(record, node),
        *_data(run),
        *_spec(views, run),
    )
    return Graded("partly" if lacks else "reproducible", lacks)


def lacking(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What a sweep's own record lacks, whatever its runs do: known when it is created."""
    return (*_code(record),)


def _hopeless(views: Views, record: Mapping[str, Any]) -> Iterator[str]:
    if calls_function(views.spec):
        yield "it called a Python function of the process that was its agent"
    elif not (record.get("code") or {}).get("tree"):
        yield "its code is not recorded"


def _code(record: Mapping[str, Any]) -> Iterator[str]:
    code = record.get("code") or {}
    left_out = [
        item for item in code.get("left_out") or () if not str(item.get("reason", "")).startswith("secret")
    ]
    secret = [item for item in code.get("left_out") or () if str(item.get("reason", "")).startswith("secret")]
    if left_out:
        yield f"files that are too large for the record: {_named([item['path'] for item in left_out])}"
    if secret:
        yield f"files that were kept out as they may hold secrets: {_named([item['path'] for item in secret])}"
    more = int(code.get("left_out_count") or 0) - len(left_out) - len(secret)
    if more > 0:
        yield f"{more:,} more files that were left out of the record"
    if pointers := list(code.get("pointers") or ()):
        yield f"the content of files of Git LFS that were pointers: {_named(pointers)}"
    bare = [item["path"] for item in code.get("submodules") or () if not item.get("checked_out", True)]
    if bare:
        yield f"submodules that were not checked out: {_named(bare)}"
    for name, other in (record.get("editable") or {}).items():
        if (other.get("pointers") or not other.get("complete", True)) and name != "sweep":
            yield f"files of {name}, which is installed in place"


def _other_code(node: Mapping[str, Any]) -> Iterator[str]:
    differs = (node.get("place") or {}).get("differs")
    if differs and not node.get("code"):  # recorded by a version that kept the names only
        yield f"code that was changed where it ran: {_named(list(map(str, differs)))}"


def _edited(run: RunView) -> Iterator[str]:
    begun = next((attempt for attempt in reversed(run.attempts) if attempt.started_s is not None), None)
    if begun is not None and begun.code_changed:
        yield f"whether it read these files before or after they were changed, while it ran: {_named(list(begun.code_changed))}"


def _environment(record: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    if not node:
        yield "the machine that it ran on is not recorded"
    if not (node.get("packages") or record.get("packages")):
        yield "its packages are not recorded"
    if not (node.get("python") or record.get("python")):
        yield "its Python is not recorded"


def _data(run: RunView) -> Iterator[str]:
    pieces = [one for one in run.data if one.attempt == run.attempt]
    changed = [one.path for one in pieces if one.changed]
    unread = [one.path for one in pieces if not one.digest]
    if changed:
        yield f"data that changed while it ran: {_named(changed)}"
    if unread:
        yield f"data that could not be read: {_named(unread)}"
    if run.state in ("completed", "failed", "pruned") and any(
        one.digest and one.changed is None for one in pieces
    ):
        yield "whether its data was still the same when it ended: its agent was gone"


def _spec(views: Views, run: RunView) -> Iterator[str]:
    if views.spec.determinism == "off":
        yield "chance: `determinism: off`"
    covered = {one.path for one in run.data}
    bare = [
        name
        for name in views.spec.links
        if not any(path == name or path.startswith(f"{name}/") for path in covered)
    ]
    if bare:
        yield f"what was in the linked {_named(bare)}: name what runs read in `inputs`"


def _named(paths: list[str]) -> str:
    more = len(paths) - MOST
    return ", ".join(paths[:MOST]) + (f" and {more:,} more" if more > 0 else "")
