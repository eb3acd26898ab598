"""A document as Markdown that reads well in a terminal and on a forge.

The rule of this file: text is escaped only where a forge would read it as markup, so that a terminal shows as little of that as can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sweep.analysis.report.document import (
    CONTROL,
    Block,
    Bullets,
    Check,
    Checks,
    Code,
    Document,
    Drawing,
    Folded,
    Inline,
    Link,
    Listing,
    Paragraph,
    Quote,
    Section,
    Strong,
    Table,
    Text,
    slug,
)

_MARKUP = re.compile(r"[\\`*<>\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=[#A-Za-z])")
_AT_START = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)]))")
_WIDE = 40
"""Columns of tables are padded up to this width."""


def to_markdown(document: Document) -> str:
    """The whole text."""
    lines = [f"# {_escape(document.title)}", "", _escape(document.subtitle), ""]
    head = [label for label, _, _ in document.figures]
    values = [
        f"**{_escape(value)}**" + (f" {_escape(more)}" if more else "") for _, value, more in document.figures
    ]
    lines += _rows([[_escape(label) for label in head], values], ())
    lines += ["", *_contents(document)]
    for section in document.sections:
        lines += ["", f"## {section.title}"]
        for block in section.blocks:
            lines += ["", *_block(block)]
    return CONTROL.sub("\ufffd", "\n".join(lines)) + "\n"


def _contents(document: Document) -> Iterator[str]:
    yield "Sections: " + " · ".join(
        f"[{section.title}](#{slug(section.title)})" for section in document.sections
    )


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [_start(_text(block.text))]
    if isinstance(block, Quote):
        return [f"> {_start(_escape(line))}".rstrip() for line in block.lines]
    if isinstance(block, Bullets):
        return [f"- {_start(_text(item))}" for item in block.items]
    if isinstance(block, Table):
        head = [_escape(name) for name in block.head]
        return _rows([head, *([_cell(cell) for cell in row] for row in block.rows)], block.numbers)
    if isinstance(block, Listing):
        return _listing(block)
    if isinstance(block, Drawing):
        return _drawing(block)
    if isinstance(block, Folded):
        return _folded(block)
    if isinstance(block, Checks):
        return [line for item in block.items for line in _check(item)]
    assert isinstance(block, Section)
    return [
        f"{'#' * block.level} {_escape(block.title)}",
        *(line for inner in block.blocks for line in ("", *_block(inner))),
    ]


def _check(item: Check) -> list[str]:
    lines = [
        "" if item.number > 1 else None,
        f"### {item.number}. {_escape(item.title)}",
        "",
        f"Evidence: **{item.evidence}**" + _sources(item),
        "",
    ]
    lines += [_start(_text(item.answer))]
    if item.asked:
        key, _, what = item.asked.partition(": ")
        lines += ["", f"Asked of the author: `{key}`. {_escape(what)}"]
    return [line for line in lines if line is not None]


def _sources(item: Check) -> str:
    return " · " + ", ".join(f"[{title}](#{slug(title)})" for title in item.sources) if item.sources else ""


def _listing(block: Listing) -> list[str]:
    longest = max((len(found) for found in re.findall(r"`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{block.language}", *block.text.split("\n"), fence]


def _drawing(block: Drawing) -> list[str]:
    if not block.lines:
        return [f"{_start(_escape(block.title))}: on the page (`--format html`)."]
    return [f"{_start(_escape(block.title))}:", "", *_listing(Listing("\n".join(block.lines), "text"))]


def _folded(block: Folded) -> list[str]:
    """Terminals and some forges fold nothing: it stands there as it is."""
    inner = [line for part in block.blocks for line in ("", *_block(part))]
    return [f"{_start(_escape(block.summary))}:", *inner]


def _rows(rows: list[list[str]], numbers: tuple[int, ...]) -> list[str]:
    widths = [min(max(len(row[column]) for row in rows), _WIDE) for column in range(len(rows[0]))]
    widths = [max(width, 3) for width in widths]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    marks = ["-" * (width - 1) + ":" if i in numbers else "-" * width for i, width in enumerate(widths)]
    return [lines[0], f"| {' | '.join(marks)} |", *lines[1:]]


def _cell(cell: Text) -> str:
    return _text(cell, in_table=True)


def _text(found: Text, in_table: bool = False) -> str:
    return "".join(_inline(part, in_table) for part in found)


def _inline(part: Inline, in_table: bool) -> str:
    if isinstance(part, Code):
        return _code(part.text, in_table)
    if isinstance(part, Link):
        return f"[{part.title}](#{slug(part.title)})"
    if isinstance(part, Strong):
        return f"**{_escape(part.text)}**"
    return _escape(part)


def _code(words: str, in_table: bool) -> str:
    words = " ".join(words.split())
    if not words:
        return ""
    if in_table:
        words = words.replace("|", "\\|")
    if "`" not in words:
        return f"`{words}`"
    ticks = "`" * (max(len(found) for found in re.findall(r"`+", words)) + 1)
    return f"{ticks} {words} {ticks}"


def _escape(words: str) -> str:
    """One line, in which nothing is markup."""
    lead = " " if words.startswith(" ") else ""
    tail = " " if words.endswith(" ") and words.strip() else ""
    return lead + _MARKUP.sub(lambda found: "\\" + found[0], " ".join(words.split())) + tail


def _start(line: str) -> str:
    """The same at the start of a line, where more is markup."""
    return _AT_START.sub(
        lambda found: f"{found[1]}{found[2]}\\" if found[2].isdigit() else f"{found[1]}\\{found[2]}", line
    )
