"""A document as one HTML page that needs nothing else: no script, no network, pictures inlined.

The rule of this file: everything that comes from a document is escaped, and a content security policy forbids the page to load or to run
anything.
"""

from __future__ import annotations

import base64
import html
import re
from importlib import resources

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

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_OPTION, _UNBROKEN = re.compile(r"(?<!\S)--?[A-Za-z][^\s<>]{1,60}(?!\S)"), r'<span class="short">\g<0></span>'
"""Options of a command line are not broken at their hyphens."""
_SHORT = 32
"""Code up to this length is not broken."""


def to_html(document: Document) -> str:
    """The whole page."""
    links = "".join(
        f'<a href="#{slug(section.title)}">{_escape(section.title)}</a>' for section in document.sections
    )
    figures = "".join(
        f"<div><dt>{_escape(label)}</dt><dd>{_escape(value)} <small>{_escape(more)}</small></dd></div>"
        for label, value, more in document.figures
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_escape(document.title)}</title>",
            f"<style>{_style()}</style></head><body>",
            f'<header><div><h1>{_escape(document.title)}</h1><p class="about">{_escape(document.subtitle)}</p>',
            f'<dl class="figures">{figures}</dl><nav>{links}</nav></div></header>',
            "<main>",
            *(_section(section) for section in document.sections),
            "</main></body></html>\n",
        ]
    )


def _section(section: Section) -> str:
    inner = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{slug(section.title)}"><h2>{_escape(section.title)}</h2>\n{inner}</section>'


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_text(block.text)}</p>"
    if isinstance(block, Quote):
        return f"<blockquote>{'<br>'.join(_escape(line) for line in block.lines)}</blockquote>"
    if isinstance(block, Bullets):
        return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Listing):
        return f"<pre><code>{_OPTION.sub(_UNBROKEN, _escape(block.text))}</code></pre>"
    if isinstance(block, Drawing):
        return _drawing(block)
    if isinstance(block, Folded):
        inner = "".join(_block(part) for part in block.blocks)
        return f"<details><summary>{_escape(block.summary)}</summary>{inner}</details>"
    if isinstance(block, Checks):
        return f'<ol class="checks">{"".join(_check(item) for item in block.items)}</ol>'
    assert isinstance(block, Section)
    inner = "".join(_block(part) for part in block.blocks)
    return f"<h{block.level + 1}>{_escape(block.title)}</h{block.level + 1}>{inner}"


def _check(item: Check) -> str:
    links = ", ".join(f'<a href="#{slug(title)}">{_escape(title)}</a>' for title in item.sources)
    shown = f'<p class="sources">Shown under {links}</p>' if links else ""
    asked = ""
    if item.asked:
        key, _, what = item.asked.partition(": ")
        asked = f'<p class="asked">Asked of the author: <code>{_escape(key)}</code> {_escape(what)}</p>'
    return (
        f'<li id="item-{item.number}" value="{item.number}"><div class="head"><h3>{item.number}. {_escape(item.title)}</h3>'
        f'<span class="evidence {item.evidence}">{item.evidence}</span></div>'
        f"<p>{_text(item.answer)}</p>{shown}{asked}</li>"
    )


def _drawing(block: Drawing) -> str:
    if not block.png:
        lines = _escape("\n".join(block.lines))
        return f"<figure><pre>{lines}</pre></figure>"
    data = base64.b64encode(block.png).decode("ascii")
    return f'<figure><img alt="{_escape(block.title)}" src="data:image/png;base64,{data}"></figure>'


def _table(block: Table) -> str:
    def mark(column: int) -> str:
        return ' class="number"' if column in block.numbers else ""

    head = "".join(f"<th{mark(i)}>{_escape(name)}</th>" for i, name in enumerate(block.head))
    rows = "".join(
        f"<tr>{''.join(f'<td{mark(i)}>{_text(cell)}</td>' for i, cell in enumerate(row))}</tr>"
        for row in block.rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(block.head) else ""
    return f'<div class="scroll"><table>{top}<tbody>{rows}</tbody></table></div>'


def _text(found: Text) -> str:
    return "".join(_inline(part) for part in found)


def _inline(part: Inline) -> str:
    if isinstance(part, Code):
        size = "short" if len(part.text) <= _SHORT else "long"
        return f'<code class="{size}">{_escape(part.text)}</code>' if part.text else ""
    if isinstance(part, Link):
        return f'<a href="#{slug(part.title)}">{_escape(part.title)}</a>'
    if isinstance(part, Strong):
        return f"<strong>{_escape(part.text)}</strong>"
    return _escape(part)


def _escape(words: str) -> str:
    return html.escape(CONTROL.sub("\ufffd", words))


def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
