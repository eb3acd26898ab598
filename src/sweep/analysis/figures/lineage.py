"""Lineage as a picture: data, runs and artifacts in columns, in the direction in which data goes.

The rule of this file: a picture is a function of nodes and edges alone, and everything out of a record is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

MOST_NODES = 300
_WIDE, _TALL, _GAP_X, _GAP_Y, _EDGE = 200, 46, 90, 14, 24
_STYLE = """\
svg { color-scheme: light dark; background: #fff; font-family: Inter, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
.box { stroke-width: 1.3; } .artifact { fill: #e8f2fa; stroke: #0067a3; } .run { fill: #f5f7fa; stroke: #7b8794; }
.data { fill: #f3f1e7; stroke: #8a6d1c; }
.label { font-size: 13px; font-weight: 600; fill: #1f2933; } .detail { font-size: 11px; fill: #5a6775; }
.edge { fill: none; stroke: #9aa5b1; stroke-width: 1.3; } .head { fill: #9aa5b1; } .note { font-size: 12px; fill: #5a6775; }
@media (prefers-color-scheme: dark) { svg { background: #12171d; } .artifact { fill: #17324a; stroke: #6cb8ec; } .run { fill: #1f2731; stroke: #7b8794; }
.data { fill: #332d18; stroke: #d0ae52; }
.label { fill: #e4e9ef; } .detail, .note { fill: #9aa7b4; } .edge { stroke: #5c6875; } .head { fill: #5c6875; } }"""

Box = tuple[str, str, str, str]
"""Key, `artifact`, `run` or `data`, label, detail."""


def svg(boxes: Sequence[Box], edges: Sequence[tuple[str, str]]) -> str:
    """The picture. Of more than `MOST_NODES` boxes the first ones, and a note says so."""
    shown = boxes[:MOST_NODES]
    keys = {box[0] for box in shown}
    kept = [edge for edge in edges if edge[0] in keys and edge[1] in keys]
    places = _places([box[0] for box in shown], kept)
    columns = max((x for x, _ in places.values()), default=0) + 1
    rows = max((y for _, y in places.values()), default=0) + 1
    width = 2 * _EDGE + columns * _WIDE + (columns - 1) * _GAP_X
    height = 2 * _EDGE + rows * (_TALL + _GAP_Y)
    note = ""
    if len(shown) < len(boxes):
        height += 24
        words = f"{len(boxes) - len(shown):,} of {len(boxes):,} are not shown; sweep artifact lineage --json has all"
        note = f'<text class="note" x="{_EDGE}" y="{height - 14}">{words}</text>'
    if not boxes:
        width, height, note = (
            480,
            80,
            '<text class="note" x="24" y="44">No run has named data, or logged or used an artifact.</text>',
        )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        "<title>Lineage: which run read which data, and used and logged which artifact</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        *(_edge(places[one], places[other]) for one, other in kept),
        *(_box(box, places[box[0]]) for box in shown),
        note,
        "</svg>\n",
    ]
    return "\n".join(parts)


def page(title: str, picture: str) -> str:
    """The picture as a page that needs no network."""
    style = "body { margin: 0; background: #fff; } @media (prefers-color-scheme: dark) { body { background: #12171d; } }"
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n<body>{picture}</body></html>\n"
    )


def _places(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Column and row of each box: behind everything that leads to it."""
    before: dict[str, list[str]] = {key: [] for key in keys}
    for one, other in edges:
        before[other].append(one)
    column: dict[str, int] = dict.fromkeys(keys, 0)
    for _ in keys:  # at most so many rounds; where it goes round in circles it stops there
        moved = False
        for key in keys:
            at = max((column[one] + 1 for one in before[key]), default=0)
            if at > column[key] and at < len(keys):
                column[key], moved = at, True
        if not moved:
            break
    found: dict[str, tuple[int, int]] = {}
    rows: dict[int, int] = {}
    for key in sorted(
        keys,
        key=lambda key: (column[key], min((found[one][1] for one in before[key] if one in found), default=0)),
    ):
        found[key] = (column[key], rows.get(column[key], 0))
        rows[column[key]] = found[key][1] + 1
    return found


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return _EDGE + place[0] * (_WIDE + _GAP_X), _EDGE + place[1] * (_TALL + _GAP_Y)


def _box(box: Box, place: tuple[int, int]) -> str:
    key, kind, label, detail = box
    x, y = _corner(place)
    round_by = {"artifact": 8, "data": 0}.get(kind, 22)
    return (
        f'<g><title>{html.escape(key)}</title><rect class="box {html.escape(kind)}" x="{x}" y="{y}" width="{_WIDE}" height="{_TALL}" rx="{round_by}"/>'
        f'<text class="label" x="{x + 16}" y="{y + 20}">{html.escape(_cut(label, 24))}</text>'
        f'<text class="detail" x="{x + 16}" y="{y + 36}">{html.escape(_cut(detail, 30))}</text></g>'
    )


def _edge(one: tuple[int, int], other: tuple[int, int]) -> str:
    x1, y1 = _corner(one)
    x2, y2 = _corner(other)
    x1, y1, y2 = x1 + _WIDE, y1 + _TALL // 2, y2 + _TALL // 2
    bend = max((x2 - x1) // 2, 20)
    return f'<path class="edge" marker-end="url(#head)" d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2 - 2} {y2}"/>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
