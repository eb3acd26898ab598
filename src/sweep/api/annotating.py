"""Tags and notes: what people write about sweeps and runs. Nothing acts on them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sweep.api.reading import load_views
from sweep.api.requests import Refused, request
from sweep.core import entries as e
from sweep.core.rows import Views
from sweep.core.views import RunView, SweepView
from sweep.stores import Store

LONGEST_TAG = 64
LONGEST_NOTE = 10_000


class Annotation(msgspec.Struct, frozen=True):
    """What stands about a sweep or a run."""

    tags: tuple[str, ...]
    note: str


def annotate(
    store: Store,
    sweep: str,
    run: int | None,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    note: str | None = None,
    by: str = "",
) -> Annotation:
    """Tag `sweep`, or its run number `run`, and replace its note ('' removes it, None leaves it). Raises Refused for what
    is no tag."""
    added = tuple(dict.fromkeys(_tag(text) for text in add))
    if note is not None and len(note) > LONGEST_NOTE:
        raise Refused(f"this note has {len(note):,} characters; at most {LONGEST_NOTE:,} are kept")
    request(store, sweep, e.Annotated(-1 if run is None else run, added, tuple(remove), note, by))
    return annotation(load_views(store, sweep), run)


def annotation(views: Views, run: int | None) -> Annotation:
    """What stands about a sweep, or about its run number `run`."""
    found: SweepView | RunView = views.sweep
    if run is not None:
        found = next(view for view in views.runs if view.run == run)
    return Annotation(found.tags, found.note)


def _tag(text: str) -> str:
    if not text.strip() or text != text.strip() or len(text) > LONGEST_TAG:
        raise Refused(f"{text[:80]!r} is no tag: 1 to {LONGEST_TAG} characters, no spaces at its ends")
    if "," in text or not text.isprintable():
        raise Refused(f"{text!r} is no tag: commas and control characters are not allowed")
    return text
